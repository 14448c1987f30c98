"""What a model costs: parameters, multiply-adds, bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.structure.counting import counting
from flowprune.structure.example import Example
from flowprune.structure.twin import duplicate, random_state_kept

TYPES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The words of a safetensors header, in the order in which its writer puts tensors."""


@dataclass(frozen=True)
class Cost:
    """Sizes of a model.

    Attributes:
        parameters: Entries of all parameters, tied ones once.
        nonzeros: Those that are not exactly zero.
        multiply_adds: Per example (half the FLOPs), of convolutions, linear and recurrent layers, and products of
            matrices, attention's too, in evaluation mode; biases, norms and activations are not counted, and zeros are
            multiplied like other numbers. None where no inputs were given.
        live_multiply_adds: The same without filters of convolutions and linear layers that are wholly zero, as masks
            leave them: what is counted where a filter counts as pruned though nothing became smaller.
        filter_zeros: Entries of such filters.
        bytes: Of the state dictionary as a safetensors file, buffers included.
        activation_bytes: Per example, of the outputs of all modules without children. None without inputs.
    """

    parameters: int
    nonzeros: int
    multiply_adds: int | None
    live_multiply_adds: int | None
    bytes: int
    activation_bytes: int | None
    filter_zeros: int = 0


def measure_cost(model: nn.Module, example_inputs: object = None) -> Cost:
    """Count what a model costs, in evaluation mode, on a copy without hooks that are not PyTorch's own.

    Formula: a convolution costs (output entries) x (input channels / groups) x (kernel entries) multiply-adds.

    Args:
        model: Is not changed.
        example_inputs: What it is called with; the first axis of the first tensor counts the examples. Without
            them the model is not run.

    Raises:
        ValueError: no module, one with lazy parameters, or inputs without an axis of examples.
        PruningError: the model cannot be copied.

    Example:
        >>> cost = measure_cost(nn.Linear(3, 2), torch.ones(5, 3))
        >>> cost.parameters, cost.multiply_adds, cost.activation_bytes
        (8, 6, 8)
    """
    require_model("measure_cost", model)
    counted = (None, None, None) if example_inputs is None else _run_counted(model, example_inputs)
    multiply_adds, live, activations = counted
    params = [p.detach() for p in model.parameters()]
    return Cost(
        parameters=sum(p.numel() for p in params),
        nonzeros=sum(int(torch.count_nonzero(p)) for p in params),
        multiply_adds=multiply_adds,
        live_multiply_adds=live,
        bytes=file_bytes(model),
        activation_bytes=activations,
        filter_zeros=sum(_filter_zeros(module) for module in model.modules()),
    )


def _run_counted(model: nn.Module, example_inputs: object) -> tuple[int, int, int]:
    """Multiply-adds, those of filters that are not zero, and activation bytes of one example."""
    example = Example.of(example_inputs, "measure_cost").copied()
    batch = batch_size(example)
    twin = duplicate(model, "measure_cost").eval()
    counted = _Outputs(twin)
    with random_state_kept(model), torch.no_grad(), counting() as counter:
        example.call(twin, "measure_cost")
    total = math.ceil(counter.get_total_flops() / 2 / batch)
    return total, total - counted.idle // batch, counted.bytes // batch


def file_bytes(
    model: nn.Module,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    name_after: Callable[[str], str | None] | None = None,
) -> int:
    """The size of the model's state dictionary as a safetensors file; tied tensors are written once.

    ``shapes`` gives tensors another shape than they have, by name, and ``name_after`` another name, or None where they
    are left out: what the file of a smaller model would take.

    Formula: 8 + header + the tensors' bytes. The header is JSON without spaces, padded to a multiple of 8; its
    tensors come by type and then by name. Nothing is written, and no tensor is copied.

    Source: the format, https://github.com/huggingface/safetensors.

    Example:
        >>> file_bytes(nn.Linear(3, 2, bias=False))  # 8 + 64 + 6 * 4
        96
    """
    tensors: dict[int, tuple[str, Tensor]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            tensors.setdefault(id(value), (name, value))
    left = ((name if name_after is None else name_after(name), name, value) for name, value in tensors.values())
    written = [(after, name, value) for after, name, value in left if after is not None]
    header: dict[str, dict[str, object]] = {}
    end = 0
    for after, name, value in sorted(written, key=lambda item: (_rank(item[2].dtype), item[0])):
        shape = list((shapes or {}).get(name, value.shape))
        start, end = end, end + math.prod(shape) * value.element_size()
        word = TYPES.get(value.dtype, str(value.dtype))
        header[after] = {"dtype": word, "shape": shape, "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + math.ceil(length / 8) * 8 + end


def _rank(dtype: torch.dtype) -> int:
    return list(TYPES).index(dtype) if dtype in TYPES else len(TYPES)


def batch_size(example: Example) -> int:
    """The number of examples: the first size of the first tensor that has one."""
    for tensor in example.tensors:
        if tensor.dim() and len(tensor):
            return len(tensor)
    raise invalid("measure_cost(example_inputs=)", "tensors with a first axis of examples", "none")


FILTERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Modules whose weight has a row for each output channel."""


def _filter_zeros(module: nn.Module) -> int:
    """Entries of a module's filters that are wholly zero."""
    if not isinstance(module, FILTERS):
        return 0
    weight = module.weight.detach().flatten(1)
    return (len(weight) - int(weight.count_nonzero(1).count_nonzero())) * weight.shape[1]


class _Outputs:
    """Adds up the bytes of what leaf modules return, and the multiply-adds of filters that are wholly zero."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes = self.idle = 0
        for module in model.modules():
            if not any(module.children()):
                module.register_forward_hook(self._note)

    def _note(self, module: nn.Module, args: object, output: object) -> None:
        del args
        self.bytes += sum(x.numel() * x.element_size() for x in tree_leaves(output) if isinstance(x, Tensor))
        if isinstance(module, FILTERS) and isinstance(output, Tensor):
            self.idle += output.numel() // len(module.weight) * _filter_zeros(module)
