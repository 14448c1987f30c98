"""The list of deviations is whole, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
LINES = {int(match[1]): line for line in TEXT.splitlines() if (match := re.match(r"\| Q(\d+)\b", line))}


def test_every_behaviour_has_a_line():
    assert sorted(LINES) == list(range(1, 31))
    assert [number for number, line in sorted(LINES.items()) if "*compat*" in line] == [2, 3, 5, 6, 11]


def test_every_test_that_is_named_exists():
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 25
    assert named - defined == set()


def test_every_line_says_how_it_is_shown():
    for number, line in LINES.items():
        shown = line.strip("|").split("|")[-1].strip()
        assert "`test_" in shown or shown in ("the whole suite", "as Q11"), number
