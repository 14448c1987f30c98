"""What a model costs: parameters, multiply-adds, bytes."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flowprune.core.errors import invalid
from flowprune.structure.example import Example


@dataclass(frozen=True)
class Cost:
    """Sizes of a model.

    Attributes:
        parameters: Entries of all parameters, tied ones once.
        nonzeros: Those that are not exactly zero.
        multiply_adds: Per example (half the FLOPs), of convolutions, linear layers and matrix products;
            biases, norms and activations are not counted, and zeros are multiplied like other numbers. None where
            no inputs were given.
        bytes: Of the state dictionary as a safetensors file, buffers included.
        activation_bytes: Per example, of the outputs of all modules without children. None without inputs.
    """

    parameters: int
    nonzeros: int
    multiply_adds: int | None
    bytes: int
    activation_bytes: int | None


def measure_cost(model: nn.Module, example_inputs: object = None) -> Cost:
    """Count what a model costs, in evaluation mode, on a copy.

    Formula: a convolution costs (output entries) x (input channels / groups) x (kernel entries) multiply-adds.

    Args:
        model: Is not changed.
        example_inputs: What it is called with; the first axis of the first tensor counts the examples. Without
            them the model is not run.

    Example:
        >>> cost = measure_cost(nn.Linear(3, 2), torch.ones(5, 3))
        >>> cost.parameters, cost.multiply_adds, cost.activation_bytes
        (8, 6, 8)
    """
    multiply_adds, activations = (None, None) if example_inputs is None else _run_counted(model, example_inputs)
    params = [p.detach() for p in model.parameters()]
    return Cost(
        parameters=sum(p.numel() for p in params),
        nonzeros=sum(int(torch.count_nonzero(p)) for p in params),
        multiply_adds=multiply_adds,
        bytes=file_bytes(model),
        activation_bytes=activations,
    )


def _run_counted(model: nn.Module, example_inputs: object) -> tuple[int, int]:
    """Multiply-adds and activation bytes of one example."""
    example = Example.of(example_inputs)
    batch = batch_size(example)
    twin = copy.deepcopy(model).eval()
    counted = _Outputs(twin)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        example.call(twin)
    return math.ceil(counter.get_total_flops() / 2 / batch), counted.bytes // batch


def file_bytes(model: nn.Module) -> int:
    """The size of the model's state dictionary as a safetensors file; tied tensors are written once."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            tensors[name] = torch.empty(value.shape, dtype=value.dtype)
    return len(save(tensors))


def batch_size(example: Example) -> int:
    """The number of examples: the first size of the first tensor that has one."""
    for tensor in example.tensors:
        if tensor.dim() and len(tensor):
            return len(tensor)
    raise invalid("measure_cost(example_inputs=)", "tensors with a first axis of examples", "none")


class _Outputs:
    """Adds up the bytes of what leaf modules return."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes = 0
        for module in model.modules():
            if not any(module.children()):
                module.register_forward_hook(self._note)

    def _note(self, module: nn.Module, args: object, output: object) -> None:
        del module, args
        if isinstance(output, Tensor):
            self.bytes += output.numel() * output.element_size()
