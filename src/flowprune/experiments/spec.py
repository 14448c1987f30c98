"""What a run is: a frozen, nested record that is read from TOML and hashed whole into the run's name."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, cast

from pydantic import Field, StringConstraints, ValidationError

from flowprune.core.errors import invalid, unknown
from flowprune.core.granularities import build_granularity, require_granularity
from flowprune.core.recipes import RECIPES
from flowprune.core.step import Step
from flowprune.data.names import DATASETS
from flowprune.experiments.moments import (
    require_curved,
    require_in_training,
    require_initial,
    require_of_channels,
    require_trained,
    scheduled,
)
from flowprune.experiments.refusals import lines
from flowprune.experiments.settings import (
    DEVICE,
    RULES,
    DataSpec,
    ExecutionSpec,
    ModelSpec,
    ObjectiveSpec,
    Part,
    PruneSpec,
    RecordSpec,
    TrainSpec,
)
from flowprune.measures.index import MEASURES
from flowprune.models.names import MODELS
from flowprune.schedules import EVENTS, SCHEDULES, build_event

SPEC_VERSION = 2
"""Part of every run's identity. Raise it when the same spec would give other numbers."""
MASKED_VERSION = 3
"""The same for runs whose network is masked: up to 2, their signals counted weights that are held at zero."""
LATER: Final[Mapping[str, object]] = {
    "prune.normalise": "none",
    "prune.recipe": None,
    "prune.at": "training",
    "prune.iterations": None,
    "prune.ablations": [],
    "prune.score_on": "own_weights",
    "prune.rescale": "recipe",
    "prune.step_penalty": 0.0,
    "prune.curvature": "ggn",
    "prune.schedule_options": {},
    "train.augment": True,
}
"""Fields that came after the version, with what they are where nothing was asked for.

A run that asks for nothing of them is the run that it was before, and keeps its identity.
"""


HOW = ("name", "execution", "threads", "device")
"""Fields that say how a run is computed, and not what it answers."""


