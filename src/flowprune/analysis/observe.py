"""The founding paper's five observations, tested on a model of yours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from flowprune.analysis.claim import Claim
from flowprune.analysis.claims import CLAIMS
from flowprune.analysis.observation import Observation, Observations, Verdict
from flowprune.analysis.probe import SCORED, Probe, Trial, probe, settled
from flowprune.analysis.short_training import ShortTraining
from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, unknown
from flowprune.core.interval import Interval, student_interval
from flowprune.core.seeds import stream
from flowprune.measures import Granularity
from flowprune.signals import gather
from flowprune.signals.as_found import random_state
from flowprune.signals.batches import read
from flowprune.signals.gradient import Loss

Deal = Callable[[int], tuple[list[Any], list[Any]]]
"""Seed -> batches for signals and losses, and other batches for the short trainings."""
POOL = 4
"""Fewest batches that are dealt anew for each seed: two and two of four can be chosen in six ways."""


def observations(  # noqa: PLR0913, each argument is a choice of its own
    model: nn.Module,
    objective: Loss,
    batches: Callable[[int], Iterable[Any]] | Iterable[Any],
    *,
    granularity: Granularity,
    sparsity: float = 0.5,
    seeds: int = 5,
    training: ShortTraining | None = None,
    scored_with: Mapping[str, Loss] | None = None,
    confidence: float = 0.95,
) -> Observations:
    """Say of each of the paper's five observations whether it holds for this model, data and training state.

    | | statistic (above 0 speaks for the observation) |
    |---|---|
    | 1 | training loss over the first S steps: cut by loss preservation, minus cut by magnitude |
    | 2 | ρ over units: abs(Σ θ·g) and the measured abs(Δ‖θ_p‖²) over S steps of the uncut model on other batches |
    | 3 | ρ over units: magnitude and loss preservation |
    | 4 | change of the loss: cut by increase of the gradient norm, minus as many of each layer at random |
    | 5 | training loss over the first S steps: cut by increase of the gradient norm, minus by its preservation |

    2 is over the units that the flow moves at all in training: a filter before a norm over the batch is scale-invariant
    there, Σ θ·g = 0, and only the size of the steps makes its norm grow. Where all are, there is no verdict.

    3 is of one moment: that the two agree more as training goes on takes a call for each of two checkpoints.

    Each is taken once per seed, both sides from the same start, batches, order and dropout; the verdict is Student's
    interval of the mean over seeds against 0. A seed varies the sample and its order; the model and its training
    state are given, so the verdicts speak of them alone. Signals are gathered once per seed, in eval mode; cuts are
    masks on copies, one ranking over all layers, with the paper's floor of 5 % of a layer's channels (one weight).
    Units that masks on the model hold at zero already are no part of it.

    Each seed's batches are dealt in two: one half (the larger) for signals and for losses right after a cut, the other
    for the short trainings, which go over it as often as their steps need.

    The model is left as found, also after an exception: parameters, ``.grad``, buffers, modes, hooks, random state.

    Args:
        model: Any module that can be copied.
        objective: ``(forward, batch) -> scalar mean loss``, the one the model is trained with.
        batches: Seed -> a fresh sample of the training data in batches, at least two; seeds count from 0. Or an
            iterable of at least four batches: each seed deals them anew. Where samples of different seeds overlap, as
            they do then, or where each takes much of a small data set, the intervals speak of these examples and are
            too narrow for the population they come from.
        granularity: ``fp.Weights()`` or ``fp.Channels(example_inputs=x)``.
        sparsity: Fraction of units that each cut removes, in (0, 1).
        seeds: How many; with one there is no interval and no verdict.
        training: The short trainings; by default ``ShortTraining()``.
        scored_with: Objectives that measures are scored with where that is not ``objective``, by name of the measure.
            ``{"gradient_norm_increase": fp.objectives.cross_entropy(temperature=200)}`` is the published GraSP at
            whatever temperature is trained. Every loss that is told, and trained on, is of ``objective``.
        confidence: Of each interval by itself, in (0, 1).

    Raises:
        UnknownNameError: a name in ``scored_with`` of no measure that reads signals here.
        ValueError: an argument out of range, too few batches, or a loss of the uncut model that is not finite.
        PruningError: frozen weights among the units, or floors that leave too little to cut.

    Assumes: the loss is a mean over examples.
    Source: Lubana & Dick (2021), arXiv 2009.11839; the statistics are this library's.

    Example:
        >>> from flowprune.masks import Weights
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[2.0, 1.0]]))
        >>> def half_square(forward, batch): return 0.5 * forward(batch[0]).square().mean()
        >>> def sample(seed): return [(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), None)] * 2     # L = ¼‖θ‖²: |θg| = ½θ²
        >>> found = observations(model, half_square, sample, granularity=Weights(), seeds=2)
        >>> found.observations[2].value, found.observations[2].verdict
        (1.0, 'holds')
    """
    require_model("observations", model)
    training = ShortTraining() if training is None else training
    _check(granularity, sparsity, seeds, training, confidence)
    others = _scored_with(scored_with)
    restore = random_state(model)
    probes: list[Probe] = []
    units, second_order = granularity, ("gradient", "hessian_gradient")
    try:
        with torch.inference_mode(False), torch.enable_grad():
            deal = _dealer(batches, model)
            for seed in range(seeds):
                scored, trained = deal(seed)
                signals = gather(model, objective, scored, needs=second_order)
                units = settled(units, signals)
                own = {name: gather(model, loss, scored, needs=second_order) for name, loss in others.items()}
                trial = Trial(model, objective, scored, trained, training, sparsity, seed)
                probes.append(probe(trial, signals, units, scored_with=own))
    finally:
        restore()
    return Observations(
        observations=tuple(judge(claim, probes, confidence=confidence) for claim in CLAIMS),
        granularity=granularity.name,
        units=sum(score.numel() for score in probes[0].scores["magnitude"].values()),
        sparsity=sparsity,
        seeds=seeds,
        training=training,
        confidence=confidence,
    )


def judge(claim: Claim, probes: Sequence[Probe], *, confidence: float = 0.95) -> Observation:
    """One observation, from what each seed showed."""
    values = [claim.value(each) for each in probes]
    interval = student_interval(filter(math.isfinite, values), confidence=confidence)
    diverged = sum(map(claim.diverged, probes))
    lost = len(probes) - interval.n
    found = verdict(interval, lost=lost)
    details = _means([claim.details(each) for each in probes])
    moot = claim.moot(details)
    said = [moot] if moot else list(_advice(claim, found, interval, diverged=diverged, lost=lost))
    if interval.mean is not None:
        said.append(claim.remark(interval.mean, details))
    return Observation(
        number=claim.number,
        title=claim.title,
        claim=claim.claim,
        statistic=claim.statistic,
        formula=claim.formula,
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        verdict=found,
        diverged=diverged,
        details=details,
        advice=" ".join(said),
    )


def verdict(interval: Interval, *, lost: int = 0) -> Verdict | None:
    """What an interval says about a statistic that is above 0 where a claim holds.

    A seed that was lost leaves it undecided: the others are no fair sample.

    Example:
        >>> [verdict(Interval(0.5, low, high, 5)) for low, high in ((0.1, 0.9), (-0.1, 1.1), (-0.9, -0.1))]
        ['holds', 'undecided', 'does not hold']
        >>> verdict(Interval(0.5, 0.1, 0.9, 5), lost=1), verdict(Interval(0.5, None, None, 1)) is None
        ('undecided', True)
    """
    if interval.low is None or interval.high is None:
        return None
    if lost or interval.low <= 0.0 <= interval.high:
        return "undecided"
    return "holds" if interval.low > 0.0 else "does not hold"


def _advice(claim: Claim, found: Verdict | None, interval: Interval, *, diverged: int, lost: int) -> Iterator[str]:
    """Sentences: what was lost, and what follows from the others."""
    seeds = interval.n + lost
    if diverged:
        yield f"The short training diverged in {diverged} of {seeds} seeds: lower its learning rate."
    if lost > diverged:
        yield f"{lost - diverged} of {seeds} seeds gave no finite number: all scores are equal, or a cut broke it."
    if found is None:
        yield "A verdict needs at least two seeds that give a finite number."
    elif not lost:
        same = interval.low == interval.high == 0.0
        yield "Both sides are the same in every seed: there is nothing to decide." if same else claim.advice[found]


def _means(details: Sequence[Any]) -> dict[str, float]:
    """The mean of each detail over the seeds in which it is finite; NaN where it is in none."""
    known = {name: [each[name] for each in details if math.isfinite(each[name])] for name in details[0]}
    return {name: statistics.fmean(values) if values else math.nan for name, values in known.items()}


def _dealer(batches: Callable[[int], Iterable[Any]] | Iterable[Any], model: nn.Module) -> Deal:
    if callable(batches):
        return lambda seed: _halves([each.batch for each in read(batches(seed), model)], seed)
    pool = [each.batch for each in read(batches, model)]
    if len(pool) < POOL:
        todo = "Pass smaller batches, or a function from a seed to a fresh sample in batches."
        raise invalid("observations(batches=)", f"at least {POOL} batches, dealt anew for each seed", len(pool), todo)
    return lambda seed: _halves(_shuffled(pool, seed), seed)


def _shuffled(pool: Sequence[Any], seed: int) -> list[Any]:
    order = torch.randperm(len(pool), generator=stream(seed, "observations"))
    return [pool[place] for place in order.tolist()]


def _halves(batches: list[Any], seed: int) -> tuple[list[Any], list[Any]]:
    if len(batches) < 2:
        rule = "at least two batches: one for signals, one to train on"
        raise invalid(f"observations(batches=): batches({seed})", rule, len(batches), "Draw smaller batches.")
    middle = (len(batches) + 1) // 2
    return batches[:middle], batches[middle:]


def _scored_with(given: object) -> dict[str, Loss]:
    where = "observations(scored_with=)"
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(
        callable(loss) for loss in cast("Mapping[str, object]", given).values()
    ):
        raise invalid(
            where, "a mapping of measures to objectives", given, 'Pass {"gradient_norm_increase": objective}.'
        )
    found = dict(cast("Mapping[str, Loss]", given))
    for name in found:
        if name not in SCORED:
            raise unknown(where, name, SCORED)
    return found


def _check(granularity: object, sparsity: object, seeds: object, training: object, confidence: object) -> None:
    if not hasattr(granularity, "layout") or isinstance(granularity, type):
        raise invalid("observations(granularity=)", "fp.Weights() or fp.Channels(example_inputs=x)", granularity)
    for name, value in (("sparsity", sparsity), ("confidence", confidence)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
            raise invalid(f"observations({name}=)", "in (0, 1)", value)
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise invalid("observations(seeds=)", "a whole number >= 1", seeds)
    if not isinstance(training, ShortTraining):
        raise invalid("observations(training=)", "a flowprune.analysis.ShortTraining", training)
