"""The depth granularity: a unit is a whole block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from flowprune.core.errors import PruningError, invalid
from flowprune.core.units import Layout
from flowprune.signals import Signals
from flowprune.structure.depth.names import subset
from flowprune.structure.depth.trace import trace_depth
from flowprune.structure.offering import called_with, model_of
from flowprune.structure.records import Trace
from flowprune.structure.skipping import require_patterns

Skipped = WeakKeyDictionary[nn.Module, "WeakSet[nn.Module]"]


@dataclass(frozen=True, eq=False)
class Depth:
    """Prune whole residual blocks: layers of a transformer, blocks of a residual network.

    A unit is a block that does nothing once its parameters are zero, and that can then be taken out of its
    ``nn.Sequential`` or ``nn.ModuleList``; there is a group for each of these containers, named after it. What is
    offered is proved by trial (see :func:`flowprune.structure.trace_depth`, whose ``refusals`` name the rest). A score
    is the measure's, over all parameters of the block; measures of norms read those of its norms. The denominator of a
    sparsity is the number of blocks offered. At least one block of a container stays.

    Attributes:
        example_inputs: What the model is called with; by default the inputs that the signals were gathered with.
        skip: Patterns (``fnmatch``) of paths of blocks or containers that are not offered, so not counted either, such
            as ``("*.layers.0",)``. They are read when a model is first met: in later rounds, when blocks have moved
            up, they stand for the same blocks.

    Raises:
        ValueError: a pattern fits no block of the model.

    Example:
        >>> import flowprune as fp
        >>> model, x = fp.models.build("resnet20"), torch.randn(2, 3, 8, 8)
        >>> signals = fp.gather(model, None, (), needs=())
        >>> {name: group.size for name, group in Depth(example_inputs=x).layout(signals).items()}
        {'stages.0': 3, 'stages.1': 2, 'stages.2': 2}
    """

    example_inputs: object = field(default=None, repr=False)
    skip: tuple[str, ...] = ()
    _skipped: Skipped = field(default_factory=WeakKeyDictionary, init=False, repr=False)

    def __post_init__(self) -> None:
        require_patterns("Depth(skip=)", self.skip)

    @property
    def name(self) -> str:
        """The word used in specs and reports."""
        return "depth"

    @property
    def removes(self) -> bool:
        """Blocks leave the model."""
        return True

    def layout(self, signals: Signals) -> Layout:
        """The groups of the signals' model, in the order of its modules.

        Raises:
            ValueError: there is no model or no example inputs, or a pattern of ``skip`` fits nothing.
            PruningError: no block can be taken out, or time is up.
        """
        model = model_of("Depth()", signals, "blocks are tried")
        found = trace_depth(model, called_with("Depth", self.example_inputs, signals))
        groups = self._offered(model, found)
        if not groups:
            raise PruningError(_nothing(found, self.skip))
        return groups

    def _offered(self, model: nn.Module, found: Trace) -> Layout:
        """The groups without the blocks that are skipped; a container that keeps those may lose all others."""
        skipped = self._resolved(model, found)
        result = {}
        for name, group in found.groups.items():
            stays = torch.tensor([model.get_submodule(path) not in skipped for path in group.modules])
            if bool(stays.all()):
                result[name] = group
            elif bool(stays.any()):
                result[name] = replace(subset(group, stays), least=0)
        return result

    def _resolved(self, model: nn.Module, found: Trace) -> WeakSet[nn.Module]:
        """The blocks that the patterns mean."""
        known = self._skipped.get(model)
        if known is not None:
            return known
        paths = list(_paths(found))
        skipped: WeakSet[nn.Module] = WeakSet()
        for pattern in self.skip:
            fits = [path for path, container in paths if fnmatchcase(path, pattern) or fnmatchcase(container, pattern)]
            if not fits:
                known_paths = [path for path, _ in paths]
                raise invalid("Depth(skip=)", "patterns of blocks or containers", pattern, f"There are {known_paths}.")
            for path in fits:
                skipped.add(model.get_submodule(path))
        self._skipped[model] = skipped
        return skipped


def _paths(found: Trace) -> Iterator[tuple[str, str]]:
    """Every candidate with its container."""
    for path in [path for group in found.groups.values() for path in group.modules]:
        yield path, path.rpartition(".")[0]
    for refusal in found.refusals:
        yield refusal.node, refusal.node.rpartition(".")[0]


def _nothing(found: Trace, skip: tuple[str, ...]) -> str:
    reasons = "; ".join(f"{r.node} ({r.operation}): {r.reason}" for r in found.refusals[:3])
    more = f"; and {len(found.refusals) - 3} more" if len(found.refusals) > 3 else ""
    skipped = f" {len(found.groups)} containers are skipped by {skip}." if found.groups else ""
    none = "no child of an nn.Sequential or nn.ModuleList adds to its input"
    return (
        f"Depth() must find a block that can be taken out; there is none: {reasons or none}{more}.{skipped} "
        "Use another granularity, such as Channels(example_inputs=...)."
    )
