"""The most memory that a forward pass holds at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import ref

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowprune.core.arguments import require_model
from flowprune.structure.example import Example
from flowprune.structure.twin import duplicate, random_state_kept


def peak_memory(model: nn.Module, example_inputs: object) -> int:
    """Bytes of the tensors that a forward pass makes, at the moment when most of them are alive.

    Formula: max over operations of the summed sizes of storages that were made during the pass and are still held. A
    view takes no bytes, an operation in place makes none, and what nothing holds any more is given back at once.
    The pass is run in evaluation mode without gradients, on a copy.

    Units: bytes, for the whole batch. Parameters, buffers and the inputs, which are there before the pass, are not
    counted; neither is what a kernel allocates for itself while it runs, nor what an allocator rounds up.

    Args:
        model: Is not run itself: a copy is, without hooks that are not PyTorch's own.
        example_inputs: What it is called with.

    Raises:
        ValueError: no module, one with lazy parameters, or inputs without a tensor.
        PruningError: the model cannot be copied.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> peak_memory(model, torch.ones(5, 4))  # before and after the ReLU: 2 * 5 * 8 numbers of 4 bytes
        320
    """
    require_model("peak_memory", model)
    example = Example.of(example_inputs, "peak_memory").copied()
    twin = duplicate(model, "peak_memory").eval()
    # Not inference mode: its composite operations would be seen from outside only.
    with random_state_kept(model), torch.inference_mode(False), torch.no_grad(), LiveBytes() as live:
        example.call(twin, "peak_memory")
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Within the block ``live`` is the size of the storages made in it that are still held, ``peak`` its maximum.

    A storage that an operation reads before one has made it was there before, and is not counted.

    Example:
        >>> with LiveBytes() as memory:
        ...     a = torch.zeros(10)
        ...     b = a.view(2, 5) + 1
        ...     del a
        >>> memory.live, memory.peak
        (40, 80)
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._held: dict[int, tuple[ref[UntypedStorage], int]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        for storage in _storages((args, given)):
            if storage._cdata not in self._held:
                self._hold(storage, 0)
        result = func(*args, **given)
        # The arguments too: an operation may have resized one.
        for storage in _storages((result, args, given)):
            self._note(storage)
        self.peak = max(self.peak, self.live)
        return result

    def _note(self, storage: UntypedStorage) -> None:
        entry = self._held.get(storage._cdata)
        if entry is None:
            self._hold(storage, storage.nbytes())
        elif entry[1]:
            self.live += storage.nbytes() - entry[1]
            self._held[storage._cdata] = (entry[0], storage.nbytes())

    def _hold(self, storage: UntypedStorage, size: int) -> None:
        key = storage._cdata

        def gone(reference: ref[UntypedStorage]) -> None:
            entry = self._held.get(key)
            if entry is not None and entry[0] is reference:  # the address may have been given to another since
                del self._held[key]
                self.live -= entry[1]

        self._held[key] = (ref(storage, gone), size)
        self.live += size


def _storages(items: object) -> list[UntypedStorage]:
    """The storages of all tensors in a nest, those of one without memory of its own left out."""
    return [x.untyped_storage() for x in tree_leaves(items) if isinstance(x, Tensor) and x.layout == torch.strided]
