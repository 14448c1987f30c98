"""The names and shapes of a model's tensors: what a plan was made for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from flowprune.core.fingerprint import fingerprint_of

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """Names and shapes, in the model's order; the values are not part of it.

    Attributes:
        parameters: Shapes of the parameters, each under its first name.
        buffers: Shapes of the buffers, those that a state dict leaves out included.
        ties: Further names of parameters that have several, each with its first.

    Example:
        >>> Architecture.of(nn.Linear(2, 3)).parameters
        {'weight': (3, 2), 'bias': (3,)}
    """

    parameters: Shapes
    buffers: Shapes = field(default_factory=dict[str, tuple[int, ...]])
    ties: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, model: nn.Module) -> Architecture:
        """That of a model as it is now."""
        first = {id(param): name for name, param in model.named_parameters()}
        every = model.named_parameters(remove_duplicate=False)
        return cls(
            _shapes(dict(model.named_parameters())),
            _shapes(dict(model.named_buffers())),
            {name: first[id(param)] for name, param in every if first[id(param)] != name},
        )

    @property
    def fingerprint(self) -> str:
        """That of the parameters, as :func:`flowprune.core.fingerprint.fingerprint` gives it."""
        return fingerprint_of(self.parameters)

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Parameters and buffers in one."""
        return {**self.parameters, **self.buffers}

    def differences(self, other: Architecture) -> Iterator[tuple[str, tuple[int, ...] | None, tuple[int, ...] | None]]:
        """Name, shape here and shape there of each tensor that differs; None where there is no such tensor.

        Example:
            >>> next(Architecture({"w": (2,)}).differences(Architecture({"w": (3,)})))
            ('w', (2,), (3,))
        """
        here, there = self.tensors, other.tensors
        for name in dict.fromkeys((*here, *there)):
            if here.get(name) != there.get(name):
                yield name, here.get(name), there.get(name)

    def under(self, prefix: str) -> Architecture:
        """The same with every name behind a prefix: that of a part, in the names of the whole."""
        return Architecture(
            {prefix + name: shape for name, shape in self.parameters.items()},
            {prefix + name: shape for name, shape in self.buffers.items()},
            {prefix + name: prefix + first for name, first in self.ties.items()},
        )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
