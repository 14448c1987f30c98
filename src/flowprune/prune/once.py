"""Pruning in one call, without training in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, renamed
from flowprune.masks import Compensation, Masks, Scores, Weights
from flowprune.measures import Granularity, Measure, require_granularity
from flowprune.objectives.batch import inputs_of
from flowprune.prune.budget import Budget
from flowprune.prune.checks import check_budget, probe_of
from flowprune.prune.collapse import Collapse
from flowprune.prune.diagnosis import diagnosed
from flowprune.prune.method import Asked, Method
from flowprune.prune.options import PruneOptions
from flowprune.prune.records import Round
from flowprune.prune.solution import Solution
from flowprune.prune.targets import fixed_sparsity, targets_of
from flowprune.prune.timing import Timing
from flowprune.schedules import Schedule
from flowprune.signals.batches import require_batches
from flowprune.signals.precision import in_precision
from flowprune.structure import CostReport
from flowprune.structure.example import Example
from flowprune.structure.twin import copied


@dataclass(frozen=True, eq=False)
class PruneResult:
    """A pruned copy of a model, and how it came about.

    Attributes:
        model: The smaller (channels, depth) or masked (weights, blocks) copy; the model given is as it was.
        masks: Everything cut, as masks of the given model.
        scores: Of the last round.
        checks: What was verified, each once.
        cost: Parameters, non-zeros, multiply-adds, bytes, memory and latency before and after.
        cuts: The numbers of each round.
        measure: The name of the measure.
        recipe: The name of the recipe; empty where there was none.
        options: The options it was given.
        budget: The budget as it was solved, with the achieved amount and the miss; None where a sparsity was asked.
        collapse: What of the masked network does anything, and what to look at before it is trained; see
            :mod:`flowprune.prune.collapse`. None where it was not asked for.
        rescaled: What kept weights were multiplied with, by layer; empty where they were not.
        compensation: What the outputs of layers miss, before and after kept weights made up for those that are cut;
            None where that was not asked for.
    """

    model: nn.Module
    masks: Masks
    scores: Scores
    checks: tuple[str, ...]
    cost: CostReport
    cuts: tuple[Round, ...]
    measure: str = ""
    recipe: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget: Solution | None = None
    collapse: Collapse | None = None
    rescaled: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    compensation: Compensation | None = None


def prune(
    model: nn.Module,
    *,
    measure: str | Measure | None = None,
    sparsity: float | None = None,
    budget: Budget | None = None,
    granularity: Granularity | None = None,
    objective: Any = None,
    batches: Iterable[Any] = (),
    schedule: Schedule | None = None,
    **options: Unpack[PruneOptions],
) -> PruneResult:
    """Prune a copy of a model to a sparsity or a budget; the model itself is left as it was.

    With a schedule of several rounds the signals are gathered anew on the partly pruned copy before each cut. A budget
    is what is left after the last of them; it is solved anew from the scores of each round.

    Args:
        model: Any module.
        measure: A name in ``MEASURES``, or a measure. Either this or ``recipe``.
        sparsity: Fraction of the units removed, in [0, 1); exactly round(sparsity * n) of the n units go. Either this
            or ``budget``. Neither where the schedule has a sparsity, an N:M pattern has its own, or the scope names
            that of every layer.
        budget: What is to be left, e.g. ``fp.Budget(parameters=0.5)``: met as nearly as removing whole units can.
        granularity: ``fp.Weights()`` (the default), ``fp.NM(2, 4)``, ``fp.Blocks(4, 1)``,
            ``fp.Channels(example_inputs=x)``, or ``fp.Depth(example_inputs=x)`` for whole residual blocks.
        objective: As for ``fp.gather``; not needed where the measure needs no signal, or has an objective of its own.
        batches: Re-iterable where there are several rounds.
        schedule: How the sparsity is reached; one round by default.
        options: scope, floor, protect, mode, options and more of how units are chosen: see
            :class:`~flowprune.prune.rule.Rule`.

            ``recipe``: a name in ``fp.RECIPES``, a published method: its measure, objective, rounds and mode, each of
            which takes another value where it is given here.

            Ablations, to ask what of a method matters: ``ablations``, of ``"invert"`` (cut what would be kept),
            ``"shuffle"`` (permute masks within each layer, which makes them random at the same densities) and
            ``"reinitialize"`` (draw what is left anew); ``score_on="fresh_draw"`` scores other weights than those that
            are pruned; ``seed`` is of all draws, and ``build`` makes a network of a seed, where modules cannot draw
            their own weights.

            ``diagnose=False`` leaves out the diagnosis of layer collapse, a pass forward and back of one example.

            ``rescale``: ``"layer"`` or ``"unit"``, and ``sigma_w``: see :func:`flowprune.rescale`.

            ``compensate=True``: the weights that stay make up for those that are cut, before anything is removed, as in
            :func:`flowprune.compensate`, in sequence and over ``batches``; they are then needed for any measure.

            ``batch_sizes`` and ``channels_last`` of the passes that are timed, as for :func:`flowprune.cost_report`; by
            default one size, that of the example inputs, at most 4, or that of a latency budget.

    Raises:
        ValueError: a sparsity outside [0, 1) or not the one of an N:M pattern, none at all, one beside a budget, an
            objective or batches missing, or scores that are not finite.
        PruningError: a layer would be emptied, the budget is not feasible, or a check failed.

    Example:
        >>> import torch, flowprune as fp
        >>> result = fp.prune(nn.Linear(4, 2), measure="magnitude", sparsity=0.5)
        >>> result.masks.sparsity, int(result.model.weight.count_nonzero())
        (0.5, 4)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> units = fp.Channels(example_inputs=torch.ones(1, 4))
        >>> print(fp.prune(model, measure="magnitude", budget=fp.Budget(parameters=30), granularity=units).budget)
        asked 30 parameters, achieved 30 (miss +0)
    """
    require_model("prune", model)
    granularity = Weights() if granularity is None else require_granularity("prune", granularity)
    require_batches("prune", batches)
    rule: dict[str, Any] = dict(options)
    diagnose = rule.pop("diagnose", True)
    sizes, channels_last = rule.pop("batch_sizes", None), rule.pop("channels_last", False)
    method = Method.of(
        Asked(model, granularity, sparsity), measure, objective=objective, schedule=schedule, options=rule
    )
    names = _names(method.schedule, sparsity)
    with renamed(names):
        plan = _planned(
            method.schedule, method.sparsity, budget, granularity=granularity, scope=method.rule.get("scope")
        )
        method.require_objective()
        method.require_inputs(batches)
        reads = 2 if plan.adapt else plan.rounds if method.measure.needs else 1
        kept = _reiterable(batches, reads + method.afterwards.compensate)
        example = _example(granularity, kept)
    timing = Timing(granularity, example, budget, sizes, channels_last=channels_last)
    scored, objective, itself = _scored(model, method, removes=granularity.removes)
    with renamed(names):
        pruner = method.pruner(scored, objective, granularity, plan, budget)
        rounds = pruner.finish(kept)
    if rounds.masks is None:
        raise invalid("prune(schedule=)", "of at least one round", plan)
    done = scored if itself else None
    pruned = method.afterwards.carried_out(model, rounds.masks, example, done=done, batches=kept)
    copy, masks = pruned.model, pruned.masks
    cost, solution = timing.report(model, copy), pruner.solution
    checks = (*(check for cut in rounds.cuts for check in cut.checks), *check_budget(solution, cost.after))
    return PruneResult(
        model=copy,
        masks=masks,
        scores=rounds.scores,
        checks=tuple(dict.fromkeys(checks)),
        cost=cost,
        cuts=rounds.cuts,
        measure=method.measure.name,
        recipe=method.name,
        options=dict(method.rule.get("options", {})),
        budget=None if solution is None else replace(solution, masks=masks),
        rescaled=pruned.rescaled,
        compensation=pruned.compensation,
        collapse=diagnosed(model, pruner, replace(rounds, masks=masks), example=example) if diagnose else None,
    )


def _scored(model: nn.Module, method: Method, *, removes: bool) -> tuple[nn.Module, Any, bool]:
    """The copy that is scored and cut, the objective of it, and whether it is one of the model as it is.

    It is of another draw of weights where that is asked for.

    Where units stay in the model, it is also made what the objective sees in it, once for all rounds: in another type,
    say, and with positive weights. A model that shrinks stays itself; ``gather`` then does so in each round.
    """
    copy = copied(model, "prune")
    if method.afterwards.fresh_draw:
        method.afterwards.redraw_(copy, "fresh_draw")
    if removes or not method.measure.needs:
        return copy, method.objective, True
    seen = in_precision(copy, method.objective)
    if method.prepares:
        return seen, method.objective.prepare_(seen), False
    return seen, method.objective, seen is copy


def _names(schedule: Schedule, sparsity: float | None) -> dict[str, str]:
    """How errors of what :func:`prune` calls begin, and what its caller wrote."""
    asked = "prune(schedule=)" if sparsity is None else "prune(sparsity=)"
    passed_on = {f"gather({name}=)": f"prune({name}=)" for name in ("model", "objective", "batches")}
    return {
        "Pruner(": "prune(",
        "objective(batch=) must": "prune(batches=): each batch must",
        "Pruner(schedule=) must leave": f"{asked} must leave",
        f"{schedule.name}.targets(sparsity=)": "prune(sparsity=)",
        **passed_on,
    }


def _planned(
    schedule: Schedule, sparsity: float | None, budget: Budget | None, *, granularity: Granularity, scope: object
) -> Schedule:
    """The schedule with its target; another target in it, a second one, or none at all is refused."""
    if sparsity is not None and budget is not None:
        raise invalid("prune(budget=)", "None beside sparsity=", budget, "Name one target.")
    asked = schedule.sparsity if sparsity is None else sparsity
    if budget is not None or (asked is None and isinstance(scope, Mapping)):
        return schedule
    if asked is None and fixed_sparsity(granularity) is None:
        raise invalid("prune(sparsity=)", "given, or budget=, exactly one of the two", None, "E.g. sparsity=0.5.")
    if sparsity is not None:
        schedule.targets(sparsity)
    plan = replace(schedule, sparsity=asked)
    targets_of("prune(sparsity=)", plan, granularity)
    return plan


def _reiterable(batches: Iterable[Any], rounds: int) -> Iterable[Any]:
    """The batches, kept in a list where an iterator must serve several rounds."""
    return list(batches) if rounds > 1 and iter(batches) is batches else batches


def _example(granularity: Granularity, batches: Iterable[Any]) -> Example | None:
    """A few example inputs for costs: the granularity's, else the first batch's; None where there are none."""
    example = getattr(granularity, "example_inputs", None)
    if example is not None:
        return probe_of(example)
    if iter(batches) is batches:
        return None
    first = next(iter(batches), None)
    return None if first is None else probe_of(inputs_of(first))