class Spec(Part):
    """One run. ``prune = None`` is the dense run. Nothing in it can be changed, so it can be hashed.

    ``reference_compat`` chooses channels as the founding paper's published code does, its mistakes included, and
    reports the best test accuracy of any epoch besides, labelled as what it is; see docs/deviations.md.

    Example:
        >>> spec = Spec(model=ModelSpec(name="digits_convnet"), data=DataSpec(name="digits"))
        >>> spec.run_id == spec.model_copy(update={"seed": 1}).run_id
        False
    """

    name: str = "run"
    model: ModelSpec
    data: DataSpec
    objective: ObjectiveSpec = ObjectiveSpec()
    train: TrainSpec = TrainSpec()
    execution: ExecutionSpec = ExecutionSpec()
    prune: PruneSpec | None = None
    record: RecordSpec = RecordSpec()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    device: Annotated[str, StringConstraints(pattern=DEVICE)] = "cpu"
    reference_compat: bool = False

    @property
    def version(self) -> int:
        """Of what its numbers mean: :data:`SPEC_VERSION`, or :data:`MASKED_VERSION` where units are held at zero."""
        cut = self.prune
        held = cut is not None and (cut.granularity == "weights" or cut.residual == "masked")
        return MASKED_VERSION if held else SPEC_VERSION

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over every field and :attr:`version`; see :data:`LATER`."""
        fields = self.model_dump(mode="json")
        for path, unasked in LATER.items():
            part, _, name = path.rpartition(".")
            holder = fields[part] if part else fields
            if holder is not None and holder[name] == unasked:
                del holder[name]
        text = json.dumps({"version": self.version, **fields}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def question(self) -> str:
        """What the run answers, in whatever form and on whichever machine: a hash as ``run_id`` over the other fields.

        Two runs of one question are the same cell of a study with the same seed, and one of them is enough.

        Example:
            >>> spec = Spec(model=ModelSpec(name="digits_convnet"), data=DataSpec(name="digits"))
            >>> spec.question == spec.model_copy(update={"device": "cuda", "threads": 2}).question
            True
        """
        plain = Spec.model_fields
        return self.model_copy(update={name: plain[name].default for name in HOW}).run_id

    @property
    def epochs(self) -> int:
        """How many epochs the run has, those with a cut included; twice ``train.epochs`` where it :attr:`retrains`."""
        return Step.parse(self.train.epochs).count * (2 if self.retrains else 1)

    @property
    def retrains(self) -> bool:
        """Whether the network is pruned once it is trained, and trained again from what is left."""
        return self.prune is not None and self.prune.at == "trained"

    @property
    def first_cut(self) -> int | None:
        """The epoch after which the first cut is made, or the event it waits for is first looked at; None for none.

        None as well for a run that is pruned before its first epoch: no two of them begin alike.
        """
        if self.prune is None or self.prune.at == "init":
            return None
        if self.retrains:
            return Step.parse(self.train.epochs).count
        return Step.parse(self.prune.start).count + Step.parse(self.prune.every).count

    @property
    def latest(self) -> int:
        """After how many looks the first cut is made at the latest: 1 without an event to wait for."""
        if self.prune is None or self.prune.at != "training" or self.prune.when is None:
            return 1
        if self.prune.latest != "auto":
            return self.prune.latest
        start, every = Step.parse(self.prune.start).count, Step.parse(self.prune.every).count
        return (self.epochs - 1 - start) // every - self.prune.rounds + 1

    @property
    def last_cut(self) -> int:
        """The epoch after which the last cut is made at the latest; 0 where nothing is cut in training."""
        if self.prune is None or self.prune.at != "training":
            return self.first_cut or 0
        start, every = Step.parse(self.prune.start).count, Step.parse(self.prune.every).count
        return start + (self.latest + self.prune.rounds - 1) * every

    def may_cut(self, epoch: int) -> bool:
        """Whether a cut may be made after this epoch: it is one of those between the first and the last."""
        if self.prune is None or self.first_cut is None:
            return False
        if self.retrains:
            return epoch == self.first_cut
        return epoch >= self.first_cut and (epoch - self.first_cut) % Step.parse(self.prune.every).count == 0

    @property
    def columns(self) -> dict[str, str | int | float]:
        """The columns that every row of the run gets when rows of many runs are read together."""
        cut = self.prune
        return {
            "run": self.run_id,
            "name": self.name,
            "measure": cut.method if cut else "dense",
            "rounds": cut.rounds if cut else 0,
            "sparsity": cut.sparsity if cut else 0.0,
            "granularity": cut.granularity if cut else "",
            "seed": self.seed,
            "model": self.model.name,
            "dataset": self.data.name,
        }


def parse(fields: Mapping[str, object], where: str = "Spec") -> Spec:
    """A spec from nested fields, as TOML or JSON give them.

    Raises:
        ValueError: a field is missing, unknown or has a value it cannot take; the message names it.

    Example:
        >>> parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "seed": -1})
        Traceback (most recent call last):
        ValueError: Spec(seed) must be greater than or equal to 0; got -1.
    """
    spec = _valid(fields, where)
    _require_sound(where, spec)
    return spec


def _valid(fields: Mapping[str, object], where: str) -> Spec:
    """A spec whose fields are of their types, whether or not they fit each other."""
    try:
        return Spec.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise ValueError(lines(where, Spec, error.errors(), RULES)) from None
    except TypeError as error:
        raise ValueError(f"{where} must hold numbers, strings, booleans and lists of them; {error}.") from None


def read(path: Path | str) -> Spec:
    """A spec from a TOML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not TOML, or not a spec.
    """
    path = Path(path)
    if path.is_dir():
        raise invalid("read(path=)", "a TOML file", f"the folder {path}", "Name the file inside it.")
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML, in UTF-8; {error}.") from None
    return parse(fields, where=str(path))


def override(spec: Spec, changes: Mapping[str, object]) -> Spec:
    """A copy with fields set by dotted path, such as ``{"prune.measure": "fisher", "seed": 1}``.

    The measure ``"dense"`` means no pruning at all: the run's ``prune`` is None and its other fields, which must
    be fields nevertheless, are moot. A measure takes the place of a recipe, and a recipe that of a measure.

    Raises:
        ValueError: a path that no spec has, a value its field cannot take, or pruning without a measure.

    Example:
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "fisher"}})
        >>> override(base, {"prune.rounds": 5}).prune.rounds, override(base, {"prune.measure": "dense"}).prune
        (5, None)
    """
    fields = spec.model_dump(mode="json")
    for path, value in changes.items():
        _set(fields, path.split("."), value)
        other = {"prune.measure": "prune.recipe", "prune.recipe": "prune.measure"}.get(path)
        if other is not None and other not in changes:  # one takes the place of the other
            _set(fields, other.split("."), None if other == "prune.recipe" else "")
    changed = _valid(fields, "Spec")
    if changed.prune is not None and changed.prune.measure == "dense":
        changed = changed.model_copy(update={"prune": None})
    _require_sound("Spec", changed)
    return changed


def _require_sound(where: str, spec: Spec) -> None:
    """Names that are in an index, a schedule that has these rounds, and an epoch left to train after the last cut."""
    names: list[tuple[str, str, Mapping[str, object]]] = [
        ("MODELS", spec.model.name, MODELS),
        ("DATASETS", spec.data.name, DATASETS),
        *(("MEASURES", name, MEASURES) for name in (*spec.record.agreement, *spec.record.track.measures)),
    ]
    if spec.prune is not None:
        names += [_method_of(where, spec.prune), ("SCHEDULES", spec.prune.schedule, SCHEDULES)]
        names += [("EVENTS", spec.prune.when, EVENTS)] if spec.prune.when is not None else []
    for title, name, index in names:
        if name not in index:
            raise unknown(f"{where}: {title}", name, index)
    for part, options in (("model", spec.model.options), ("data", spec.data.options)):
        if "name" in options or (part == "model" and "shape" in options):
            raise invalid(
                f"{where}({part}.options)", "without name and shape, which are given elsewhere", dict(options)
            )
    late = [epoch for epoch in spec.record.scatter.epochs if epoch > spec.epochs]
    if late:
        got = list(spec.record.scatter.epochs)
        raise invalid(f"{where}(record.scatter.epochs)", f"at most the {spec.epochs} epochs of training", got)
    if spec.prune is None:
        return
    _REQUIRED[spec.prune.at](where, spec, spec.prune)
    require_curved(where, spec.prune)
    _, sizes = require_granularity(f"{where}(prune.granularity)", spec.prune.granularity)
    if sizes:
        _require_pattern(where, spec, spec.prune)


def _require_sound_in_training(where: str, spec: Spec, cut: PruneSpec) -> None:
    """A schedule that has these rounds, an event that can be built, and an epoch left after the last cut."""
    require_in_training(where, cut)
    scheduled(where, cut)
    if cut.when is not None:
        build_event(cut.when, **cut.when_options)
    last = spec.last_cut
    if last >= spec.epochs or spec.latest < 1:
        todo = "Train longer, or cut in fewer rounds."
        rule = f"more than the {max(last, cut.rounds)} epochs that the cuts take"
        raise invalid(f"{where}(train.epochs)", rule, spec.train.epochs, todo)
    require_of_channels(where, spec, cut)


_REQUIRED: Final[Mapping[str, Callable[[str, Spec, PruneSpec], None]]] = {
    "training": _require_sound_in_training,
    "init": require_initial,
    "trained": require_trained,
}
"""What must hold, by when the network is pruned."""


def _method_of(where: str, cut: PruneSpec) -> tuple[str, str, Mapping[str, object]]:
    """The index that the measure or the recipe must be in; exactly one of the two is named."""
    if (cut.recipe is None) == (not cut.measure):
        got = f"measure={cut.measure!r}, recipe={cut.recipe!r}"
        raise invalid(f"{where}(prune.measure)", "given, or prune.recipe, exactly one of the two", got)
    return ("MEASURES", cut.measure, MEASURES) if cut.recipe is None else ("RECIPES", cut.recipe, RECIPES)


def _require_pattern(where: str, spec: Spec, cut: PruneSpec) -> None:
    """Sizes that make a pattern, and the sparsities that it has; this imports the pattern."""
    fixed: float | None = build_granularity(f"{where}(prune.granularity)", cut.granularity).sparsity
    asked = {"prune.sparsity": cut.sparsity}
    if spec.record.track.every != "none":
        asked["record.track.sparsity"] = spec.record.track.sparsity
    for field, sparsity in asked.items():
        if fixed is not None and not math.isclose(sparsity, fixed, rel_tol=1e-9):
            raise invalid(f"{where}({field})", f"{fixed}, the sparsity of {cut.granularity}", sparsity)


def _set(fields: dict[str, object], path: Sequence[str], value: object) -> None:
    *parents, last = path
    for parent in parents:
        if not isinstance(fields.get(parent), dict):
            fields[parent] = {}
        fields = cast("dict[str, object]", fields[parent])
    fields[last] = value
