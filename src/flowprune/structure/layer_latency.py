"""How long single layers of a cut model take: where the whole would drown the difference in its noise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.core.units import Layout, UnitGroup
from flowprune.structure.example import Example
from flowprune.structure.forecast import Forecast
from flowprune.structure.twin import random_state_kept

Inputs: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class LayerLatencies:
    """Milliseconds of the layers that a group of channels runs through, at given widths.

    A copy is cut and run once to see what its layers are called with; the layers of the group (those that make its
    channels, their norms, those that read them) are then timed alone, on this device. A layer of one kind, one width
    and one size of input is timed once, wherever in the model it stands.

    Args:
        model: Is not changed.
        layout: Of this model.
        example_inputs: What it is called with.
        repeats: Calls measured of each layer.

    Example:
        >>> from flowprune.structure.trace import trace
        >>> model, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.ones(5, 3)
        >>> latencies = LayerLatencies(model, trace(model, x).groups, x, repeats=3)
        >>> latencies.of({"0.weight": torch.tensor([True, False, True, True])}, "0.weight") > 0
        True
        >>> [kind for kind, *_ in latencies.table]
        ['Linear(in_features=3, out_features=3, bias=True)', 'Linear(in_features=3, out_features=2, bias=True)']
    """

    def __init__(self, model: nn.Module, layout: Layout, example_inputs: object, *, repeats: int = 20) -> None:
        self._model, self._layout, self._repeats = model, layout, repeats
        self._forecast = Forecast(model, layout)
        self._example = Example.of(example_inputs).copied()
        self.table: dict[tuple[str, tuple[str, ...], tuple[str, ...]], float] = {}

    def of(self, masks: Mapping[str, Tensor], name: str) -> float:
        """Milliseconds of the layers of one group after a cut.

        Args:
            masks: Boolean ``(group.size,)`` by group name, True = kept.
            name: Of the group.

        Raises:
            ValueError: masks that do not fit the layout.
            PruningError: a mask empties its group.
        """
        small = self._forecast.cut(masks)
        with random_state_kept(self._model), torch.inference_mode():
            calls = _seen(small, layers_of(self._layout[name]), self._example)
            return sum(self._once(module, inputs) for module, inputs in calls)

    def _once(self, module: nn.Module, inputs: Inputs) -> float:
        key = (repr(module), _told(module.parameters()), _told(tree_leaves(inputs)))
        if key not in self.table:
            self.table[key] = call_ms(module, inputs, repeats=self._repeats)
        return self.table[key]


def layers_of(group: UnitGroup) -> tuple[str, ...]:
    """The modules that hold a tensor of a group, by name; one that only counts its units is none of them.

    Example:
        >>> from flowprune.core.units import rows
        >>> layers_of(rows("block.fc.weight", 3))
        ('block.fc',)
    """
    return tuple(dict.fromkeys(member.name.rpartition(".")[0] for member in group.members if member.role != "size"))


def call_ms(module: nn.Module, inputs: Inputs, *, repeats: int, warmup: int = 3) -> float:
    """Milliseconds of the median of some calls."""
    args, kwargs = inputs
    cuda = any(isinstance(x, Tensor) and x.is_cuda for x in tree_leaves(inputs))
    times: list[float] = []
    for _ in range(warmup + repeats):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        module(*args, **kwargs)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[warmup:])


def _seen(model: nn.Module, names: Iterable[str], example: Example) -> list[tuple[nn.Module, Inputs]]:
    """Every call of some modules during one pass, with copies of its inputs: layers may write into them."""
    calls: list[tuple[nn.Module, Inputs]] = []

    def note(module: nn.Module, args: Any, kwargs: Any) -> None:
        calls.append((module, tree_map(_copied, (args, kwargs))))

    hooks = [model.get_submodule(name).register_forward_pre_hook(note, with_kwargs=True) for name in names]
    example.copied().call(model)
    for hook in hooks:
        hook.remove()
    return calls


def _copied(item: object) -> object:
    return item.clone() if isinstance(item, Tensor) else item


def _told(items: Iterable[object]) -> tuple[str, ...]:
    return tuple(f"{tuple(x.shape)}{x.dtype}{x.stride()}" for x in items if isinstance(x, Tensor))
