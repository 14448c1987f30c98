"""Which blocks of a model can be taken out, and which cannot and why."""

from __future__ import annotations

import inspect

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from flowprune.core.arguments import require_model
from flowprune.core.units import UnitGroup
from flowprune.structure.capture import Deadline
from flowprune.structure.depth.candidates import Candidate, candidates, group_of
from flowprune.structure.depth.trial import Comparison, observe, scattered
from flowprune.structure.example import Example, double
from flowprune.structure.memory import recall, remember
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.twin import duplicate
from flowprune.structure.verify import doubled, run_once, settle_

TIME_LIMIT = 120.0
"""Seconds after which the trials give up."""
DRAWS = 2
"""With how many draws of weights blocks are observed."""


def trace_depth(model: nn.Module, example_inputs: object, *, time_limit: float = TIME_LIMIT) -> Trace:
    """Which blocks of a model can be taken out whole, proved by trial.

    A block is a child of an ``nn.Sequential`` or an ``nn.ModuleList``, the innermost one where they are nested. Masking
    it means that all its parameters are zero. It is offered if, masked, it gives back its input, and the model without
    it computes what the model with the masked block computes: tried for each block, and for all that may go together,
    in evaluation and in training mode, in double precision where the model allows it. What is not offered is named in
    ``refusals``. The model is not changed.

    Args:
        model: Any module.
        example_inputs: A tensor, a tuple of positional or a mapping of named arguments; two examples are enough.
        time_limit: Seconds after which to give up with an error.

    Returns:
        A group for each container, named after it, with its blocks as units.

    Raises:
        ValueError: no module, one with lazy parameters, or inputs without a tensor.
        PruningError: the model cannot be copied, does not run on the inputs, or time is up.

    Example:
        >>> block = nn.TransformerEncoderLayer(4, 1, 8, norm_first=True, batch_first=True)
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoder(block, 2, enable_nested_tensor=False))
        >>> trace_depth(model, torch.randn(2, 5, 3)).groups["1.layers"].modules
        ('1.layers.0', '1.layers.1')
    """
    require_model("trace_depth", model)
    example = Example.of(example_inputs)
    known = recall(model, example.signature, kind="depth")
    if known is not None:
        return known.trace
    probe = example.copied().first(2)
    blocks, deadline = candidates(model), Deadline(time_limit, where="trace_depth")
    found = _Trials(model, blocks, probe, deadline).trace() if blocks else Trace({})
    remember(model, found, example.signature, probe, kind="depth")
    return found


class _Trials:
    """The trials of one model, and what they found so far."""

    def __init__(self, model: nn.Module, blocks: list[Candidate], probe: Example, deadline: Deadline) -> None:
        twin = duplicate(model, "trace_depth")
        settle_(twin)
        with deadline:
            exact = doubled(twin, probe)
        deadline.check()
        self.twin, self.probe = (twin, probe) if exact is None else (exact, probe.map(double))
        self.blocks, self.deadline = blocks, deadline
        self.reasons: dict[str, str] = {}

    def trace(self) -> Trace:
        """All trials, from the quick ones to the long ones."""
        self.reasons = {b.path: b.shared for b in self.blocks if b.shared is not None}
        draws = [draw for seed in range(DRAWS) if (draw := self._scattered(seed)) is not None] or [self.twin]
        for draw in draws:
            for mode in ("eval", "train"):
                with self.deadline:
                    seen = observe(draw, self.probe, self._open(), mode)
                self.deadline.check()
                self.reasons |= seen
        comparison = Comparison(draws[0], self.probe, self.deadline)
        offered = self._one_by_one(comparison)
        groups = self._together(comparison, offered)
        refused = [b for b in self.blocks if b.path in self.reasons]
        return Trace(groups, tuple(_refusal(block, self.reasons[block.path]) for block in refused))

    def _open(self) -> list[Candidate]:
        """The candidates against which nothing speaks yet."""
        return [block for block in self.blocks if block.path not in self.reasons]

    def _scattered(self, seed: int) -> nn.Module | None:
        """The twin with other weights, unless its outputs are not finite with them."""
        draw = scattered(self.twin, seed)
        try:
            with self.deadline:
                outputs = run_once(draw.eval(), self.probe)
        except Exception:
            self.deadline.check()
            return None
        tensors = [x for x in tree_leaves(outputs) if isinstance(x, torch.Tensor) and x.is_floating_point()]
        return None if any(bool(torch.isnan(x).any()) for x in tensors) else draw

    def _one_by_one(self, comparison: Comparison) -> list[Candidate]:
        """The blocks without which the model is the masked one; inner ones are tried before those around them."""
        offered: list[Candidate] = []
        for block in sorted(self._open(), key=lambda b: -b.path.count(".")):
            if any(inner.path.startswith(f"{block.path}.") for inner in offered):
                continue
            reason = comparison.differs([block.path])
            if reason is None:
                offered.append(block)
            else:
                self.reasons[block.path] = reason
        return [block for block in self.blocks if block in offered]

    def _together(self, comparison: Comparison, offered: list[Candidate]) -> dict[str, UnitGroup]:
        """A group for each container whose blocks can go together, and together with those of the others."""
        groups: dict[str, UnitGroup] = {}
        gone: list[str] = []
        for container in dict.fromkeys(block.container for block in offered):
            mine = [block for block in offered if block.container == container]
            # One block stays, unless the container keeps another one anyway.
            least = 0 if any(b.container == container and b.path in self.reasons for b in self.blocks) else 1
            going = [block.path for block in mine[least:]]
            several = going and len(gone + going) > 1  # one alone was tried
            reason = comparison.differs([*gone, *going]) if several else None
            if reason is None:
                groups[container] = group_of(container, mine, least=least)
                gone += going
            else:
                self.reasons |= {block.path: f"several blocks at once: {reason}" for block in mine}
        return groups


def _refusal(block: Candidate, reason: str) -> Refusal:
    kind = type(block.module)
    try:
        where = f"{inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        where = f"{kind.__module__}.{kind.__qualname__}"
    weights = tuple(f"{block.path}.{name}" for name, _ in block.module.named_parameters())
    return Refusal(block.path, kind.__name__, where, reason, weights)
