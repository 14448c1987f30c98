"""The README runs, and its first screen gives the two commands."""

import importlib.util
import re
from pathlib import Path

import typer

from flowprune.cli.main import application as cli

README = Path(__file__).parents[2] / "README.md"


def test_the_python_blocks_run_in_order(capsys) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 2
    scope: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert scope["cut"].achieved > 0
    assert "same function" in capsys.readouterr().out


def test_the_first_screen_gives_both_commands() -> None:
    first = README.read_text().splitlines()[:14]
    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)


def generator():
    spec = importlib.util.spec_from_file_location("generate", README.parent / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_sections_are_what_the_stored_rows_give() -> None:
    text = README.read_text()
    assert "±" in text
    assert generator().readme(text) == text


def test_the_reproduction_is_what_the_stored_rows_give() -> None:
    text = (README.parent / "docs" / "reproduction.md").read_text()
    assert "undecided" in text
    assert generator().reproduction() == text


def test_the_page_of_removal_is_what_the_stored_rows_give() -> None:
    text = (README.parent / "docs" / "structural.md").read_text()
    assert "torch-pruning 1.6.1" in text
    assert generator().structural() == text


def test_every_model_and_every_cut_that_was_measured_is_on_the_page_of_removal() -> None:
    """What failed is shown beside what worked."""
    found = generator()
    page, titles = found.structural(), found.structural_page.TITLES
    for row in found.lines(found.BENCHMARKS / "removal.jsonl"):
        assert f"| {titles[row['model']]} |" in page
    rows = found.structural_page.latest(
        found.lines(found.BENCHMARKS / "speed_after_cut.jsonl"), "model", "form", "batch", "candidate"
    )
    for model, form, batch, what in rows:
        same = found.structural_page.already_rounded(rows, (model, form, batch, what))
        line = f"| {titles[model]} | {found.structural_page.FORMS[form]} | {batch} | {what} |"
        assert (line in page) == (what != "dense" and not same)


def test_training_costs_are_shown_for_every_network_and_form_that_was_measured() -> None:
    """A form that is slower is shown beside one that is faster."""
    found = generator()
    shown = {(benchmark, candidate, setting.get("model")) for _, benchmark, candidate, setting, _, _ in found.COSTS}
    for benchmark in ("training_step", "training_epoch"):
        rows = found.lines(found.BENCHMARKS / f"{benchmark}.jsonl")
        stored = {(benchmark, row["candidate"], row["model"]) for row in rows if row["candidate"] != "reference"}
        assert stored <= shown


def test_what_no_row_is_about_is_said() -> None:
    page = (README.parent / "docs" / "reproduction.md").read_text()
    assert re.search(r"\*\*What is not done\.\*\* \d+ of the 342 runs of the table at full size", page)
    assert "five times that of a plain loop" in page.replace("\n", " ")
    assert "Not measured: training on a GPU" in README.read_text()


def test_each_figure_of_the_reproduction_has_its_command_its_words_and_its_caption() -> None:
    found = generator()
    page = (README.parent / "docs" / "reproduction.md").read_text()
    sections = page.partition("## Figures")[2].split("### ")[1:]
    assert len(sections) == len(found.SHOWN)
    for name, section in zip(found.SHOWN, sections, strict=True):
        assert f"--figure {name}` writes it to {name}" in section
        assert f"(images/reproduction-{name}.png)" in section
        assert "\n*" in section
        assert (found.IMAGES / f"reproduction-{name}.png").exists()


def test_every_command_line_of_the_readme_is_understood() -> None:
    """Each ``flowprune ...`` line goes through the application's own parser; nothing is run."""
    application = typer.main.get_command(cli())
    blocks = re.findall(r"```\w*\n(.*?)```", README.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("flowprune ")]
    assert len(lines) >= 7
    seen = set()
    for line in lines:
        words = re.split(r" \| |\s{3,}", line)[0].split()[1:]  # "a | b" are choices; what follows blanks explains
        command = application.commands[words[0]]
        seen.add(words[0])
        with command.make_context(words[0], words[1:]):
            pass
    assert {"score", "prune", "sweep"} <= seen
