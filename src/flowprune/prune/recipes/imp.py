"""Lottery tickets: train, cut the smallest weights, rewind the others, and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack, cast

from torch import nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, invalid, renamed
from flowprune.core.held import masks_on
from flowprune.masks import Masks, Weights, check_zeros
from flowprune.measures import Granularity, Measure, require_granularity
from flowprune.prune.pruner import Pruner
from flowprune.prune.recipes.rewinding import Rewind, way_of
from flowprune.prune.rule import RuleOptions
from flowprune.schedules import exponential
from flowprune.schedules.schedule import require_rounds
from flowprune.signals.batches import require_batches
from flowprune.structure.twin import copied

HOW_MUCH = "imp(levels=, fraction=)"
NAMES = {"Pruner(": "imp(", "Pruner(schedule=)": HOW_MUCH, "exponential(sparsity=)": HOW_MUCH, "gather(": "imp("}
"""How errors of what is called begin, and what the caller wrote."""


class ImpOptions(RuleOptions, total=False):
    """The keywords of :class:`~flowprune.prune.rule.Rule`, and what a measure with signals needs."""

    objective: Any
    batches: Iterable[Any]


@dataclass(frozen=True, eq=False)
class Level:
    """One level of pruning.

    Attributes:
        level: 1 for the first.
        masks: What is kept after its cut, as masks of the model.
        trained: What ``train`` returned before its cut.
    """

    level: int
    masks: Masks
    trained: Any

    @property
    def density(self) -> float:
        """Fraction of the units kept."""
        return self.masks.density


@dataclass(frozen=True, eq=False)
class Tickets:
    """The tickets of all levels.

    Attributes:
        model: The copy that was pruned: of the last level, rewound and not trained yet, its masks holding.
        levels: In order.
    """

    model: nn.Module
    levels: tuple[Level, ...]

    @property
    def masks(self) -> Masks:
        """Of the last level."""
        return self.levels[-1].masks

    @property
    def densities(self) -> tuple[float, ...]:
        """Fraction of the units kept after each level."""
        return tuple(level.density for level in self.levels)


def imp(
    model: nn.Module,
    train: Callable[[nn.Module], Any],
    *,
    levels: int,
    fraction: float = 0.2,
    rewind: Rewind = "start",
    measure: str | Measure = "magnitude",
    granularity: Granularity | None = None,
    **rule: Unpack[ImpOptions],
) -> Tickets:
    """Iterative magnitude pruning with rewinding, on a copy of a model; the model itself is left as it was.

    At each level the copy is trained to the end, the lowest-scored fraction of the units that remain is cut over all
    layers together, and the survivors are rewound. Masks hold throughout, whatever the optimizer, and are nested.

    Formula: after level l of n units exactly round((1 - (1 - fraction)^l) n) are gone. With 20 % a level the density is
    0.8^l, to within one unit.

    To train the last ticket, call ``train(tickets.model)``. To rewind to step k (1903.01611), train the model for k
    steps and call this with it: ``train`` goes on from step k, with its learning rates and batches. To reinitialise in
    place of rewinding, ``rewind=redrawn(seed=0)``. Magnitude after training, in one shot, is ``levels=1,
    fraction=sparsity, rewind="none"``.

    Args:
        model: Where training begins, without masks.
        train: Trains the model that it is given in place, with a new optimizer each time; the state of an old one
            belongs to other weights. What it returns is kept.
        levels: How often is cut, at least once.
        fraction: Of the remaining units, cut at each level, in (0, 1).
        rewind: ``"start"``: to the weights and norm statistics at the call; a state dict to go back to; ``"none"``:
            weights stay as trained; or a function of the model and the level that changes weights in place, such as
            :func:`~flowprune.prune.recipes.rewinding.redrawn`.
        measure: A name in ``MEASURES``, or a measure.
        granularity: ``fp.Weights()`` (the default) or another whose units stay in place, such as ``fp.Blocks(4, 1)``.
            The published code leaves the linear layer of VGG whole: ``fp.Weights(skip=("classifier.*",))``.
        rule: scope, protect, mode, options, ... of :class:`~flowprune.prune.rule.Rule`; ``objective`` and ``batches``
            for a measure that needs signals.

    Raises:
        ValueError: an argument out of range, a state dict of another model, or a granularity that removes units.
        PruningError: the model is masked already, a layer would be emptied, or something other than an optimizer wrote
            weights that are masked.

    Source: J. Frankle & M. Carbin (2019), The Lottery Ticket Hypothesis, arXiv 1803.03635; J. Frankle et al. (2020),
    Stabilizing the Lottery Ticket Hypothesis, arXiv 1903.01611, and Linear Mode Connectivity and the Lottery Ticket
    Hypothesis, arXiv 1912.05671.

    Example:
        >>> import torch
        >>> def train(model):
        ...     optimizer = torch.optim.Adam(model.parameters())
        ...     model(torch.ones(1, 5)).sum().backward()
        ...     optimizer.step()
        >>> layer = nn.Linear(5, 5)
        >>> tickets = imp(layer, train, levels=2)
        >>> tickets.densities, bool((tickets.model.weight == layer.weight * tickets.masks["weight"]).all())
        ((0.8, 0.64), True)
    """
    granularity = Weights() if granularity is None else require_granularity("imp", granularity)
    _check(model, train, fraction, granularity, rule.get("scope"))
    require_rounds("imp(levels=)", levels)
    batches = rule.get("batches", ())
    require_batches("imp", batches)
    batches = list(batches) if iter(batches) is batches else batches  # every level reads them
    ticket = copied(model, "imp")
    back = way_of("imp", ticket, rewind)
    with renamed(NAMES):
        pruner = Pruner(
            ticket,
            measure=measure,
            granularity=granularity,
            objective=rule.get("objective"),
            schedule=exponential(levels, sparsity=1 - (1 - fraction) ** levels),
            **cast(RuleOptions, {key: value for key, value in rule.items() if key not in ("objective", "batches")}),
        )
        pruner.require_feasible()  # before hours of training
    done: list[Level] = []
    for level in range(1, levels + 1):
        trained = train(ticket)
        with renamed(NAMES):
            pruner.step(batches)
        back(ticket, level)
        check_zeros(ticket)
        done.append(Level(level, cast(Masks, pruner.masks), trained))
    return Tickets(ticket, tuple(done))


def _check(model: nn.Module, train: object, fraction: float, granularity: Granularity, scope: object) -> None:
    require_model("imp", model)
    if not callable(train):
        raise invalid("imp(train=)", "a function that trains the model it is given", train)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise invalid("imp(fraction=)", "in (0, 1): what is cut of what remains", fraction)
    if isinstance(scope, Mapping):
        todo = "The fraction says how much goes."
        raise invalid("imp(scope=)", "a word, or lists of patterns without sparsities of their own", scope, todo)
    if granularity.removes:
        todo = "Weights that are gone cannot be rewound: pass fp.Weights() or fp.Blocks(4, 1)."
        raise invalid("imp(granularity=)", "one whose units stay in place", granularity.name, todo)
    if masked := sorted(masks_on(dict(model.named_parameters()))):
        raise PruningError(
            f"imp(model=) must begin without masks, which would count as cut; {', '.join(map(repr, masked[:4]))} "
            "is masked. Call fp.release(model) first, or ask for more levels at once."
        )
