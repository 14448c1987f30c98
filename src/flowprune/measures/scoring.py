"""Scores: a measure's contributions, reduced over the units of a granularity."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.granularities import WRITTEN
from flowprune.core.groups import Groups, channelwise, units_of
from flowprune.core.tensors import require_finite
from flowprune.core.units import MEMBERS, Members
from flowprune.masks import Scores, Weights, reached_units
from flowprune.masks import reduce as reduce_contributions
from flowprune.measures.index import MEASURES
from flowprune.measures.measure import Measure
from flowprune.measures.normalise import normalised
from flowprune.measures.step_penalty import penalised, require_step_penalty
from flowprune.objectives import OBJECTIVES
from flowprune.signals import Signals
from flowprune.signals.signals import NAMED


class Granularity(Protocol):
    """What a unit is: every weight, every channel, ..."""

    @property
    def name(self) -> str:
        """The word used in specs and reports."""
        ...

    @property
    def removes(self) -> bool:
        """Whether a cut takes units out of the model; where not, it holds them at zero."""
        ...

    def layout(self, signals: Signals) -> Groups | None:
        """The groups of units; None for single weights."""
        ...


@runtime_checkable
class PartlyFitting(Protocol):
    """A granularity that does not fit every weight."""

    def left_out(self, signals: Signals) -> Mapping[str, str]:
        """The weights that it does not fit, with the reason, by name."""
        ...


def score(
    measure: str | Measure,
    signals: Signals,
    granularity: Granularity | None = None,
    *,
    reduce: str | None = None,
    normalise: str = "none",
    members: Members = "producers",
    step_penalty: float = 0.0,
    **options: Any,
) -> Scores:
    """Score every unit; larger = keep.

    Shapes: ``result[name]`` has the parameter's shape for ``Weights()`` and ``NM(...)``, that of its grid of blocks for
    ``Blocks(...)``, and ``(channels,)`` for ``Channels(...)``, where ``name`` is the weight that produces them.

    Args:
        measure: A name in ``MEASURES``, or a measure of your own.
        signals: With what the measure ``.needs``.
        granularity: ``fp.Weights()`` (the default), ``fp.NM(2, 4)``, ``fp.Blocks(4, 1)`` or
            ``fp.Channels(example_inputs=x)``.
        reduce: Another reducer than the measure's: sum, sum_abs, abs_sum or l2.
        normalise: What the scores of a layer are divided by before layers are compared: none, mean (absolute score of
            its live units) or fan_in (the square root of the live weights that a score is made of).
        members: Of a channel, what is read: ``"producers"``, the weights that make it, as in the founding paper; or
            ``"group"``, with them the slices of the later weights that read it.
        step_penalty: λ >= 0 adds (λ/2) Σ θ² over the weights that a score is made of, whatever the measure and its
            reducer; for a measure that looks at nothing of a unit, over the weights that make it. It is part of what a
            unit costs, so that ``normalise`` divides the sum. λ → ∞ ranks by magnitude. Scores are then of float64.
        options: Options of the measure, e.g. ``seed`` of random, ``initial`` of biased_loss.

    Raises:
        UnknownNameError: an unknown measure, reducer, normaliser or word for members, with the known ones.
        ValueError: a missing signal, an option the measure does not have, a negative λ, or scores that are not finite.

    Example:
        >>> import torch
        >>> signals = Signals(params={"w": torch.tensor([2.0, -1.0])}, gradient={"w": torch.tensor([0.5, 3.0])})
        >>> score("loss_preservation", signals)["w"]
        tensor([1., 3.])
    """
    chosen = require_measure("score", measure)
    granularity = Weights() if granularity is None else require_granularity("score", granularity)
    step_penalty = require_step_penalty("score(step_penalty=)", step_penalty)
    _check_options(chosen, options)
    for need in chosen.needs:
        signals.require(need)
    if chosen.objective is not None and signals.objective not in (None, chosen.objective):
        rule, todo = f"of the objective {chosen.objective!r}", f"Gather with fp.objectives.{chosen.objective}()."
        raise invalid(f"score({chosen.name!r}, signals=)", rule, f"those of {signals.objective!r}", todo)
    layout = granularity.layout(signals)
    if chosen.on == "norm" and (layout is None or (layout and not channelwise(layout))):
        where, rule = f"score({chosen.name!r}, granularity=)", "a granularity of channels, whose norms it reads"
        raise invalid(where, rule, granularity.name, "Pass fp.Channels(example_inputs=x).")
    _check_members(chosen, members, layout)
    names = _names(chosen, granularity, layout, signals, members=members)
    seen = _units(signals, layout) if chosen.on == "unit" and layout is not None else _only(signals, names)
    contributions = chosen.contributions(seen, **options)
    if layout is None:
        _refuse_missing(chosen, names, contributions)
    require_finite(f"score({chosen.name!r}): contributions", contributions)
    scores = _reduce(chosen, contributions, layout, reduce or chosen.reduce, members=members)
    on = "weight" if chosen.on == "unit" else chosen.on
    read = _made_of(layout) if chosen.on == "unit" and layout is not None else list(contributions)
    scores = penalised(scores, signals.params, step_penalty, layout, read=read, on=on, members=members)
    scores = normalised(scores, normalise, signals.params, layout, signals.masks, members=members)
    made = {name: value for name, value in scores.items() if value is not contributions.get(name)}
    require_finite(f"score({chosen.name!r})", made)
    reached = reached_units(getattr(contributions, "reached", None), layout, members=members)
    return Scores(scores, layout=layout, fingerprint=signals.fingerprint, reached=reached, point=signals.point)


def require_measure(where: str, measure: str | Measure) -> Measure:
    """The measure of a name, or the measure itself.

    Raises:
        UnknownNameError: no such name.
        ValueError: neither.

    Example:
        >>> require_measure("score", "fisher").name
        'fisher'
    """
    if isinstance(measure, str):
        return MEASURES[measure]
    if not isinstance(measure, Measure):
        raise invalid(f"{where}(measure=)", "a name in fp.MEASURES, or a Measure", measure)
    return measure


def own_objective(measure: Measure) -> Any:
    """What the derivatives of a measure are of, with its defaults; None where any objective will do.

    Example:
        >>> own_objective(require_measure("score", "synflow")).name
        'synaptic_flow'
    """
    return None if measure.objective is None else cast("Callable[[], Any]", OBJECTIVES[measure.objective])()


def require_granularity(where: str, granularity: Granularity) -> Granularity:
    """The granularity, if it is one.

    Raises:
        ValueError: it is something else, such as its name or its class.

    Example:
        >>> require_granularity("prune", "weights")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: prune(granularity=) must be fp.Weights(), ...; got 'weights'. Pass fp.Weights().
    """
    if hasattr(granularity, "layout") and not isinstance(granularity, type):
        return granularity
    word = getattr(granularity, "__name__", granularity)
    kind = word.partition(":")[0].lower() if isinstance(word, str) else ""
    *most, last = WRITTEN.values()
    todo = f"Pass {WRITTEN[kind]}." if kind in WRITTEN else ""
    raise invalid(f"{where}(granularity=)", f"{', '.join(most)} or {last}", word, todo)


def _reduce(
    measure: Measure, contributions: Mapping[str, Tensor], layout: Groups | None, reducer: str, *, members: Members
) -> dict[str, Tensor]:
    if measure.on == "unit":
        return reduce_contributions(contributions, None, reducer)
    return reduce_contributions(contributions, layout, reducer, on=measure.on, members=members)


def _check_members(measure: Measure, members: str, layout: Groups | None) -> None:
    if members not in MEMBERS:
        raise unknown("score(members=)", members, MEMBERS)
    parts = layout is None or (layout and not channelwise(layout))
    if members == "group" and (parts or measure.on != "weight"):
        where = units_of(layout or {}) if parts else f"a measure of {measure.on}s"
        todo = "Weights that read a unit count for measures of weights on channels."
        raise invalid(f"score({measure.name!r}, members=)", f"'producers' with {where}", members, todo)


def _refuse_missing(measure: Measure, names: list[str], contributions: Mapping[str, Tensor]) -> None:
    missing = [name for name in names if name not in contributions]
    if missing:
        raise PruningError(
            f"score({measure.name!r}) must have a signal for every weight it ranks; {missing[0]!r} and "
            f"{len(missing) - 1} more have none: frozen parameters have no gradient. Unfreeze them, leave them out "
            f"with Weights(skip=({missing[0]!r},)), or use a measure without a gradient, such as magnitude."
        )


def _units(signals: Signals, layout: Groups) -> Signals:
    """Signals of one zero per unit, for a measure that looks at nothing of a unit."""
    some = next(iter(signals.params.values()))
    return Signals(params={name: some.new_zeros(group.shape) for name, group in layout.items()})


def _made_of(layout: Groups) -> list[str]:
    """The weights that make the units: what goes with one of which a measure reads nothing."""
    return list(dict.fromkeys(name for group in layout.values() for name in group.read("weight")))


def _why_none(granularity: Granularity, signals: Signals) -> str:
    """Why there is no unit, and what to do, as far as the granularity knows."""
    if not isinstance(granularity, PartlyFitting):
        return (
            "Every layer was skipped or left whole: fp.trace(model, x).refusals says which operation kept which "
            "weights whole, and why."
        )
    odd = granularity.left_out(signals)
    told = "; ".join(f"{name!r} ({why})" for name, why in [*odd.items()][:4])
    more = f"; and {len(odd) - 4} more" if len(odd) > 4 else ""
    fits = f"It fits no weight: {told}{more}." if odd else "Every weight was skipped."
    return f"{fits} Choose other sizes, or fp.Weights()."


def _names(
    measure: Measure, granularity: Granularity, layout: Groups | None, signals: Signals, *, members: Members
) -> list[str]:
    """The parameters whose contributions are wanted: nothing else is computed."""
    if layout is None:
        names = granularity.names(signals) if isinstance(granularity, Weights) else tuple(signals.params)
    else:
        names = tuple(layout)
    if not names:
        raise PruningError(
            f"score(granularity=) must offer a unit; {granularity.name} offered none. {_why_none(granularity, signals)}"
        )
    if layout is None:
        return list(names)
    if measure.on == "unit":
        return []
    return list(dict.fromkeys(tensor for group in layout.values() for tensor in group.read(measure.on, members)))


def _only(signals: Signals, names: list[str]) -> Signals:
    wanted = set(names)
    fields = ("params", *NAMED, "masks")
    changes: dict[str, Any] = {}
    for field in fields:
        value: Mapping[str, Tensor] | None = getattr(signals, field)
        if value is not None:
            changes[field] = {name: _at_least_single(t) for name, t in value.items() if name in wanted}
    return replace(signals, **changes)


def _at_least_single(tensor: Tensor) -> Tensor:
    """Half precision as float32: a square of it overflows at 256, and underflows at 0.0002."""
    return tensor.float() if tensor.dtype.itemsize < 4 and tensor.is_floating_point() else tensor


def _check_options(measure: Measure, options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(measure.contributions).parameters)[1:]
    for name in options:
        if name not in known:
            raise invalid(f"score({measure.name!r}) options", f"among {known or 'none'}", name)
