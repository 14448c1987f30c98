"""What one seed shows: scores, cuts by several measures, and how the cut models go on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.analysis.short_training import ShortTraining, train_briefly
from flowprune.core.errors import invalid
from flowprune.core.groups import Groups, channelwise
from flowprune.core.seeds import derive
from flowprune.masks import Masks, Scores, apply, expand, floors, masks_of, reduce, select
from flowprune.measures import Granularity, score
from flowprune.signals import Signals, gather
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import size_of
from flowprune.signals.gradient import Loss, loss_of, over_examples

Named = dict[str, Tensor]

MEASURES = {
    "magnitude": ("magnitude", None),
    "loss_preservation": ("loss_preservation", None),
    "gradient_norm_increase": ("gradient_norm_increase", None),
    "gradient_norm_preservation": ("gradient_norm_preservation", None),
    "absolute_first_order": ("taylor_first_order", "abs_sum"),
    "signed_first_order": ("taylor_first_order", "sum"),
}
"""Name here -> measure and reducer; the last two are |Σ θ·g|, what E6 speaks of, and Σ θ·g."""
TRAINED = ("magnitude", "loss_preservation", "gradient_norm_increase", "gradient_norm_preservation")
"""The cuts after which the model is trained for a while."""
SCORED = tuple(name for name in TRAINED if name != "magnitude")
"""Those of them that read signals, which may be taken of another objective than the training's."""
RANDOM_CUTS = 5
"""Random cuts whose mean is the control: a forward pass each."""

INVARIANT = 0.05
"""Of what chance would leave of Σ θ·g: below it, a layer's units are taken for scale-invariant."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One seed's task: the model as given, and the batches dealt to it.

    Attributes:
        model: Only copies of it are changed.
        objective: ``(forward, batch) -> scalar mean loss``.
        scored: Batches on which signals and losses are taken.
        trained: Other batches, for the short trainings.
        training: How those go.
        sparsity: Fraction of the live units that each cut removes.
        seed: Of the random cuts, and of dropout.
    """

    model: nn.Module
    objective: Loss
    scored: Sequence[Any]
    trained: Sequence[Any]
    training: ShortTraining
    sparsity: float
    seed: int


