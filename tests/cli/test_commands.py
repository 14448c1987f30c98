from __future__ import annotations

import functools

import pytest
import typer
from typer.testing import CliRunner

from flowprune.cli.errors import told
from flowprune.cli.main import COMMANDS, application
from flowprune.core.version import __version__

OPTION = ("--schedule", "adaptive", "--schedule-option")


def call(*arguments):
    return CliRunner().invoke(application(), [str(argument) for argument in arguments])


def test_help_names_every_command():
    result = call("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name):
    result = call(name, "--help")
    assert result.exit_code == 0
    assert COMMANDS[name].__doc__
    assert COMMANDS[name].__doc__.split()[0] in result.output


def test_version():
    assert call("--version").output.strip() == __version__


@pytest.mark.parametrize(
    "kind",
    ["analyses", "models", "datasets", "granularities", "measures", "objectives", "presets", "schedules", "events"],
)
def test_list(kind):
    import flowprune as fp

    index = {
        "models": fp.MODELS,
        "datasets": fp.DATASETS,
        "granularities": fp.GRANULARITIES,
        "measures": fp.MEASURES,
        "presets": fp.PRESETS,
    }.get(kind)
    names = call("list", kind).output.split()
    assert names
    assert index is None or names == list(index)
    details = call("list", kind, "--details")
    assert details.exit_code == 0
    assert len(details.output.splitlines()) == len(names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "model"], "Did you mean 'models'"),
        (["run"], "--preset NAME"),
        (["run", "--preset", "dem"], "Did you mean 'demo'"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["run", "--preset", "smoke", "--set", "prune.measure=magnitud"], "Did you mean 'magnitude'"),
        (["run", "--preset", "smoke", "--set", "prune.sparsity=1.5"], "prune.sparsity"),
        (["sweep", "--preset", "smoke", "--axis", "prune.mesure=fisher"], "Did you mean 'measure'"),
        (["sweep", "--preset", "smoke", "--axis", "seed"], "path=value,value"),
        (["report", "no/such/folder"], "Run something first"),
        (["score", "--model", "vgg_13"], "Did you mean 'vgg13'"),
        (["score", "--dataset", "digit"], "Did you mean 'digits'"),
        (["score", "--measure", "magnitud"], "Did you mean 'magnitude'"),
        (["score", "--step-penalty", "-1"], "--step-penalty must be a finite number >= 0"),
        (["score", "--step-penalty", "nan"], "--step-penalty must be a finite number >= 0"),
        (["score", "--checkpoint", "nowhere.safetensors"], "nowhere.safetensors"),
        (["prune", "--sparsity", "1.0"], "in [0, 1)"),
        (["prune"], "exactly one of the two"),
        (["prune", "--sparsity", "0.5", "--budget", "parameters=0.5"], "exactly one of the two"),
        (["prune", "--budget", "params=0.5"], "UNIT=NUMBER"),
        (["prune", "--budget", "parameters=0.0001"], "at least"),
        (["prune", "--sparsity", "0.5", "--out", "FILE/below"], "cannot be written"),
        (["prune", "--sparsity", "0.5", "--schedule", "one_shot", "--rounds", "2"], "one_shot"),
        (["prune", "--sparsity", "0.5", "--schedule", "adaptive", "--rounds", "1"], "--rounds must be >= 2"),
        (["prune", "--sparsity", "0.5", "--schedule-option", "full=true"], "--schedule-option must be left out"),
        (
            ["prune", "--sparsity", "0.5", *OPTION, "tolerance"],
            "field=value; got 'tolerance'. For example: --schedule-",
        ),
        (["prune", "--sparsity", "0.5", *OPTION, "tolerance=0.1,0.2"], "A schedule has one of each"),
        (
            ["prune", "--sparsity", "0.5", *OPTION, "tolerance=2"],
            "--schedule-option adaptive(tolerance=) must be in (0, 1)",
        ),
        (["prune", "--sparsity", "0.5", *OPTION, "seed=2"], "--schedule-option must be of tolerance, order, trials"),
        (["prune", "--sparsity", "0.5", "--model", "vgg13"], "images of shape (1, 8, 8)"),
        (["score", "--out", "."], "That is a folder"),
        (["analyse", "observation"], "Did you mean 'observations'"),
        (["analyse", "--steps", "3"], "own options (--sparsity, --residual)"),
        (["analyse", "flow", "--learning-rate", "0.1"], "got '--learning-rate'"),
        (["analyse", "observations", "--train", "2", "--checkpoint", "FILE"], "0 where there is a --checkpoint"),
        (["analyse", "observations", "--sparsity", "1"], "in (0, 1)"),
        (["analyse", "observations", "--learning-rate", "0"], "a finite number > 0"),
        (["analyse", "observations", "--out", "FILE/below"], "cannot be written"),
        (["run", "."], "TOML"),
        (["run", "FILE"], "UTF-8"),
        (["run", "--preset", "smoke", "--runs", "FILE"], "That is a file"),
        (["demo", "--runs", "FILE"], "That is a file"),
        (["run", "--preset", "smoke", "--set", "device=bogus"], "'cpu', 'cuda'"),
        (["run", "--preset", "smoke", "--set", "device=cuda:77"], "Use device = 'cpu'"),
        (["run", "--preset", "smoke", "--set", "threads=0"], "threads"),
        (["run", "--preset", "smoke", "--set", "threads=4000"], "cores"),
        (["run", "--preset", "smoke", "--set", f"seed={2**63}"], "seed"),
        (["run", "--preset", "smoke", "--set", "train.epochs=0ep"], "at least one"),
        (["run", "--preset", "smoke", "--set", "data.options.test=0"], "at least one example"),
        (["run", "--preset", "smoke", "--set", "model.options.bogus=1"], "its own arguments"),
        (["run", "--preset", "smoke", "--set", "seed=1", "--set", "seed=2"], "once for each field"),
        (["sweep", "--preset", "smoke", "--axis", "seed=1", "--axis", "seed=2"], "once for each field"),
        (["sweep", "--preset", "smoke", "--axis", "seed=1", "--set", "seed=2"], "once for each field"),
        (["sweep", "--study", "demo", "--set", "train.batch=8,16"], "one value for one field"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_bytes(b"\xff\xfe")
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]  # nothing was written


