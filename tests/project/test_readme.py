"""The README runs, and its first screen gives the two commands."""

import importlib.util
import re
from pathlib import Path

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


def test_the_generated_sections_are_what_the_stored_rows_give() -> None:
    spec = importlib.util.spec_from_file_location("generate", README.parent / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    text = README.read_text()
    assert "±" in text
    assert generate.readme(text) == text
