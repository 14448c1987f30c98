"""From a model to a graph of ATen operations, without touching the model."""

from __future__ import annotations

import logging
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
import torch.fx.config
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import Graph
from torch.overrides import TorchFunctionMode

from flowprune.core.errors import PruningError
from flowprune.core.unfused import unfused
from flowprune.structure.call import PYTORCH
from flowprune.structure.example import Example
from flowprune.structure.twin import random_state_kept
from flowprune.structure.value import Leaf

Mode = Literal["eval", "train"]
KINDS: dict[InputKind, Literal["parameter", "buffer", "constant"]] = {
    InputKind.PARAMETER: "parameter",
    InputKind.BUFFER: "buffer",
    InputKind.CONSTANT_TENSOR: "constant",
}


class CaptureError(PruningError):
    """A model that ``torch.export`` cannot capture."""


@dataclass(frozen=True, eq=False)
class Captured:
    """A graph, and what its placeholders are.

    Attributes:
        graph: Of ATen operations, in order of execution.
        leaves: The model's tensors by placeholder name; tied tensors have one name, the first.
    """

    graph: Graph
    leaves: Mapping[str, Leaf]

    @property
    def unused(self) -> tuple[str, ...]:
        """The parameters that no operation reads."""
        read: dict[str, bool] = {}
        for node in self.graph.nodes:
            leaf = self.leaves.get(node.name) if node.op == "placeholder" else None
            if leaf is not None and leaf.kind == "parameter":
                read[leaf.name] = read.get(leaf.name, False) or len(node.users) > 0
        return tuple(name for name, used in read.items() if not used)


class Deadline(TorchFunctionMode):
    """Raises at the first PyTorch call after a moment in time, so that no capture goes on for ever."""

    def __init__(self, seconds: float, where: str = "trace") -> None:
        super().__init__()
        self.seconds, self.where = seconds, where
        self.end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise where time is up.

        Raises:
            PruningError: it is.
        """
        if time.monotonic() > self.end:
            raise PruningError(
                f"{self.where}(time_limit=) stopped after {self.seconds:g} s; nothing was changed. "
                "Pass smaller example_inputs, or a larger time_limit."
            )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.check()
        return func(*args, **(kwargs or {}))


def capture(model: nn.Module, example: Example, *, mode: Mode, deadline: Deadline, lines: bool = True) -> Captured:
    """The graph of a forward pass as ``torch.export`` (non-strict) sees it. ``model`` is a copy: its mode changes.

    Args:
        model: A copy.
        example: What it is called with.
        mode: Of the model.
        deadline: After which nothing goes on.
        lines: Whether nodes know the line of the model's code they come from, which takes time.

    Raises:
        PruningError: the model cannot be exported; the error names the line of the model's code.
    """
    model.train(mode == "train")
    _without_cache(model)
    try:
        with warnings.catch_warnings(), random_state_kept(model), torch.no_grad(), _quiet(), _lean(lines), deadline:
            warnings.simplefilter("ignore")
            program = torch.export.export(model, example.args, example.kwargs or None, strict=False)
    except PruningError:
        raise
    except Exception as error:
        raise CaptureError(_explained(model, error)) from error
    names = canonical(model)
    leaves: dict[str, Leaf] = {}
    for spec in program.graph_signature.input_specs:
        kind = KINDS.get(spec.kind)
        if kind is not None and spec.target is not None:
            tensor = _tensor(model, spec.target)
            ndim = tensor.dim() if tensor is not None else 0
            leaves[spec.arg.name] = Leaf(names.get(spec.target, spec.target), kind, tuple(range(ndim)))
    return Captured(program.graph, leaves)


def _without_cache(model: nn.Module) -> None:
    """Hugging Face decoders return a cache of keys and values, which is no tensor; it is none of the model's output."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "use_cache", None) is True:
            config.use_cache = False


@contextmanager
def _quiet() -> Generator[None]:
    """Settings of a capture, put back afterwards.

    The fused transformer kernel of evaluation mode would hide every layer in one operation; the exporter would print
    whole graphs on standard error before it raises.
    """
    silenced = logging.root.manager.disable
    logging.disable(max(logging.ERROR, silenced))
    try:
        with unfused(), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(silenced)


