"""Run a model for the signals that are asked for, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.core.fingerprint import fingerprint
from flowprune.core.held import masks_on
from flowprune.core.tensors import require_finite
from flowprune.signals.as_found import as_found
from flowprune.signals.curvature.asked import KINDS, Curvature
from flowprune.signals.gradient import Loss
from flowprune.signals.parts import require_micro_batch
from flowprune.signals.point import point_of
from flowprune.signals.precision import in_precision
from flowprune.signals.signals import NAMED, NEEDS, Mode, Signals
from flowprune.signals.sweep import Request, sweep


def gather(  # noqa: PLR0913, the public contract
    model: nn.Module,
    objective: Loss,
    batches: Iterable[Any],
    needs: Iterable[str] = ("gradient",),
    *,
    curvature: str | Curvature | None = None,
    mode: Mode = "eval",
    micro_batch: int | None = None,
    seed: int | None = None,
    copies: bool = True,
) -> Signals:
    r"""Parameters of a model, and the derivatives of its loss that are asked for, over all batches together.

    Every quantity belongs to one loss, L = the mean over all examples of all batches (a smaller last batch
    weighs less):

    - ``"gradient"``: g, one sweep;
    - ``"hessian_gradient"``: H g, exact: g from a first sweep, H g from a second over the same batches, which
      are kept for it. g comes with it;
    - ``"curvature"``: d, a diagonal that stands for the Hessian's: by default the exact one of the generalised
      Gauss-Newton matrix; see :class:`~flowprune.signals.Curvature` for the others;
    - ``"fisher"``: E[g_i^2] from true per-example gradients;
    - ``"minibatch_fisher"``: E[g_B^2] over the batches as given. Not the Fisher diagonal: it falls with the
      batch size;
    - ``"absolute_gradient"``: E|g_B| over the batches as given;
    - ``"activations"``: mean and mean square of each module's output, per channel.

    ``needs=()`` runs nothing and gives the parameters alone.

    **The mode decides what scores mean.** In eval mode, the default, normalisations use their running
    statistics. In train mode (``mode="train"``) they use those of the batch, which makes a filter before a
    batch norm scale-invariant: per filter, sum(theta g) = 0 and sum(theta H g) = -||g_f||^2 exactly. Signed
    first-order scores are then noise, and second-order scores rank filters by their gradient alone.

    **Of a masked model, derivatives are those of the network that trains.** What ``fp.apply`` holds at zero is no
    variable of it: its entries of g, of H g (where they are no part of the direction g either) and of the Fisher
    diagonal are zero. ``fp.release`` makes them variables again.

    **An objective may have a precision of its own**, as the one of SynFlow has: then a copy of the model in that type
    is run, and all signals are of it.

    The model is left as found, also after an exception: parameters, ``.grad``, buffers, modes, hooks and the
    global random state.

    Args:
        model: Any module. Frozen parameters get no derivatives.
        objective: ``(forward, batch) -> scalar mean loss``; see :mod:`flowprune.objectives`.
        batches: Any iterable of batches, read once; each is moved to the model's device. In a batch
            ``(inputs, targets)``, inputs that are a tuple or a list are the model's positional arguments, and a
            mapping names them.
        needs: Names of what is wanted, from :data:`flowprune.signals.NEEDS`; a single one may stand alone.
        curvature: Which diagonal ``"curvature"`` is, with its memory: ``"ggn"`` (the default), ``"fisher_mc"``,
            ``"empirical"``, ``"hutchinson"``, or a :class:`~flowprune.signals.Curvature`. Only in eval mode.
        mode: ``"eval"``, or ``"train"`` for batch statistics and dropout.
        micro_batch: Most examples at a time where memory would grow with them (H g, Fisher, curvature). Used in eval
            mode and with objectives that know the loss of each example; others see whole batches. None: 64, or 32 for
            H g on a CPU; there more where examples take little, up to 8 MiB of what is kept of them, but for curvatures
            that draw.
        seed: Of the random numbers that the model (dropout in train mode) and the objective draw; by default they
            come from the global generator as it stands.
        copies: False: what is returned may share memory with the model, the batches and itself, for one who only
            reads it, and before the model changes.

    Returns:
        Parameters and derivatives, detached copies. Those of parameters that the loss does not use are zero.

    Raises:
        ValueError: no module, or one with lazy parameters; an unknown need or mode; no objective; no batch; nothing
            to differentiate; a loss that is no finite scalar; for a curvature a loss that is no mean over examples,
            train mode, or memory for less than one example.
        PruningError: the model gave another loss when it was run again; it cannot be differentiated twice;
            per-example gradients of a model in which examples are coupled.

    Source: Lubana & Dick 2021, arXiv 2009.11839, for what g and H g say about a network.

    Example:
        >>> import torch
        >>> from flowprune.objectives import mean_squared_error
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> batch = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))  # L = 5 w^2, g = 10 w, H = 10
        >>> signals = gather(model, mean_squared_error(), [batch], needs=("hessian_gradient",))
        >>> signals.loss, signals.gradient["weight"].item(), signals.hessian_gradient["weight"].item()
        (20.0, 20.0, 200.0)
    """
    require_model("gather", model)
    asked = _checked(needs, mode, micro_batch)
    diagonal = _diagonal(curvature, asked, mode)
    if asked and not callable(objective):
        todo = "Pass for instance flowprune.objectives.cross_entropy()."
        raise invalid("gather(objective=)", "a callable (forward, batch) -> scalar mean loss", objective, todo)
    run = in_precision(model, objective) if asked else model
    params = dict(run.named_parameters())
    trainable = {name: parameter for name, parameter in params.items() if parameter.requires_grad}
    if asked and not trainable:
        todo = "Call requires_grad_() on what may be pruned, or ask for needs=()."
        raise invalid("gather(model=)", "a model with trainable parameters", f"{len(params)} frozen ones", todo)
    signals = Signals(
        params={n: parameter.detach().clone() if copies else parameter.detach() for n, parameter in params.items()},
        mode=mode,
        masks={name: mask.clone() if copies else mask for name, mask in masks_on(params).items()},
        prunable=frozenset(name for name, parameter in params.items() if parameter.ndim >= 2),
        fingerprint=fingerprint(params),
        # Of the model itself where a copy in another type is run: the weights are the same.
        point=point_of(dict(model.named_parameters())) if copies else None,
        model=model,
        objective=getattr(objective, "name", None) if asked else None,
    )
    if not asked:
        return signals
    with as_found(run, mode, seed=seed) as rewind:
        request = Request(
            run, objective, trainable, asked, mode, micro_batch, masks=signals.masks, copies=copies, curvature=diagonal
        )
        fields = sweep(request, batches, rewind, dtype=None if run is model else next(iter(params.values())).dtype)
    for name in NAMED:
        require_finite(f"gather(): {name}", fields.get(name) or {})
    return replace(signals, **fields)


def _diagonal(curvature: object, needs: frozenset[str], mode: str) -> Curvature:
    """Which diagonal is asked for."""
    if "curvature" not in needs:
        if curvature is not None:
            rule = "None where needs has no 'curvature'"
            raise invalid("gather(curvature=)", rule, curvature, 'Ask for it: needs=("gradient", "curvature").')
        return Curvature()
    if mode != "eval":
        todo = "Batch statistics couple examples, of which it is a mean. Leave mode='eval': the model is run in it."
        raise invalid("gather(mode=)", "'eval' with a curvature", mode, todo)
    if curvature is None or isinstance(curvature, str):
        return Curvature("ggn" if curvature is None else curvature)
    if not isinstance(curvature, Curvature):
        raise invalid("gather(curvature=)", f"one of {', '.join(KINDS)}, or an fp.Curvature", curvature)
    return curvature


def _checked(needs: Iterable[str], mode: str, micro_batch: object) -> frozenset[str]:
    names = [needs] if isinstance(needs, str) else list(needs) if isinstance(needs, Iterable) else [needs]
    strange = [name for name in names if name not in NEEDS]
    if strange:
        rule = f"drawn from {', '.join(NEEDS)}"
        raise invalid("gather(needs=)", rule, strange, "needs=() gives the parameters alone.")
    if mode not in ("eval", "train"):
        raise invalid("gather(mode=)", "'eval' or 'train'", mode)
    require_micro_batch("gather", micro_batch)
    return frozenset(names)
