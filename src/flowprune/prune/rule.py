"""How a round is scored and its units chosen: everything that stays the same from round to round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from flowprune.core.errors import invalid, unknown
from flowprune.core.units import MEMBERS, Members
from flowprune.masks import Scope, check_scope
from flowprune.measures import Measure
from flowprune.measures.normalise import NORMALISERS
from flowprune.measures.step_penalty import require_step_penalty
from flowprune.signals import Curvature, Mode

CHANNEL_FLOOR = 0.05
"""The paper's code keeps at least 5 % of every layer's channels."""


class RuleOptions(TypedDict, total=False):
    """The keywords of :class:`Rule`."""

    scope: Scope
    floor: float | Literal["auto"] | None
    protect: Sequence[str]
    momentum: str
    observe: Sequence[str]
    mode: Mode
    options: Mapping[str, Any]
    normalise: str
    members: Members
    step_penalty: float
    curvature: str | Curvature
    reference_compat: bool
    allow_revival: bool | None
    invert: bool
    seed: int | None


@dataclass(frozen=True)
class Rule:
    """What :class:`~flowprune.prune.pruner.Pruner` and :func:`~flowprune.prune.once.prune` take as keywords.

    Attributes:
        scope: ``"global"``: one ranking over all layers; ``"local"``: one for each; ``"isomorphic"``: one for each
            structure; lists of patterns; or patterns with a sparsity of their own, see
            :func:`~flowprune.masks.select.select`.
        floor: Of a layer of n original units, floor(floor * n) + 1 stay, its top-scored ones. None: no floor, and a
            layer that would be emptied is an error. ``"auto"``: 0.05 for channels ("at most 95 % per layer", as in
            the paper's code) and None for weights and blocks.
        protect: Patterns (``fnmatch``) of layers of which nothing is cut; they count in n. One that fits no layer is
            refused before the first cut.
        momentum: ``"slice"`` carries the optimizer's state through a cut, ``"reset"`` drops that of cut parameters.
        observe: Signals to gather besides those the measure needs, e.g. ``("gradient",)`` to predict what a cut costs.
        mode: Mode of the model while it is scored.
        options: Options of the measure.
        normalise: What makes scores of different layers comparable: none, mean or fan_in.
        members: Of a channel, what is scored: ``"producers"``, the weights that make it, or ``"group"``, with them
            those that read it.
        step_penalty: λ of (λ/2) Σ θ² in every score, see :func:`flowprune.measures.score`: the smaller steps are, the
            better a local model of the loss predicts what they cost.
        curvature: Which diagonal is gathered, see :class:`~flowprune.signals.Curvature`; None: ``"ggn"``, where one is
            needed. Refused where none is.
        reference_compat: Choose channels as the founding paper's published code does, its mistakes included (see
            :mod:`flowprune.prune.published`); for comparison with numbers made by it. It has its own floor, so that
            another ``floor`` is refused.
        allow_revival: Whether weights that a round cut may come back in the next, scored by the values they had; None:
            as the measure says (``force`` alone does).
        invert: Cut what the measure would keep: the ablation that asks whether a score knows anything.
        seed: Of the random numbers that the model or the objective draw while signals are gathered, and others in each
            round; None: from the global generator as it stands.

    Example:
        >>> Rule().floor_for("channels"), Rule().floor_for("weights"), Rule(floor=None).floor_for("channels")
        (0.05, None, None)
    """

    scope: Scope = "global"
    floor: float | Literal["auto"] | None = "auto"
    protect: Sequence[str] = ()
    momentum: str = "slice"
    observe: Sequence[str] = ()
    mode: Mode = "eval"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    normalise: str = "none"
    members: Members = "producers"
    step_penalty: float = 0.0
    curvature: str | Curvature | None = None
    reference_compat: bool = False
    allow_revival: bool | None = None
    invert: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        check_scope("Pruner", self.scope)
        if self.momentum not in ("slice", "reset"):
            raise unknown("Pruner(momentum=)", self.momentum, ("slice", "reset"))
        if self.normalise not in NORMALISERS:
            raise unknown("Pruner(normalise=)", self.normalise, NORMALISERS)
        if self.members not in MEMBERS:
            raise unknown("Pruner(members=)", self.members, MEMBERS)
        if isinstance(self.curvature, str):
            Curvature(self.curvature)
        elif self.curvature is not None and not isinstance(self.curvature, Curvature):
            raise invalid("Pruner(curvature=)", "a kind, or an fp.Curvature", self.curvature)
        require_step_penalty("Pruner(step_penalty=)", self.step_penalty)
        if "step_penalty" in self.options:
            todo = "Pass step_penalty= beside options=."
            raise invalid("Pruner(options=)", "without step_penalty, which is no measure's own", self.options, todo)
        if self.mode not in ("eval", "train"):
            raise unknown("Pruner(mode=)", self.mode, ("eval", "train"))
        if isinstance(self.protect, str) or isinstance(self.observe, str):
            raise invalid("Pruner(protect=, observe=)", "sequences of strings", (self.protect, self.observe))
        if self.floor not in (None, "auto") and not (isinstance(self.floor, int | float) and 0.0 <= self.floor < 1.0):
            raise invalid("Pruner(floor=)", "in [0, 1), None or 'auto'", self.floor)

    def revives(self, measure: Measure) -> bool:
        """Whether units that were cut may come back with this measure."""
        return measure.revives if self.allow_revival is None else self.allow_revival

    def floor_for(self, granularity: str) -> float | None:
        """The floor for a granularity."""
        if isinstance(self.floor, str):
            return None if granularity == "weights" else CHANNEL_FLOOR
        return self.floor
