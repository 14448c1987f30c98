"""A study: many runs under one name, written as grids over a preset."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flowprune.core.errors import invalid
from flowprune.core.granularities import units_in_words
from flowprune.experiments.axes import expand
from flowprune.experiments.presets import PRESETS
from flowprune.experiments.spec import Spec

FIELDS = ("title", "preset", "grid")


@dataclass(frozen=True)
class Study:
    """Grids of runs that belong together.

    Attributes:
        name: Of the study.
        title: What it is about, in a line.
        specs: The runs, each once, in the order of the grids.
        families: For each grid, the specs that it came to: what one command can be asked to run.
    """

    name: str
    title: str
    specs: tuple[Spec, ...]
    families: tuple[tuple[Spec, ...], ...]

    def __str__(self) -> str:
        return f"{self.title}: {len(self.specs)} runs, {len(cells(self.specs))} cells"

    def missing(self, found: Iterable[Spec]) -> tuple[Spec, ...]:
        """The runs whose question none of those found answers, on whichever machine."""
        return unanswered(self.specs, found)


def unanswered(wanted: Iterable[Spec], found: Iterable[Spec]) -> tuple[Spec, ...]:
    """The specs whose question none of those found answers; one run on another machine or in half precision does.

    Example:
        >>> from flowprune.experiments.spec import override, parse
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}})
        >>> elsewhere = override(base, {"device": "cuda"})
        >>> [spec.seed for spec in unanswered([base, override(base, {"seed": 1})], [elsewhere])]
        [1]
    """
    answered = {spec.question for spec in found}
    return tuple(spec for spec in wanted if spec.question not in answered)


def cells(specs: Iterable[Spec]) -> dict[str, tuple[int, ...]]:
    """The seeds of each cell among some specs, cells in words and in order of appearance."""
    found: dict[str, list[int]] = {}
    for spec in specs:
        found.setdefault(cell(spec), []).append(spec.seed)
    return {name: tuple(sorted(seeds)) for name, seeds in found.items()}


def cell(spec: Spec) -> str:
    """What a run is a seed of, in words.

    Example:
        >>> from flowprune.experiments.spec import parse
        >>> cell(parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "fisher"}}))
        'mlp on digits, fisher, 1 round, 75 % of channels'
    """
    where = f"{spec.model.name} on {spec.data.name}"
    cut = spec.prune
    if cut is None:
        return f"{where}, dense"
    rounds = f"{cut.rounds} round{'s' if cut.rounds > 1 else ''}"
    when = {"init": "before training", "trained": f"trained, {rounds}"}.get(cut.at, rounds)
    words = [where, cut.method, when, f"{100 * cut.sparsity:g} % of {units_in_words(cut.granularity)}"]
    words += [*cut.ablations, *(["scored on a fresh draw"] if cut.score_on == "fresh_draw" else [])]
    if isinstance(cut.temperature, float):
        words.append(f"scored at T = {cut.temperature:g}")
    words += [f"λ = {cut.step_penalty:g}"] if cut.step_penalty else []
    words += [f"curvature {cut.curvature}"] if cut.curvature != "ggn" else []
    return ", ".join(words)


def read_study(path: Path) -> Study:
    """A study from a TOML file: ``title``, ``preset``, and tables ``[[grid]]`` of fields with lists of values.

    A grid is the product of its fields; a single value stands for a list of it. Grids may overlap: a run that two of
    them ask for is done once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not TOML, a field is missing or unknown, or a grid asks for what no spec has.
        UnknownNameError: no such preset.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML, in UTF-8; {error}.") from None
    if sorted(fields) != sorted(FIELDS) or not isinstance(fields["grid"], list) or not fields["grid"]:
        raise invalid(f"{path}", f"a study with {', '.join(FIELDS)}", sorted(fields), "A grid is a table [[grid]].")
    base = PRESETS[str(fields["preset"])]
    grids = cast("list[Mapping[str, object]]", fields["grid"])
    families = tuple(tuple(expand(base, _axes(grid))) for grid in grids)
    specs = {spec.run_id: spec for family in families for spec in family}
    return Study(path.stem, str(fields["title"]), tuple(specs.values()), families)


def _axes(grid: Mapping[str, object]) -> dict[str, list[object]]:
    """Each field with its values; a table sets one field to itself, as options are."""
    return {path: value if isinstance(value, list) else [value] for path, value in grid.items()}
