"""Which blocks of a model can be taken out, and which cannot and why."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, invalid
from flowprune.core.units import UnitGroup
from flowprune.structure.capture import Deadline
from flowprune.structure.depth.candidates import Candidate, beside, candidates, group_of
from flowprune.structure.depth.trial import Comparison, observe, scatter_
from flowprune.structure.example import Example, double
from flowprune.structure.memory import recall, remember
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.twin import duplicate
from flowprune.structure.verify import doubled, run_once, same_function, settle_

TIME_LIMIT = 120.0
"""Seconds after which the trials give up."""
DRAWS = 2
"""With how many draws of weights blocks are observed."""
MODES = ("eval", "train")


def trace_depth(model: nn.Module, example_inputs: object, *, time_limit: float = TIME_LIMIT) -> Trace:
    """Which blocks of a model can be taken out whole, proved by trial.

    A block is a child of an ``nn.Sequential`` or an ``nn.ModuleList``, the innermost one where they are nested. Masking
    it means that all its parameters are zero. It is offered if, masked, it gives back its input, and the model without
    it computes what the model with the masked block computes: tried for each block, and for all that may go together,
    in evaluation and in training mode (for each block in one of them, where the model gives the very same in both), in
    double precision where the model allows it, and with weights scattered around its own, so that nothing is the same
    by accident. What is not offered is named in ``refusals``. The model is not changed.

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
        self.model, self.blocks, self.deadline = model, blocks, deadline
        self.reasons = {b.path: b.shared for b in blocks if b.shared is not None}
        self.twin, self.probe = self._twin(probe)

    def trace(self) -> Trace:
        """All trials, from the quick ones to the long ones."""
        modes: tuple[str, ...] = ()
        for outputs in self._draws():
            modes = modes or self._modes(outputs)
            for mode in modes:
                with self.deadline:
                    seen = observe(self.twin, self.probe, self._open(), mode)
                self.deadline.check()
                self.reasons |= seen
        comparison = Comparison(self.twin, self.probe, self.deadline)
        groups = self._together(comparison, self._one_by_one(comparison, modes))
        refused = [block for block in self.blocks if block.path in self.reasons]
        return Trace(groups, tuple(_refusal(block, self.reasons[block.path]) for block in refused))

    def _twin(self, probe: Example) -> tuple[nn.Module, Example]:
        """A copy to try things on, in double precision where the model allows it, and inputs like it."""
        twin = duplicate(self.model, "trace_depth")
        settle_(twin)
        with self.deadline:
            exact = doubled(twin.eval(), probe)
        self.deadline.check()
        return (twin, probe) if exact is None else (exact, probe.map(double))

    def _open(self) -> list[Candidate]:
        """The candidates against which nothing speaks yet."""
        return [block for block in self.blocks if block.path not in self.reasons]

    def _draws(self) -> Iterator[Any]:
        """The twin has other weights each time, its own if it gives no numbers with those; the outputs."""
        for seed in range(DRAWS):
            scatter_(self.twin, seed)
            outputs = self._outputs("eval")
            if outputs is None or any(bool(torch.isnan(x).any()) for x in _reals(outputs)):
                self.twin, self.probe = self._twin(self.probe)
                yield self._outputs("eval")
                return
            yield outputs

    def _outputs(self, mode: str) -> Any:
        """What the twin gives in a mode, or None where it does not run."""
        try:
            with self.deadline:
                return run_once(self.twin.train(mode == "train"), self.probe)
        except Exception:
            self.deadline.check()
            return None

    def _modes(self, outputs: Any) -> tuple[str, ...]:
        """Both modes, or one where the model gives the very same in both."""
        if outputs is not None and not _reals(outputs):
            got = type(outputs).__name__
            todo = "Wrap it in a module that gives back its tensors."
            raise invalid("trace_depth(model=)", "a model whose output holds tensors to compare", got, todo)
        try:
            same_function(outputs, self._outputs("train"), tolerance=0.0)
        except PruningError:
            return MODES
        return MODES[:1]

    def _one_by_one(self, comparison: Comparison, modes: tuple[str, ...]) -> list[Candidate]:
        """The blocks without which the model is the masked one; inner ones are tried before those around them."""
        offered: list[Candidate] = []
        for block in sorted(self._open(), key=lambda b: -b.path.count(".")):
            if any(inner.path.startswith(f"{block.path}.") for inner in offered):
                continue
            reason = comparison.differs([block.path], modes)
            if reason is None:
                offered.append(block)
            else:
                cause = beside(self.model, block.container)
                self.reasons[block.path] = f"{reason}; {cause}" if cause else reason
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
            reason = comparison.differs([*gone, *going], MODES) if several else None
            if reason is None:
                groups[container] = group_of(container, mine, least=least)
                gone += going
            else:
                self.reasons |= {block.path: f"several blocks at once: {reason}" for block in mine}
        return groups


def _reals(nest: Any) -> list[Tensor]:
    return [item for item in tree_leaves(nest) if isinstance(item, Tensor) and item.is_floating_point()]


def _refusal(block: Candidate, reason: str) -> Refusal:
    kind = type(block.module)
    try:
        where = f"{inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        where = f"{kind.__module__}.{kind.__qualname__}"
    weights = tuple(f"{block.path}.{name}" for name, _ in block.module.named_parameters())
    return Refusal(block.path, kind.__name__, where, reason, weights)