@dataclass(frozen=True, eq=False)
class Course:
    """What a cut kept, the change of loss at once, in eval mode, and the training loss of each step after it."""

    kept: Masks
    change: float
    losses: tuple[float, ...]

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return not all(map(math.isfinite, self.losses))

    @property
    def mean_loss(self) -> float:
        """Over the steps; NaN where they diverged."""
        return math.nan if self.diverged else statistics.fmean(self.losses)

    @property
    def last_loss(self) -> float:
        """Over the last quarter of the steps; NaN where they diverged."""
        return math.nan if self.diverged else statistics.fmean(self.losses[-max(1, len(self.losses) // 4) :])


@dataclass(frozen=True, eq=False)
class Probe:
    """One seed's findings.

    Attributes:
        scores: By a name of ``MEASURES``: scores of the live units, flat, by layer.
        courses: By a name of ``TRAINED``: what followed a cut by that measure.
        random_change: Mean change of loss when as many units of each layer as ``gradient_norm_increase`` cuts go
            at random.
        harmful_change: Change of loss when the units with the lowest Σ θ·g go: the most harmful to first order.
        moved: ‖θ_p‖² after - before of each live unit p over the uncut model's short training; None if it diverged.
        invariant: Layers whose units are scale-invariant in that training: Σ θ·g = 0 for each.
        sparsity: Fraction of the live units that went in each cut.
        seed: The seed.
    """

    scores: Mapping[str, Named]
    courses: Mapping[str, Course]
    random_change: float
    harmful_change: float
    moved: Named | None
    invariant: frozenset[str]
    sparsity: float
    seed: int


@dataclass(frozen=True)
class Settled:
    """A granularity whose layout was found before: six measures and every seed share the units of one trace."""

    name: str
    removes: bool
    found: Groups

    def layout(self, signals: Signals) -> Groups:
        """The layout, whatever the signals."""
        del signals
        return self.found


def settled(granularity: Granularity, signals: Signals) -> Granularity:
    """The granularity with its layout found; single weights, which have none, as they are."""
    if isinstance(granularity, Settled):
        return granularity
    layout = granularity.layout(signals)
    return granularity if layout is None else Settled(granularity.name, granularity.removes, layout)


def probe(
    trial: Trial, signals: Signals, units: Granularity, *, scored_with: Mapping[str, Signals] | None = None
) -> Probe:
    """Score once by every measure, cut copies of the model, and train them for a while.

    Args:
        trial: The task.
        signals: Of ``trial.model`` on ``trial.scored``, with gradient and Hessian·gradient.
        units: A settled granularity.
        scored_with: Signals of another objective, by a name of ``SCORED``.
    """
    own = scored_with or {}
    scores = {n: score(measure, own.get(n, signals), units, reduce=how) for n, (measure, how) in MEASURES.items()}
    alive = live_units(trial.model, signals, scores["magnitude"])
    masks = {name: cut(scores[name], trial.sparsity, alive) for name in (*TRAINED, "signed_first_order")}
    before = signals.loss or 0.0

    def change(masks: Masks) -> float:
        return _loss(masked(trial.model, masks), trial) - before

    def course(masks: Masks) -> Course:
        model = masked(trial.model, masks)
        return Course(masks, _loss(model, trial) - before, _train(model, trial))

    moved = _moved(trial, scores["magnitude"], alive)
    return Probe(
        scores={name: _flat(found, alive) for name, found in scores.items()},
        courses={name: course(masks[name]) for name in TRAINED},
        random_change=statistics.fmean(
            change(_at_random(masks["gradient_norm_increase"], scores, alive, seed=derive(trial.seed, "cut", draw)))
            for draw in range(RANDOM_CUTS)
        ),
        harmful_change=change(masks["signed_first_order"]),
        moved=moved,
        invariant=frozenset() if moved is None else scale_invariant(trial, units, alive),
        sparsity=trial.sparsity,
        seed=trial.seed,
    )


def scale_invariant(trial: Trial, units: Granularity, alive: Named) -> frozenset[str]:
    """Layers whose units the flow leaves at their norm in training, as norms over the batch make them.

    There Σ θ·g of a unit is zero up to rounding and the norm's epsilon; where signs are as by chance, it is about as
    large as (Σ (θ·g)²)^½. A twentieth of that, over all units of a layer together, tells the two apart. Looked at in
    the mode that training runs in, on its first batch.
    """
    signals = gather(trial.model, trial.objective, trial.trained[:1], mode="train")
    total, size = (score("taylor_first_order", signals, units, reduce=how) for how in ("sum", "l2"))
    if not total.layout:
        return frozenset()  # a single weight has no scale of its own
    sums, sizes = _flat(total, alive), _flat(size, alive)
    return frozenset(name for name in sums if float(sums[name].norm()) < INVARIANT * float(sizes[name].norm()))


def live_units(model: nn.Module, signals: Signals, scores: Scores) -> Named:
    """By layer, where masks that the model holds already leave something of a unit: the others are cut no second time.

    Shapes: as the scores.

    Example:
        >>> layer = apply(nn.Linear(2, 1, bias=False), {"weight": torch.tensor([[True, False]])})
        >>> signals = Signals(params=dict(layer.named_parameters()))
        >>> live_units(layer, signals, score("magnitude", signals))["weight"]
        tensor([[ True, False]])
    """
    held = masks_of(model)
    if not held:
        return {name: torch.ones_like(found, dtype=torch.bool) for name, found in scores.items()}
    kept = {name: held.get(name, torch.ones_like(value, dtype=torch.bool)) for name, value in signals.params.items()}
    counts = _per_unit({name: keep.float() for name, keep in kept.items()}, scores, "sum")
    return {name: count > 0 for name, count in counts.items()}


def cut(scores: Scores, sparsity: float, alive: Named) -> Masks:
    """Masks without ``round(sparsity * n)`` of the n live units: the lowest-scored ones, over all layers together.

    Of a layer of channels 5 % and one more stay, as in the paper's code; of one of weights or blocks, one.

    Raises:
        ValueError: that rounds to no unit at all.
        PruningError: the floors leave too little to cut.
    """
    total, live = sum(score.numel() for score in scores.values()), sum(int(mask.sum()) for mask in alive.values())
    removed = round(sparsity * live)
    if removed < 1:
        raise invalid("observations(sparsity=)", f"enough to remove at least one of {live} units", sparsity)
    least = floors({name: score.numel() for name, score in scores.items()}, 0.05 if channelwise(scores.layout) else 0.0)
    return select(scores, (total - live + removed) / total, min_keep=least, within=alive)


def masked(model: nn.Module, masks: Masks) -> nn.Module:
    """A copy with these masks applied, besides those that the model holds already."""
    copy = deepcopy(model)
    held = masks_of(copy)
    if not held:
        return apply(copy, masks)
    params = dict(copy.named_parameters())
    fresh = {name: keep.expand(params[name].shape) for name, keep in expand(params, masks).items()}
    return apply(copy, {name: keep & held.get(name, keep).to(keep.device) for name, keep in (held | fresh).items()})


def _at_random(like: Masks, scores: Mapping[str, Scores], alive: Named, *, seed: int) -> Masks:
    """As many units of each layer as ``like`` removes, drawn without looking."""
    generator = torch.Generator().manual_seed(seed)
    some = scores["magnitude"]
    drawn = {name: torch.rand(value.shape, generator=generator).to(value.device) for name, value in some.items()}
    removed = {name: 1.0 - count.kept / count.total for name, count in like.per_layer().items()}
    return select(Scores(drawn, layout=some.layout, fingerprint=some.fingerprint), removed, within=alive)


def _moved(trial: Trial, scores: Scores, alive: Named) -> Named | None:
    model = deepcopy(trial.model)
    before = _squares(model)
    losses = _train(model, trial)
    moved = {name: after - before[name] for name, after in _squares(model).items()}
    finite = all(bool(torch.isfinite(value).all()) for value in moved.values())
    if not (finite and all(map(math.isfinite, losses))):
        return None
    return _flat(_per_unit(moved, scores, "sum"), alive)


def _squares(model: nn.Module) -> Named:
    """θ² in float64, on the CPU: not every accelerator has float64, and differences of squares need it."""
    return {name: param.detach().cpu().double().square() for name, param in model.named_parameters()}


def _per_unit(contributions: Named, scores: Scores, reducer: str) -> Named:
    """Contributions reduced as those of a measure are, for the units of these scores."""
    if scores.layout:
        return reduce(contributions, scores.layout, reducer)
    return reduce({name: contributions[name] for name in scores}, None, reducer)


def _flat(scores: Mapping[str, Tensor], alive: Named) -> Named:
    """The live units of each layer, flat, in float64 on the CPU; layers without one are left out."""
    some = {name: mask.cpu() for name, mask in alive.items() if bool(mask.any())}
    return {name: scores[name].cpu()[mask].double() for name, mask in some.items()}


def _train(model: nn.Module, trial: Trial) -> tuple[float, ...]:
    return train_briefly(model, trial.objective, trial.trained, trial.training, seed=trial.seed)


def _loss(model: nn.Module, trial: Trial) -> float:
    """The mean loss, finite or not: a cut may well break a model, and that is a finding."""
    with as_found(model, "eval"), torch.no_grad():
        losses = [float(loss_of(trial.objective, model, batch)) for batch in trial.scored]
    return over_examples(losses, [size_of(batch) for batch in trial.scored])
