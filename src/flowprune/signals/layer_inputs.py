"""Second moments of what layers read, and products of it with what they gave when their weights were others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprune.core.call_at import call_at
from flowprune.core.errors import invalid
from flowprune.core.tensors import has_float64
from flowprune.objectives.batch import arguments, inputs_of
from flowprune.signals.as_found import as_found, random_state
from flowprune.signals.batches import Counted, read
from flowprune.signals.patches import Layer, groups_of, outputs_of, patches


class InputMoments:
    """Means over output positions of what a layer reads, in float64: of x xᵀ, and of x yᵀ and y² for targets y.

    Attributes:
        layer: The layer.
        constant: Whether x ends with a one, which the bias is multiplied with.
        same: Whether targets were all of the same inputs, so that x yᵀ follows from x xᵀ.

    Example:
        >>> moments = InputMoments(nn.Linear(2, 1), constant=True)
        >>> moments.add(torch.tensor([[1.0, 2.0]]))
        >>> moments.second
        tensor([[[1., 2., 1.],
                 [2., 4., 2.],
                 [1., 2., 1.]]], dtype=torch.float64)
    """

    def __init__(self, layer: Layer, *, constant: bool) -> None:
        self.layer, self.constant, self.same = layer, constant, True
        groups, rows, width = groups_of(layer), len(layer.weight), layer.weight[0].numel() + constant
        device = layer.weight.device if has_float64(layer.weight.device) else torch.device("cpu")
        self._second = torch.zeros(groups, width, width, dtype=torch.float64, device=device)
        self._sizes = groups, width, rows // groups
        self._cross = self._square = torch.zeros((), dtype=torch.float64, device=device)
        self._count = 0

    def add(self, x: Tensor, before: Tensor | None = None) -> None:
        """Take in one input; ``before`` is what the layer read where the targets come from, None where x is that."""
        self.same &= before is None or torch.equal(x, before)
        if before is not None and self._cross.ndim == 0:
            groups, width, outputs = self._sizes
            self._cross = self._cross.new_zeros(groups, width, outputs)
            self._square = self._square.new_zeros(groups, outputs)
        y = None if before is None else outputs_of(self.layer, before, bias=self.constant)
        seen = 0
        for found in patches(self.layer, x):
            rows = functional.pad(found, (0, 1), value=1.0) if self.constant else found
            self._second.baddbmm_(rows.mT, rows)
            if y is not None:
                targets = y[:, seen : seen + rows.shape[1]]
                self._cross.baddbmm_(rows.mT, targets)
                self._square += targets.square().sum(1)
            seen += rows.shape[1]
        self._count += seen

    @property
    def second(self) -> Tensor:
        """E[x xᵀ], ``(groups, D, D)``."""
        return self._second / self._count

    @property
    def cross(self) -> Tensor:
        """E[x yᵀ], ``(groups, D, outputs / groups)``; of targets."""
        return self._cross / self._count

    @property
    def square(self) -> Tensor:
        """E[y²], ``(groups, outputs / groups)``; of targets."""
        return self._square / self._count


class _Reached(Exception):  # noqa: N818, no error
    """A layer's input is known: the rest of the pass is not needed."""


def calls(model: nn.Module, batches: Iterable[Any], layers: Mapping[str, Layer], *, where: str) -> dict[str, int]:
    """How often each layer is called on the first batch, by name, in the order of their first calls.

    Raises:
        ValueError: no batches.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        >>> calls(model, [torch.ones(1, 1)], {"1": model[1], "0": model[0]}, where="calls")
        {'0': 1, '1': 1}
    """
    found: dict[str, int] = {}

    def note(name: str, x: Tensor) -> None:
        del x
        found[name] = found.get(name, 0) + 1

    with as_found(model, "eval"), torch.no_grad(), _watched(layers, note):
        _run(model, next(iter(read(batches, model, where=where))))
    return found


def input_moments(
    model: nn.Module, batches: Iterable[Any], layers: Mapping[str, Layer], *, constant: Mapping[str, bool], where: str
) -> dict[str, InputMoments]:
    """Of every layer that is called, in one pass in eval mode; all calls of a layer count.

    Units: bytes of memory are 8 D² groups of each layer, all at once.

    Raises:
        ValueError: no batches.
    """
    found: dict[str, InputMoments] = {}

    def note(name: str, x: Tensor) -> None:
        if name not in found:
            found[name] = InputMoments(layers[name], constant=constant[name])
        found[name].add(x)

    with as_found(model, "eval"), torch.no_grad(), _watched(layers, note):
        for counted in read(batches, model, where=where):
            _run(model, counted)
    return found


def moments_after(
    model: nn.Module, batches: Iterable[Any], layer: Layer, params: Mapping[str, Tensor], *, constant: bool, where: str
) -> InputMoments:
    """What one layer reads where the model has other parameters, with what it gave in the model as targets.

    Both run on the same batch, in eval mode and with the same random numbers, up to the layer.

    Args:
        model: Is not changed.
        batches: Read once.
        layer: Called once in a pass.
        params: Parameters of the model that have other values, by name.
        constant: Whether the bias is among what is multiplied.
        where: The function that an error names.

    Raises:
        ValueError: no batches, or batches with which the layer is called in one of the models only.
    """
    moments = InputMoments(layer, constant=constant)
    with as_found(model, "eval"), torch.no_grad():
        for counted in read(batches, model, where=where):
            restore = random_state(model)
            before = _input(model, counted, layer, {})
            restore()
            after = _input(model, counted, layer, params)
            if before is None or after is None or before.shape != after.shape:
                rule = "read alike by a model with and without its masks"
                todo = "With sequential=False only the model without them is run."
                raise invalid(f"{where}(batches=)", rule, f"batch {counted.index}, which is not", todo)
            moments.add(after, before)
    return moments


def _input(model: nn.Module, counted: Counted, layer: Layer, params: Mapping[str, Tensor]) -> Tensor | None:
    """What the layer reads; a copy, since the model may go on to change it in place."""
    found: list[Tensor] = []

    def note(name: str, x: Tensor) -> None:
        del name
        found.append(x.clone())
        raise _Reached

    with _watched({"": layer}, note), suppress(_Reached):
        _run(model, counted, params)
    return found[0] if found else None


def _run(model: nn.Module, counted: Counted, params: Mapping[str, Tensor] | None = None) -> None:
    args, kwargs = arguments(counted.batch if isinstance(counted.batch, Tensor) else inputs_of(counted.batch))
    if params:
        call_at(model, params, args, kwargs)
    else:
        model(*args, **kwargs)


@contextmanager
def _watched(layers: Mapping[str, Layer], note: Callable[[str, Tensor], None]) -> Generator[None]:
    """Within the block, ``note`` gets the name and the input of every call of a layer."""
    handles = [
        layer.register_forward_pre_hook(_telling(name, note), with_kwargs=True) for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _telling(name: str, note: Callable[[str, Tensor], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        del module
        note(name, cast(Tensor, (args[0] if args else kwargs["input"]).detach()))

    return hook