@contextmanager
def _lean(lines: bool) -> Generator[None]:
    """Without what the exporter does that nothing here needs.

    It would take the graph apart at every change of the gradient mode, recompile the parts, and put them together
    again: a third of the time of a transformer. Where a version of PyTorch has no such pass under that name, nothing is
    left out. Graphs are read here and never run, so their code is not written either: that waits for a first call.
    """
    name = "replace_set_grad_with_hop_pass"
    passes = _imported(f"torch._export.passes.{name}")
    before, told = getattr(passes, name, None), getattr(torch.fx.config, "do_not_emit_stack_traces", None)
    lazily = getattr(_imported("torch.fx._lazy_graph_module"), "_use_lazy_graph_module", nullcontext)
    try:
        if before is not None:
            setattr(passes, name, _untouched)
        if told is not None:
            torch.fx.config.do_not_emit_stack_traces = told or not lines
        with lazily(True):
            yield
    finally:
        if before is not None:
            setattr(passes, name, before)
        if told is not None:
            torch.fx.config.do_not_emit_stack_traces = told


def _untouched(module: object, signature: object) -> tuple[object, object]:
    return module, signature


def _imported(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


def canonical(model: nn.Module) -> dict[str, str]:
    """For every name of a parameter or buffer, the first name of the same tensor.

    Example:
        >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> b.weight = a.weight
        >>> canonical(nn.Sequential(a, b))["1.weight"]
        '0.weight'
    """
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in every:
        names[name] = first.setdefault(id(tensor), name)
    return names


def depthwise(model: nn.Module) -> frozenset[str]:
    """The weights of convolution modules with one group per input channel, which can shrink ``groups``."""
    names = canonical(model)
    found: dict[str, bool] = {}
    for prefix, module in model.named_modules():
        weight = module._parameters.get("weight")
        if weight is None:
            continue
        name = names[f"{prefix}.weight" if prefix else "weight"]
        fits = isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.in_channels
        found[name] = found.get(name, True) and fits
    return frozenset(name for name, fits in found.items() if fits)


def _tensor(model: nn.Module, name: str) -> Tensor | None:
    owner, _, attribute = name.rpartition(".")
    try:
        tensor = getattr(model.get_submodule(owner), attribute)
    except AttributeError:
        return None
    return tensor if isinstance(tensor, Tensor) else None


def _explained(model: nn.Module, error: Exception) -> str:
    """Which line of which module could not be captured, and what to write instead."""
    first = str(error).strip().partition("\n")[0].rstrip(". ")
    branch = "DataDependent" in type(error).__name__ or "data-dependent" in str(error)
    todo = (
        "The code branches on the values of a tensor: use torch.where, or take the branch outside the model."
        if branch
        else "torch.export.export(model, args, strict=False) must work; check that example_inputs fit the model."
    )
    return (
        f"trace(model=) must be a model that torch.export can capture; {type(error).__name__}"
        f"{_in_module(model, error)}{user_line(error)}{first and f': {first}'}. {todo}"
    )


def _in_module(model: nn.Module, error: Exception) -> str:
    """The innermost module of the model that was running when an error arose."""
    names = {id(module): name for name, module in model.named_modules()}
    running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [module for module in running if isinstance(module, nn.Module) and names.get(id(module))]
    return f" in {names[id(found[-1])]!r} ({type(found[-1]).__name__})" if found else ""


def user_line(error: BaseException) -> str:
    """Where in the user's code an error arose: the last frame that is neither PyTorch's nor this package's."""
    lines = user_lines(error)
    return f" at {lines[0]}" if lines else ""


def user_lines(error: BaseException) -> list[str]:
    """All lines of the user's code that led to an error, the innermost first."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_library(f.filename)]
    return [f"{frame.filename}:{frame.lineno} `{frame.line}`" for frame in reversed(frames)]


def _is_library(filename: str) -> bool:
    return filename.startswith((PYTORCH, str(Path(__file__).parent), "<")) or Path(filename).name == "contextlib.py"
