"""The head granularity: a unit is an attention head, or a group of query heads with the key head they share."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowprune.core.errors import PruningError
from flowprune.core.units import Layout
from flowprune.signals import Signals
from flowprune.structure.offering import called_with, model_of
from flowprune.structure.records import Trace
from flowprune.structure.skipping import require_patterns, unskipped
from flowprune.structure.trace import trace


@dataclass(frozen=True, eq=False)
class Heads:
    """Prune whole attention heads: their rows of the query, key and value projections, and the columns that read them.

    A head stays as wide as it is; a layer has fewer of them. Under grouped or multi-query attention a unit is a key
    and value head with all query heads that read it, so that no group is split. These units are among those of
    :class:`~flowprune.structure.Channels`, which offers all channels beside them. The denominator of a sparsity is
    the number of heads offered. At least one head of a layer stays.

    Attributes:
        example_inputs: What the model is called with; by default the inputs that the signals were gathered with.
        skip: Patterns (``fnmatch``) of group names that are not offered, so not counted either.

    Raises:
        ValueError: a pattern fits no parameter of the model.

    Example:
        >>> import torch
        >>> import flowprune as fp
        >>> class Attention(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.qkv, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)
        ...     def forward(self, x):
        ...         q, k, v = self.qkv(x).view(*x.shape[:2], 3, -1, 2).permute(2, 0, 3, 1, 4)  # heads of two channels
        ...         read = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        ...         return self.out(read.transpose(1, 2).flatten(2))
        >>> units = Heads(example_inputs=torch.randn(2, 5, 8))
        >>> result = fp.prune(Attention(), measure="magnitude", sparsity=0.5, granularity=units)
        >>> result.model.qkv, result.model.out
        (Linear(in_features=8, out_features=12, bias=True), Linear(in_features=4, out_features=8, bias=True))
    """

    example_inputs: object = field(default=None, repr=False)
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_patterns("Heads(skip=)", self.skip)

    @property
    def name(self) -> str:
        """The word used in specs and reports."""
        return "heads"

    @property
    def removes(self) -> bool:
        """The model becomes smaller."""
        return True

    def layout(self, signals: Signals) -> Layout:
        """The heads of the signals' model, a group per layer, in order of execution.

        Raises:
            ValueError: there is no model or no example inputs, or a pattern of ``skip`` fits nothing.
            PruningError: the model cannot be traced, or no head of it can be taken out.
        """
        model = model_of("Heads()", signals, "attention is traced")
        found = trace(model, called_with("Heads", self.example_inputs, signals))
        heads = {name: group for name, group in found.groups.items() if group.kind == "heads"}
        offered = unskipped("Heads(skip=)", heads, self.skip, signals.params)
        if not offered:
            raise PruningError(_nothing(found, len(heads), self.skip))
        return offered


def _nothing(found: Trace, heads: int, skip: tuple[str, ...]) -> str:
    refused = [f"{r.node} ({r.operation}): {r.reason}" for r in found.refusals]
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    left = f" Left whole in this model: {'; '.join(refused[:3])}{more}." if refused else ""
    why = f"all {heads} layers that have some are skipped by {skip}" if heads else "there is none"
    return (
        f"Heads() must find attention heads that can be taken out; {why}.{left} "
        "Use another granularity, such as Channels(example_inputs=...)."
    )
