"""Pruning in one call, without training in between."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Unpack

from torch import nn

from flowprune.core.errors import invalid
from flowprune.masks import Masks, Scores, Weights
from flowprune.measures import MEASURES, Granularity, Measure
from flowprune.objectives.batch import inputs_of
from flowprune.prune.checks import probe_of
from flowprune.prune.pruner import Pruner
from flowprune.prune.records import Round
from flowprune.prune.rule import RuleOptions
from flowprune.schedules import Schedule, one_shot
from flowprune.structure import CostReport, cost_report
from flowprune.structure.cost import batch_size
from flowprune.structure.example import Example


@dataclass(frozen=True, eq=False)
class PruneResult:
    """A pruned copy of a model, and how it came about.

    Attributes:
        model: The smaller (channels) or masked (weights) copy; the model given is as it was.
        masks: Everything cut, as masks of the given model.
        scores: Of the last round.
        checks: What was verified, each once.
        cost: Parameters, non-zeros, multiply-adds, bytes, memory and latency before and after, on the example inputs
            as they are; :func:`flowprune.cost_report` measures other batch sizes.
        cuts: The numbers of each round.
    """

    model: nn.Module
    masks: Masks
    scores: Scores
    checks: tuple[str, ...]
    cost: CostReport
    cuts: tuple[Round, ...]


def prune(
    model: nn.Module,
    *,
    measure: str | Measure,
    sparsity: float,
    granularity: Granularity | None = None,
    objective: Any = None,
    batches: Iterable[Any] = (),
    schedule: Schedule | None = None,
    **rule: Unpack[RuleOptions],
) -> PruneResult:
    """Prune a copy of a model to a sparsity; the model itself is left as it was.

    With a schedule of several rounds the signals are gathered anew on the partly pruned copy before each cut.

    Args:
        model: Any module.
        measure: A name in ``MEASURES``, or a measure.
        sparsity: Fraction of the units removed, in [0, 1); exactly round(sparsity * n) of the n units go.
        granularity: ``fp.Weights()`` (the default) or ``fp.Channels(example_inputs=x)``.
        objective: As for ``fp.gather``; not needed where the measure needs no signal.
        batches: Re-iterable where there are several rounds.
        schedule: How the sparsity is reached; one round by default.
        rule: scope, floor, protect, mode, options; see :class:`~flowprune.prune.rule.Rule`.

    Raises:
        ValueError: a sparsity outside [0, 1), an objective or batches missing, or scores that are not finite.
        PruningError: a layer would be emptied, or a check failed.

    Example:
        >>> import flowprune as fp
        >>> result = fp.prune(nn.Linear(4, 2), measure="magnitude", sparsity=0.5)
        >>> result.masks.sparsity, int(result.model.weight.count_nonzero())
        (0.5, 4)
    """
    granularity = Weights() if granularity is None else granularity
    chosen = MEASURES[measure] if isinstance(measure, str) else measure
    plan = _with_sparsity(schedule or one_shot(), sparsity)
    if chosen.needs and objective is None:
        raise invalid("prune(objective=)", f"given, because {chosen.name!r} needs {chosen.needs}", None)
    kept = _reiterable(batches, plan.rounds if chosen.needs else 1)
    example = _example(granularity, kept)
    copy = deepcopy(model)
    pruner = Pruner(copy, None, measure=chosen, granularity=granularity, objective=objective, schedule=plan, **rule)
    cuts: list[Round] = []
    scores = Scores({})
    while (cut := pruner.step(kept)) is not None:
        cuts.append(cut.numbers())
        scores = cut.scores
    masks = pruner.masks
    if masks is None:
        raise invalid("prune(schedule=)", "of at least one round", plan)
    return PruneResult(
        model=copy,
        masks=masks,
        scores=scores,
        checks=tuple(dict.fromkeys(check for cut in cuts for check in cut.checks)),
        cost=_cost(model, copy, example),
        cuts=tuple(cuts),
    )


def _cost(model: nn.Module, pruned: nn.Module, example: Any) -> CostReport:
    """What pruning saved, at the batch size of the example inputs."""
    sizes = () if example is None else (batch_size(Example.of(example)),)
    return cost_report(model, pruned, example, batch_sizes=sizes)


def _with_sparsity(schedule: Schedule, sparsity: float) -> Schedule:
    """The schedule with its target; one that has another target is refused."""
    schedule.targets(sparsity)
    return Schedule(schedule.name, schedule.rounds, sparsity, schedule.shape)


def _reiterable(batches: Iterable[Any], rounds: int) -> Iterable[Any]:
    """The batches, kept in a list where an iterator must serve several rounds."""
    return list(batches) if rounds > 1 and iter(batches) is batches else batches


def _example(granularity: Granularity, batches: Iterable[Any]) -> Any:
    """Example inputs for costs: the granularity's, else the first batch's; None where there are none."""
    example = getattr(granularity, "example_inputs", None)
    if example is not None:
        return probe_of(example)
    if iter(batches) is batches:
        return None
    first = next(iter(batches), None)
    return None if first is None else probe_of(inputs_of(first))
