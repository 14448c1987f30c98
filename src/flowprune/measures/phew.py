"""PHEW: the weights that random walks from inputs to outputs visit, the first visited first.

No data and no gradient: only the sizes of the weights, and how the layers of the model are joined. What no walk has
visited has no rank, so it comes back with a mask of what was visited, and a selection that would keep more is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from flowprune.core.errors import PruningError, invalid
from flowprune.core.source import Source
from flowprune.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flowprune.signals import Signals
    from flowprune.structure.paths import Visits


class Visited(Mapping[str, "Tensor"]):
    """Contributions by name, and which of them are of weights that were visited.

    Attributes:
        reached: Boolean, by name: True = visited. Where it is False the contribution, 0, ranks nothing.

    Example:
        >>> import torch
        >>> found = Visited({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([True, False])})
        >>> found["w"], found.reached["w"]
        (tensor([1., 0.]), tensor([ True, False]))
    """

    def __init__(self, values: Mapping[str, Tensor], reached: Mapping[str, Tensor]) -> None:
        self._values, self.reached = dict(values), dict(reached)

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def first_visits(
    signals: Signals, *, density: float = 0.5, seed: int = 0, walks: int = 1 << 27, example_inputs: Any = None
) -> Visited:
    """C = 1 - r / K for the weight that is visited as the r-th, r = 0, 1, ..., of K = ceil(density * n) visited ones.

    Walks go forward from the inputs and back from the outputs in turn, each over one weight of every layer on its way,
    with probability proportional to its size (:func:`flowprune.structure.paths.visit`). The order is that of the walks,
    and within a walk that of the layers, so the weights kept at a lower density are among those kept at a higher one.
    All weights of whole walks lie on a path from an input to an output; the last walk is cut where K is reached.

    Shapes: as the parameters; float64. Units: none.

    Assumes: a unit is a channel or a feature. Weights that ``signals.masks`` holds at zero are never walked; a walk
    that comes to a unit where nothing is kept does not count.

    Args:
        signals: With a model, and with example inputs unless they are given here.
        density: Fraction of the n weights with two or more axes to be visited, in (0, 1]. No selection may keep more.
        seed: Of the walks; the global random state is not touched.
        walks: The most that are taken.
        example_inputs: What the model is called with; by default that of the signals.

    Raises:
        ValueError: signals without a model or inputs, or an option out of range.
        PruningError: the model does more with units than walks can follow, or they do not reach that many weights.

    Source: Patil & Dovrolis 2021, arXiv 2010.11354.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from flowprune.signals import Signals
        >>> net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> signals = Signals(params=dict(net.named_parameters()), model=net, example_inputs=torch.ones(1, 2))
        >>> found = first_visits(signals, density=0.6)  # two of three: the first walk, from input 0
        >>> found["0.weight"], found["1.weight"]
        (tensor([[1., 0.]], dtype=torch.float64), tensor([[0.5000]], dtype=torch.float64))
    """
    import torch

    from flowprune.structure.paths import path_graph, visit

    model, inputs = _ready(signals, example_inputs)
    _check(density, seed, walks)
    values, masks = _weights(signals, model)
    names = [
        n for n, p in signals.params.items() if p.dim() > 1 and (signals.prunable is None or n in signals.prunable)
    ]
    if not names:
        raise invalid("score('phew', signals=)", "signals with a weight of two or more axes", signals)
    total = sum(values[name].numel() for name in names)
    budget = ceil(density * total)
    found = visit(
        path_graph(model, inputs), values, budget, masks=masks, counted=frozenset(names), seed=seed, walks=walks
    )
    reached = sum(int(torch.count_nonzero(found.visited[name])) for name in names if name in found.visited)
    if reached < budget:
        raise PruningError(
            f"score('phew', density=) must be a fraction of the weights that walks reach; {density:g} is {budget} of "
            f"{total}, and {found.walks} walks reached {reached}. The others lie on no path from an input to an "
            "output, or weigh next to nothing beside others: prune more (a lower density), or pass more walks."
        )
    return _ranked(signals, names, found, budget)


def _ranked(signals: Signals, names: list[str], found: Visits, budget: int) -> Visited:
    """Contributions of the weights that were visited first; later ones and none at all are left out."""
    import torch

    from flowprune.core.tensors import has_float64

    walked = [name for name in names if name in found.first]
    order = torch.cat([found.first[name][found.visited[name]] for name in walked]).argsort()[:budget]
    every = torch.zeros(sum(int(torch.count_nonzero(found.visited[name])) for name in walked), dtype=torch.float64)
    every[order] = 1 - torch.arange(budget, dtype=torch.float64) / budget
    values, start = {name: torch.zeros(signals.params[name].shape, dtype=torch.float64) for name in names}, 0
    for name in walked:
        count = int(torch.count_nonzero(found.visited[name]))
        values[name][found.visited[name]] = every[start : start + count]
        start += count
    placed = {
        name: value.to(signals.params[name].device) if has_float64(signals.params[name].device) else value
        for name, value in values.items()
    }
    return Visited(placed, {name: value > 0 for name, value in placed.items()})


def _ready(signals: Signals, example_inputs: Any) -> tuple[nn.Module, Any]:
    inputs = signals.example_inputs if example_inputs is None else example_inputs
    if signals.model is None:
        todo = "Gather them from a model, fp.gather(model, objective, batches), or pass Signals(model=...)."
        raise invalid("score('phew', signals=)", "signals with a model, whose layers are walked", signals, todo)
    if inputs is None:
        todo = "Gather with a batch and a signal, such as needs=('gradient',), or pass example_inputs=x to score()."
        raise invalid("score('phew', signals=)", "signals with example inputs, to see how layers join", signals, todo)
    return signals.model, inputs


def _check(density: object, seed: object, walks: object) -> None:
    if isinstance(density, bool) or not isinstance(density, (int, float)) or not 0.0 < density <= 1.0:
        raise invalid("score('phew', density=)", "in (0, 1]", density, "To prune a fraction s, pass density=1-s.")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise invalid("score('phew', seed=)", "a whole number", seed)
    if isinstance(walks, bool) or not isinstance(walks, int) or walks < 1:
        raise invalid("score('phew', walks=)", "a whole number >= 1", walks)


def _weights(signals: Signals, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All parameters and their masks: those of the signals, and for layers that are only passed those of the model."""
    from flowprune.core.held import masks_on
    from flowprune.core.tensors import require_finite

    params = dict(model.named_parameters())
    values = {name: param.detach() for name, param in params.items()} | signals.params
    require_finite("score('phew'): parameters", {name: value for name, value in values.items() if value.dim() > 1})
    others = {name: param for name, param in params.items() if name not in signals.params}
    return values, masks_on(others) | signals.masks


def _as_far_as_kept(sparsity: float) -> dict[str, float]:
    """Walks go on until as many weights are visited as are kept."""
    return {"density": 1 - sparsity}


PHEW = Measure(
    "phew",
    None,
    (),
    "sum",
    "Σ 1 - r/K, r the rank of the first visit of a walk over |θ|",
    first_visits,
    Source(
        "Patil & Dovrolis",
        2021,
        "PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well without Training Data",
        arxiv="2010.11354",
    ),
    options_at=_as_far_as_kept,
)
