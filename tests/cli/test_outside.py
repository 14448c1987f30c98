"""Models from outside: ``module:factory`` and ``hf:``."""

from __future__ import annotations

import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from flowprune.cli.main import application

MODULE = """
import torch
from torch import nn

WIDTH = 8

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.c, self.d = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.d(self.c(self.b(self.a(x))).relu())

def build():
    return nn.Sequential(nn.Linear(6, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))

def images():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))

def wide(width):
    return nn.Linear(width, 2)

def text():
    return "a model"

def boom():
    raise RuntimeError("out of cheese.\\nAnd of wine.\\nRedo from start.")

def key():
    return {}["a"]

def leaves():
    raise SystemExit(3)

def refuses():
    raise ValueError("five is right out")

ready = build()
"""


def call(*arguments, code=0):
    result = CliRunner().invoke(application(), [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a module of the user's in it; what it changes of the interpreter is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_models.py").write_text(MODULE)
    (tmp_path / "broken_models.py").write_text("import a_module_that_is_nowhere")
    (tmp_path / "unwritten_models.py").write_text("x = 1\ndef build(:\n")
    (tmp_path / "raising_models.py").write_text("import own_models\n\nown_models.key()\n")
    (tmp_path / "lacking_models.py").write_text("from own_models import nothing_of_this_name\n")
    (tmp_path / "refusing_models.py").write_text("raise ValueError('not on a Monday')\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.endswith("_models")]:
        sys.modules.pop(name, None)


PRUNE = ("prune", "--sparsity", 0.5, "--measure", "magnitude", "--out", "out", "--batch-sizes", "1,3")


@pytest.mark.parametrize("word", ["own_models:build", "own_models:ready", "own_models:Tied"])
def test_a_factory_is_pruned_without_data_and_built_again_by_the_recipe(folder, word):
    said = call(*PRUNE, "--model", word, "--input-shape", 6)
    for words in ("same function", "exact sparsity", "batch 3", "Verdict: "):
        assert words in said
    scope = {}
    exec(textwrap.dedent(said.partition("In Python:\n")[2]), scope)
    stored = load_file(folder / "out" / "model.safetensors")
    found = scope["small"].state_dict(keep_vars=True)
    assert all(torch.equal(found[name], value) for name, value in stored.items())
    assert {id(found[name]) for name in stored} == {id(value) for value in found.values()}  # tied ones are stored once
    assert scope["small"](torch.ones(1, 6)).shape == (1, 2)


def test_a_factory_with_a_dataset_has_every_measure(folder):
    said = call("score", "--model", "own_models:images", "--dataset", "digits", "--samples", 32)
    assert "loss_preservation" in said
    assert "1.weight" in said


def test_example_inputs_beside_the_factory_are_used(folder):
    with (folder / "own_models.py").open("a") as file:
        file.write("\ndef example_inputs():\n    return torch.ones(3, 6)\n")
    assert "0.weight" in call("score", "--model", "own_models:build", "--measure", "magnitude")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "own_models:build"], "--input-shape must be given"),
        (["--model", "own_models:build", "--input-shape", "6", "--measure", "loss_preservation"], "needs gradient"),
        (["--model", "own_models:build", "--input-shape", "6,a"], "whole numbers >= 1"),
        (["--model", "own_models:build", "--dataset", "digits"], "images of shape (1, 8, 8)"),
        (["--model", "own_models:biuld", "--input-shape", "6"], "it has Tied, build, images"),
        (["--model", "own_model:build"], "There is no module 'own_model'"),
        (["--model", "own_models.deeper:build"], "There is no module"),
        (["--model", ":build"], "There is no module"),
        (["--model", "broken_models:build"], "It imports a_module_that_is_nowhere"),
        (["--model", "own_models:WIDTH"], "that can be called"),
        (["--model", "own_models:wide"], "wide(width)"),
        (["--model", "own_models:text"], "returns an nn.Module; got 'own_models:text -> str'"),
        (["--model", "resnet20", "--input-shape", "3,32,32"], "module:factory or hf: model"),
        (["--model", "hf:nowhere/folder"], "Nothing is downloaded"),
        (["--model", "hf:vit,hidden_size"], "has no '='"),
        (["--model", "own_models:build", "--batch-sizes", "0"], "--batch-sizes must be whole numbers"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder, arguments, said):
    if "hf:" in arguments[1]:
        pytest.importorskip("transformers")
    command = ["prune", "--sparsity", 0.5, "--out", "out"]
    measure = [] if "--measure" in arguments else ["--measure", "magnitude"]
    output = call(*command, *measure, *arguments, code=2)
    assert said in output
    assert len(output.strip().splitlines()) == 1
    assert not (folder / "out").exists()


RAISING = [
    ("own_models:boom", "a factory that runs; own_models:boom raised RuntimeError: out of cheese. And of wine "),
    ("own_models:key", "raised KeyError: 'a' (own_models.py:"),
    ("own_models:leaves", "raised SystemExit: 3 (own_models.py:"),
    ("own_models:refuses", "own_models:refuses raised ValueError: five is right out (own_models.py:"),
    ("unwritten_models:build", "that can be imported; unwritten_models:build raised SyntaxError"),
    ("unwritten_models:build", "(unwritten_models.py:2)"),
    ("raising_models:build", "raised KeyError: 'a' (own_models.py:"),
    ("lacking_models:build", "raised ImportError: cannot import name 'nothing_of_this_name'"),
    ("refusing_models:build", "raised ValueError: not on a Monday (refusing_models.py:1)"),
]


@pytest.mark.parametrize(("word", "said"), RAISING)
def test_what_the_code_of_the_user_raises_is_one_line_that_says_where(folder, word, said):
    for command in (
        ("prune", "--sparsity", 0.5, "--measure", "magnitude", "--input-shape", 6),
        ("score", "--dataset", "digits"),
    ):
        output = call(*command, "--model", word, code=2)
        assert said in output
        assert len(output.strip().splitlines()) == 1
        assert "flowprune --debug" in output


@pytest.mark.parametrize("word", ["own_models:boom", "own_models:key", "raising_models:build"])
def test_a_factory_that_raises_while_a_plan_is_verified(folder, word):
    call(*PRUNE, "--model", "own_models:build", "--input-shape", 6)
    assert f"{word} raised " in call("verify", "out", "--model", word, code=2)


def test_the_traceback_of_the_user_is_shown_under_debug(folder, monkeypatch):
    monkeypatch.setenv("FLOWPRUNE_DEBUG", "1")
    result = CliRunner().invoke(application(), ["score", "--model", "own_models:key", "--input-shape", "6"])
    assert isinstance(result.exception.__cause__, KeyError)


def test_example_inputs_that_raise(folder):
    with (folder / "own_models.py").open("a") as file:
        file.write("\ndef example_inputs():\n    return [][1]\n")
    output = call("score", "--model", "own_models:build", "--measure", "magnitude", code=2)
    assert "own_models:example_inputs raised IndexError: list index out of range (own_models.py:" in output


def test_inputs_that_the_model_does_not_take(folder):
    for command in ("prune", "--sparsity", 0.5), ("score",):
        output = call(*command, "--measure", "magnitude", "--model", "own_models:build", "--input-shape", 7, code=2)
        assert "check that example_inputs fit the model" in output


@pytest.mark.parametrize("code", ["raise RuntimeError('no such luck')", "return {}['a']", "return x.nowhere"])
@pytest.mark.parametrize("dataset", [("--input-shape", 6), ("--dataset", "digits")])
def test_a_forward_that_raises(folder, code, dataset):
    width = 64 if dataset[0] == "--dataset" else 6
    (folder / "forward_models.py").write_text(
        "from torch import nn\n\nclass Net(nn.Linear):\n    def __init__(self):\n"
        f"        super().__init__({width}, 10)\n\n    def forward(self, x):\n        {code}\n"
    )
    for command in ("prune", "--sparsity", 0.5), ("score",):
        output = call(*command, "--measure", "magnitude", "--model", "forward_models:Net", *dataset, code=2)
        assert "forward_models.py:8" in output or "got 'no such luck'" in output
        assert len(output.strip().splitlines()) <= 3


MISTAKES = [
    ("--sparsity 1.5", "--sparsity must be a number in [0, 1); got 1.5."),
    ("--budget foo=3", "--budget must be UNIT=NUMBER"),
    ("--budget parameters=-1", "--budget must be a fraction in (0, 1]"),
    ("--budget parameters=0.0001", "--budget must be at least"),
    ("--granularity nm:5:4", "--granularity must be n < m"),
    ("--granularity blocks:0x1 --sparsity 0.5", "--granularity must be a whole number >= 1"),
    ("--granularity nm:2:4 --sparsity 0.3", "--sparsity must be of the sparsity 0.5 that nm:2:4 has"),
    ("--sparsity 0.99 --protect 0.*", "--sparsity must leave what floors and protection keep"),
    ("--sparsity 0.99 --protect nowhere", "--protect has no 'nowhere'"),
    ("--sparsity 0.4 --rounds 30", "--rounds must be one of at most 3 rounds"),
    ("--sparsity 0.5 --step-penalty -1", "--step-penalty must be a finite number >= 0"),
    ("--sparsity 0.5 --floor 2", "--floor must be in [0, 1)"),
    ("--sparsity 0.5 --members group --granularity weights", "--members must be 'producers' with weights"),
]


@pytest.mark.parametrize(("arguments", "begins"), MISTAKES)
def test_a_mistake_names_the_option_that_was_typed(folder, arguments, begins):
    own = ("--model", "own_models:build", "--input-shape", 6, "--measure", "magnitude")
    output = call("prune", *own, *arguments.split(), code=2)
    assert output.startswith(begins)


def test_what_python_offers_is_offered_here(folder):
    own = ("--model", "own_models:Tied", "--input-shape", 6, "--measure", "magnitude", "--batch-sizes", 1)
    assert "c.weight" in call("prune", *own, "--sparsity", 0.5)
    call("prune", *own, "--sparsity", 0.1, "--granularity", "weights", "--protect", "a.*", "--protect", "c.*")
    stored = load_file(folder / "pruned" / "model.safetensors")
    assert {name for name, value in stored.items() if not value.all()} == {"d.weight"}
    with_floor = ("--floor", 0.5, "--scope", "local", "--members", "group", "--normalise", "mean")
    said = call("prune", *own, "--sparsity", 0.6, *with_floor, code=2)
    assert "floors and protection keep" in said
    assert "exact sparsity" in call("prune", *own, "--sparsity", 0.3, *with_floor)


def test_the_words_of_the_options_are_those_of_the_library():
    from typing import get_args

    from flowprune.cli import options
    from flowprune.core.units import MEMBERS
    from flowprune.masks.pools import SCOPES
    from flowprune.measures.normalise import NORMALISERS
    from flowprune.signals.curvature import KINDS

    (diagonal,) = (each for each in get_args(get_args(options.Curvature)[0]) if each is not type(None))
    assert set(get_args(diagonal)) == set(KINDS)
    words = ((options.Scope, SCOPES), (options.Members, MEMBERS), (options.Normalise, NORMALISERS))
    for option, known in words:
        assert set(get_args(get_args(option)[0])) == set(known)


def test_the_help_of_prune_has_headings_and_an_example_of_a_budget():
    said = call("prune", "--help")
    for heading in ("What model:", "What to remove:", "How much:", "Data:", "Output:"):
        assert f"\n{heading}\n" in said
    words = " ".join(said.split())
    assert "such as flops=0.5" in words
    assert "multiply-adds" in words


def test_a_model_of_transformers(folder):
    pytest.importorskip("transformers")
    fields = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=24,image_size=8,patch_size=4"
    said = call(*PRUNE, "--model", f"hf:vit,{fields}", "--channels-last")
    assert "same function" in said
    assert "channels last" in said
    scope = {}
    exec(textwrap.dedent(said.partition("In Python:\n")[2]), scope)
    assert scope["small"].config.hidden_size == 16
    more = "num_channels=1,num_labels=10,architectures=ViTForImageClassification"
    with_data = ("--dataset", "digits", "--samples", 16)
    assert "loss_preservation" in call("score", "--model", f"hf:vit,{fields},{more}", *with_data)
