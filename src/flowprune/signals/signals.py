"""What is known of a model at one moment: its parameters and the derivatives that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.moments import Moments

Mode = Literal["eval", "train"]
NEEDS = ("gradient", "hessian_gradient", "curvature", "fisher", "minibatch_fisher", "absolute_gradient", "activations")
"""What :func:`flowprune.signals.gather` can be asked for; each is the name of a field of :class:`Signals`."""
NAMED = ("gradient", "hessian_gradient", "curvature", "fisher", "minibatch_fisher", "absolute_gradient")


@dataclass(frozen=True, eq=False)
class Signals:
    r"""Parameters and their derivatives, each a dictionary keyed by the model's own parameter names.

    :func:`flowprune.signals.gather` fills it; it can as well be built by hand from dictionaries. A field that
    was not asked for is ``None``. A derivative may lack names that ``params`` has (frozen parameters have no
    gradient), never the reverse.

    Attributes:
        params: theta, detached.
        gradient: g, of the mean loss over all gathered examples.
        hessian_gradient: H g, with H the Hessian of the same mean loss.
        curvature: d, a diagonal of the Hessian or of a stand-in for it.
        curvature_kind: Which, of :class:`flowprune.signals.Curvature`; ``None`` where it was given by hand.
        fisher: E[g_i^2] over examples i, the diagonal of the empirical Fisher matrix (true labels).
        minibatch_fisher: E[g_B^2] over minibatches B with g_B a minibatch-mean gradient; another quantity,
            smaller by about the batch size, kept because published scores use it.
        absolute_gradient: E|g_B| over batches B, signs of which do not cancel.
        activations: Moments of each module's output, by module name.
        loss: Mean loss over all gathered examples.
        samples: How many examples that was.
        mode: The mode the model ran in.
        masks: What held on the model when it was gathered, of the parameters that are masked: boolean, True = kept.
            Where it is False, derivatives are zero: such an entry does not train.
        prunable: Names that may be scored; ``None`` (built by hand) means all.
        fingerprint: Of the model's parameter names and shapes.
        point: Of the values of the model's own parameters (:mod:`flowprune.signals.point`); ``None`` where it was given
            by hand or gathered without copies, which change with the model.
        model: The model, for tracing; it is not copied.
        example_inputs: At most two examples of the first batch's inputs, for tracing.
        objective: The name of what the derivatives are of, where it has one.

    Shapes: ``gradient[name]`` and its like have the shape of ``params[name]``.
    Units: g in loss per weight, H g in loss^2 per weight^3, both for a loss in nats under cross-entropy.

    Raises:
        ValueError: a derivative or a mask of an unknown name or of another shape than its parameter.

    Example:
        >>> import torch
        >>> signals = Signals(params={"w": torch.tensor([2.0])}, gradient={"w": torch.tensor([3.0])})
        >>> signals.require("gradient")["w"] * signals.params["w"]
        tensor([6.])
    """

    params: dict[str, Tensor]
    gradient: dict[str, Tensor] | None = None
    hessian_gradient: dict[str, Tensor] | None = None
    curvature: dict[str, Tensor] | None = None
    fisher: dict[str, Tensor] | None = None
    minibatch_fisher: dict[str, Tensor] | None = None
    absolute_gradient: dict[str, Tensor] | None = None
    activations: dict[str, Moments] | None = None
    loss: float | None = None
    samples: int | None = None
    mode: Mode = "eval"
    masks: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    prunable: frozenset[str] | None = None
    fingerprint: str | None = None
    point: str | None = None
    model: nn.Module | None = field(default=None, repr=False)
    example_inputs: Any = field(default=None, repr=False)
    objective: str | None = None
    curvature_kind: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", _detached("params", self.params))
        for name in (*NAMED, "masks"):
            tensors = getattr(self, name)
            if tensors is not None:
                object.__setattr__(self, name, _matching(name, tensors, self.params))
        if self.mode not in ("eval", "train"):
            raise invalid("Signals(mode=)", "'eval' or 'train'", self.mode)

    def require(self, name: str) -> dict[str, Tensor]:
        """The derivative of this name, or an error that says how to get it.

        Raises:
            ValueError: it was not gathered.
        """
        if name not in NAMED:
            raise invalid("Signals.require(name=)", f"one of {', '.join(NAMED)}", name)
        tensors = getattr(self, name)
        if tensors is None:
            given = [known for known in NAMED if getattr(self, known) is not None]
            todo = f'Ask for it: gather(..., needs=("{name}",)), or pass Signals({name}=...).'
            raise invalid(f"Signals.{name}", "gathered before it is used", f"only {given or 'params'}", todo)
        return cast("dict[str, Tensor]", tensors)

    def __repr__(self) -> str:
        """Sizes and names of what is there; never the tensors."""
        count = sum(value.numel() for value in self.params.values())
        fields = [name for name in NEEDS if getattr(self, name) is not None]
        parts = [f"{len(self.params)} tensors", f"{count:,} parameters", f"has {', '.join(fields) or 'params only'}"]
        if self.samples is not None:
            parts.append(f"loss {self.loss:.6g} over {self.samples} examples, {self.mode} mode")
        return f"Signals({'; '.join(parts)})"


def _detached(where: str, tensors: object) -> dict[str, Tensor]:
    """A plain dictionary of detached tensors; shares their memory."""
    if not isinstance(tensors, Mapping):
        raise invalid(f"Signals({where}=)", "a mapping of parameter names to tensors", type(tensors).__name__)
    named = cast("Mapping[str, object]", tensors)
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise invalid(f"Signals({where}=)", "a mapping of parameter names to tensors", {name: type(value).__name__})
    return {name: cast(Tensor, value).detach() for name, value in named.items()}


def _matching(where: str, tensors: object, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, after the names and shapes were compared with those of the parameters."""
    named = _detached(where, tensors)
    strangers = sorted(named.keys() - params.keys())
    if strangers:
        raise invalid(f"Signals({where}=)", "keyed by names of params", strangers, f"params has {sorted(params)}.")
    for name, value in named.items():
        if value.shape != params[name].shape:
            shapes = f"{tuple(value.shape)} for {name!r} of shape {tuple(params[name].shape)}"
            raise invalid(f"Signals({where}=)", "of the shapes of params", shapes)
    return named
