"""The channel granularity: a unit is an output channel with everything that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowprune.core.errors import unknown
from flowprune.core.units import Layout, UnitGroup, rows
from flowprune.signals import Signals
from flowprune.structure.offering import called_with
from flowprune.structure.skipping import require_patterns, unskipped
from flowprune.structure.streams import RESIDUAL
from flowprune.structure.trace import trace


@dataclass(frozen=True, eq=False)
class Channels:
    """Prune whole output channels: filters with their biases, norms, and the slices that read them.

    Which channels live and die together is traced from the model (see :func:`flowprune.structure.trace`): layers
    that write to one residual stream form one group, unless ``residual`` says otherwise. The last layer's outputs are
    never offered. The denominator of a sparsity is the number of units offered.

    Signals built by hand, without a model, have the rows of every tensor with two or more axes as units.

    Attributes:
        example_inputs: What the model is called with; by default the inputs that the signals were gathered with.
        skip: Patterns (``fnmatch``) of group names that are not offered, so not counted either.
        residual: What becomes of channels that several weights add up to (:mod:`flowprune.structure.streams`):
            ``"coupled"``: cut in all of them at once; ``"inner"``: not offered; ``"masked"``: each filter that writes
            to them is a unit of its own, which becomes zero and stays in place. That offers the stem's filters too,
            which the founding paper leaves whole: name them in ``skip``, or in ``protect`` of a Pruner, where they
            still count in the denominator as in the paper's code.

    Raises:
        ValueError: a pattern fits no parameter of the model.
        UnknownNameError: another word for ``residual``.

    Example:
        >>> import torch
        >>> signals = Signals(params={"a.weight": torch.ones(3, 2), "b.weight": torch.ones(2, 3)})
        >>> {name: group.size for name, group in Channels(skip=("b.*",)).layout(signals).items()}
        {'a.weight': 3}
    """

    example_inputs: object = field(default=None, repr=False)
    skip: tuple[str, ...] = ()
    residual: str = "coupled"

    def __post_init__(self) -> None:
        require_patterns("Channels(skip=)", self.skip)
        if self.residual not in RESIDUAL:
            raise unknown("Channels(residual=)", self.residual, RESIDUAL)

    @property
    def name(self) -> str:
        """The word used in specs and reports."""
        return "channels"

    @property
    def removes(self) -> bool:
        """The model becomes smaller."""
        return True

    def layout(self, signals: Signals) -> Layout:
        """The groups of the signals' model, in order of execution.

        Raises:
            ValueError: there is a model and no example inputs, or a pattern of ``skip`` fits nothing.
            PruningError: the model cannot be traced.
        """
        model = signals.model
        if model is None:
            groups = _rows(signals)
        else:
            inputs = called_with("Channels", self.example_inputs, signals)
            groups = RESIDUAL[self.residual](trace(model, inputs))
        return unskipped("Channels(skip=)", groups, self.skip, signals.params)


def _rows(signals: Signals) -> dict[str, UnitGroup]:
    return {name: rows(name, tensor.shape[0]) for name, tensor in signals.params.items() if tensor.dim() >= 2}
