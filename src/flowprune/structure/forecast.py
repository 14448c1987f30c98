"""What a model will cost once it is cut, without cutting it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.core.unfused import unfused
from flowprune.core.units import Layout
from flowprune.structure.cost import batch_size, file_bytes
from flowprune.structure.counting import counting, formulas
from flowprune.structure.cut import cut_
from flowprune.structure.depth.drop import gone_blocks
from flowprune.structure.example import Example
from flowprune.structure.history import Dropping
from flowprune.structure.slicing import check_masks, removed_positions, tensors_of
from flowprune.structure.twin import duplicate, random_state_kept

Shape = tuple[int, ...]


class Forecast:
    """Sizes of a model after a cut, from its layout and one counted run.

    Parameters and bytes follow from the shapes that the tensors will have. A convolution, a linear layer or a product
    with a matrix costs its weight's entries times the places it is applied to, so the one run tells how often each
    weight is used, and a smaller weight costs in proportion. That is exact unless channels of the model are also
    places or factors of another product (attention, mixing over tokens): :meth:`counted` cuts a copy and counts.

    Args:
        model: Is read, and not changed.
        layout: Of this model.
        example_inputs: What it is called with; needed for multiply-adds.

    Raises:
        ValueError: ``model`` is no module.

    Example:
        >>> from flowprune.structure.trace import trace
        >>> model, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.ones(1, 3)
        >>> forecast = Forecast(model, trace(model, x).groups, x)
        >>> masks = {"0.weight": torch.tensor([True, False, True, True])}
        >>> forecast.parameters(masks), forecast.multiply_adds(masks), forecast.counted(masks)
        (20, 15, 15)
    """

    def __init__(self, model: nn.Module, layout: Layout, example_inputs: object = None) -> None:
        self._model, self._layout = require_model("Forecast", model), layout
        self._slices = tensors_of(layout)
        self._example = None if example_inputs is None else Example.of(example_inputs).copied()
        self._calls: _Calls | None = None
        self._bare: tuple[nn.Module, Example] | None = None

    def shapes(self, masks: Mapping[str, Tensor]) -> dict[str, Shape]:
        """The new shape of every tensor that the cut makes smaller, by name; sizes that modules keep are left out."""
        check_masks(self._layout, masks)
        here = {name: mask.cpu() for name, mask in masks.items()}
        tensors = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        found: dict[str, list[int]] = {}
        for (name, axis), gone in removed_positions(self._slices, here).items():
            found.setdefault(name, list(tensors[name].shape))[axis] -= len(gone)
        return {name: tuple(shape) for name, shape in found.items()}

    def parameters(self, masks: Mapping[str, Tensor]) -> int:
        """Entries of all parameters, tied ones once."""
        new, name_after = self.shapes(masks), Dropping(gone_blocks(self._layout, masks)).name_after
        left = ((name, param) for name, param in self._model.named_parameters() if name_after(name) is not None)
        return sum(math.prod(new.get(name, param.shape)) for name, param in left)

    def bytes(self, masks: Mapping[str, Tensor]) -> int:
        """Of the state dictionary as a safetensors file."""
        new, gone = self.shapes(masks), Dropping(gone_blocks(self._layout, masks))
        return file_bytes(self._model, shapes=new, name_after=gone.name_after)

    def multiply_adds(self, masks: Mapping[str, Tensor]) -> int:
        """Per example, by the formula: each weight's entries times how often the dense model uses it.

        Raises:
            ValueError: the forecast has no example inputs.
        """
        calls = self._counted_once()
        new = self.shapes(masks)
        flops = calls.total
        for name in new.keys() & calls.weights.keys():
            total, entries = calls.weights[name]
            flops -= total - total * math.prod(new[name]) // entries
        return math.ceil(flops / 2 / batch_size(self._inputs()))

    def counted(self, masks: Mapping[str, Tensor]) -> int:
        """The same of a copy that is really cut and run: without numbers where the model can, so in no time.

        Raises:
            ValueError: the forecast has no example inputs.
        """
        bare, example = self._without_numbers()
        return math.ceil(self._flops(self.cut(masks, bare), example) / 2 / batch_size(example))

    def cut(self, masks: Mapping[str, Tensor], model: nn.Module | None = None) -> nn.Module:
        """A copy that is really cut."""
        small = duplicate(self._model if model is None else model, "Forecast")
        cut_(small, self._layout, masks)
        return small.eval()

    def _inputs(self) -> Example:
        if self._example is None:
            raise invalid("Forecast(example_inputs=)", "what the model is called with, to count multiply-adds", None)
        return self._example

    def _counted_once(self) -> _Calls:
        if self._calls is None:
            twin, example = duplicate(self._model, "Forecast").eval(), self._inputs()
            with random_state_kept(self._model), torch.no_grad(), unfused(), _Calls(twin) as calls:
                example.copied().call(twin, "Forecast")
            self._calls = calls
        return self._calls

    def _without_numbers(self) -> tuple[nn.Module, Example]:
        """The model and the inputs as shapes alone, where that gives the same count; else with their numbers."""
        if self._bare is None:
            full = (self._model, self._inputs())
            try:
                bare = (_shapes_alone(duplicate(self._model, "Forecast")), self._inputs().map(lambda x: x.to("meta")))
                same = self._flops(bare[0].eval(), bare[1]) == self._counted_once().total
            except Exception:  # a model that reads a number of a tensor, or makes one on a device of its own
                same, bare = False, full
            self._bare = bare if same else full
        return self._bare

    def _flops(self, model: nn.Module, example: Example) -> int:
        with random_state_kept(self._model), torch.no_grad(), counting() as counter:
            example.copied().call(model)
        return counter.get_total_flops()


def _shapes_alone(model: nn.Module) -> nn.Module:
    """A copy whose tensors have a shape and no numbers; tied ones are one, which ``model.to("meta")`` would part."""
    known: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    known |= {id(buffer): buffer.detach().to("meta") for buffer in model.buffers()}
    return deepcopy(model, known)


class _Calls(TorchDispatchMode):
    """FLOPs of a run by the weight that causes them.

    Attributes:
        weights: For each parameter that is a factor of products: their FLOPs and its entries.
        others: FLOPs of products without a parameter.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names = {p.untyped_storage().data_ptr(): (n, p.numel()) for n, p in model.named_parameters()}
        self._formulas = formulas()
        self.weights: dict[str, tuple[int, int]] = {}
        self.others = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self._note(formula(*args, **(kwargs or {}), out_val=out), args)
        return out

    @property
    def total(self) -> int:
        """All FLOPs."""
        return self.others + sum(flops for flops, _ in self.weights.values())

    def _note(self, flops: int, args: Any) -> None:
        """To the factor that is a parameter; a bias, which is a vector, is none."""
        for argument in args:
            if isinstance(argument, Tensor) and argument.dim() > 1:
                name, entries = self._names.get(argument.untyped_storage().data_ptr(), ("", 0))
                if entries == argument.numel():
                    self.weights[name] = self.weights.get(name, (0, 0))[0] + flops, entries
                    return
        self.others += flops