def test_debug_shows_where_it_came_from(monkeypatch):
    monkeypatch.setenv("FLOWPRUNE_DEBUG", "")  # so that what --debug sets is undone
    result = call("--debug", "list", "model")
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    "arguments", [["--debug", "false"], ["--debug=false"], ["list", "models", "--details", "false"], ["--debug=0"]]
)
def test_a_flag_takes_no_string(arguments):
    """``--flag false`` must not mean true, as it does with ``type=bool``."""
    assert call(*arguments).exit_code == 2


def test_ctrl_c_is_no_traceback():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as end:
        told(interrupted)()
    assert end.value.exit_code == 130


@pytest.mark.parametrize("name", COMMANDS)
def test_only_commands_that_go_on_say_so_when_they_are_stopped(name, monkeypatch):
    @functools.wraps(COMMANDS[name])
    def interrupted(**arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, name, interrupted)
    given = {"verify": "x", "analyse": "flow", "collect": "x --into y", "report": "x", "list": "models"}
    result = call(name, *given.get(name, "digits" if name == "download" else "").split())
    assert result.exit_code == 130, result.output
    assert ("goes on from there" in result.output) == (name in ("run", "sweep"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "models", "--details", "false"],
        ["--debug", "false", "list", "models"],
        ["run", "--preset", "smoke", "--set", "record.checkpoint=true"],
        ["run", "--preset", "smoke", "--set", "prune.sparsity=true"],
        ["run", "--preset", "smoke", "--set", "seed=false"],
    ],
)
def test_rt_7_a_flag_takes_no_word_and_a_number_is_no_boolean(arguments, tmp_path):
    """RT-7: with ``type=bool`` the word false is true."""
    result = call(*arguments, *(["--runs", tmp_path] if arguments[0] == "run" else []))
    assert told_or_code(result) == 2
    assert not list(tmp_path.iterdir())


def told_or_code(result) -> int:
    """The exit code, where the error is left to the outermost layer to tell."""
    return 2 if isinstance(result.exception, ValueError) else result.exit_code


def test_a_warning_is_one_line_without_the_code_that_gave_it(monkeypatch):
    import warnings

    from flowprune.cli import main as commands

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(commands, "application", lambda: lambda prog_name: None)
    commands.main()
    assert warnings.formatwarning(UserWarning("a weight is left whole"), UserWarning, "n_m.py", 1) == (
        "Note: a weight is left whole\n"
    )
