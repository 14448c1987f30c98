"""Importance of components over training: a thin shell around what is accumulated."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.analysis.components.assign import UNCOVERED, Prefixes, assign, split
from flowprune.analysis.components.average import (
    Accumulated,
    ImportanceRecord,
    added,
    by_component,
    closed,
    require_alpha,
)
from flowprune.analysis.components.metric import COMPONENT_METRICS, SOURCE, posterior_variance
from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, invalid
from flowprune.masks import Scores
from flowprune.measures import Granularity, Measure, score
from flowprune.signals import Signals, gather
from flowprune.train import State


class ComponentImportance:
    r"""How important each component of a model is, collected while it trains.

    Each update adds a number per weight; each record closes an epoch: the mean over its updates enters a moving
    average, A <- alpha * mean + (1 - alpha) * A, whose first value is the first mean whole. Importance is A, summed and
    averaged over a component.

    | metric | per weight | fed with |
    |---|---|---|
    | ``gradient`` | E abs(theta g_B) | live ``.grad`` or signals (``gradient``) |
    | ``minibatch_fisher`` | E[g_B^2] | live ``.grad`` or signals (``minibatch_fisher``) |
    | ``fisher`` | E[g_i^2] | signals (``fisher``): true per-example gradients |
    | ``posterior_variance`` | 1 / (N E[g_i^2] + prior) | signals (``fisher``) |
    | ``minibatch_posterior_variance`` | 1 / (N E[g_B^2] + prior) | live ``.grad`` or signals (``minibatch_fisher``) |

    The square of a minibatch's mean gradient g_B is not the Fisher information of the examples: it is smaller by about
    the batch size, and no multiple of it. So the live ``.grad`` never gives what is called ``fisher`` here. A variance
    is small where a weight is important: its scores are its inverse, so that larger is still kept. The average is of
    the Fisher, and the variance of the average.

    Nothing of the model is changed. Parameters that are frozen when this is made are not counted.

    Args:
        model: In training.
        components: By name, the prefix or prefixes of the modules that belong to it, e.g.
            ``{"encoder": "encoder", "head": ("norm", "head")}``.
        metric: A name in ``COMPONENT_METRICS``.
        alpha: Weight of the newest epoch in the average, in (0, 1]; 1 keeps only the newest.
        examples: N, the number of training examples; for the variances alone.
        prior: Precision of the prior, above 0; for the variances alone.

    Raises:
        UnknownNameError: an unknown metric.
        ValueError: a prefix that covers no parameter, a parameter in two components, a component that is frozen, or
            ``examples`` and ``prior`` missing or useless.

    Source: the idea of Sundaram, Ulmen & Görges 2026, arXiv 2601.19794, known by its abstract; own formulas.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> _ = nn.init.constant_(model[0].weight, 2.0), nn.init.constant_(model[1].weight, 3.0)
        >>> tracker = ComponentImportance(model, components={"in": "0", "out": "1"}, metric="minibatch_fisher")
        >>> model(torch.ones(1, 1)).sum().backward()               # d(ab)/da = b = 3, d(ab)/db = a = 2
        >>> tracker.update()
        >>> {name: value.sum for name, value in tracker.record().values.items()}
        {'in': 9.0, 'out': 4.0}
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        components: Mapping[str, Prefixes],
        metric: str = "gradient",
        alpha: float = 0.1,
        examples: int | None = None,
        prior: float | None = None,
    ) -> None:
        self.model = require_model("ComponentImportance", model)
        self.metric = COMPONENT_METRICS[metric]
        self.alpha = require_alpha(alpha)
        self._laplace = _laplace(self.metric.name, self.metric.variance, examples, prior)
        self.components = assign(_names(model), components)
        self._shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
        frozen = [c for c, names in self.components.items() if c != UNCOVERED and not self._shapes.keys() & set(names)]
        if frozen:
            raise invalid("ComponentImportance(components=)", "of components that train", frozen, "Unfreeze them.")
        self._state = Accumulated()

    @property
    def uncovered(self) -> tuple[str, ...]:
        """The parameters that no component covers; they are recorded as ``"(uncovered)"``."""
        return self.components.get(UNCOVERED, ())

    @property
    def records(self) -> tuple[ImportanceRecord, ...]:
        """Every moment so far."""
        return self._state.records

    @torch.no_grad()
    def update(self) -> None:
        """Take in the gradients that the parameters hold now: after ``backward()`` and before ``optimizer.step()``.

        A parameter without a gradient was not used by the loss: it counts as zero.

        Raises:
            ValueError: the metric cannot be told from ``.grad``, no parameter has one, or the model was cut.
        """
        of_live = self.metric.of_live
        if of_live is None:
            rule = "a metric of minibatch gradients, because .grad is their mean"
            todo = f"Take 'minibatch_fisher', or update_from(fp.gather(..., needs=({self.metric.reads!r},)))."
            raise invalid("ComponentImportance.update(): metric", rule, self.metric.name, todo)
        params = self._live()
        if all(param.grad is None for param in params.values()):
            todo = "Call it after backward() and before zero_grad()."
            raise invalid("ComponentImportance.update()", "called while there are gradients", "none", todo)
        found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in params.items()}
        self._state = added(self._state, {n: of_live(_single(params[n]), _single(g)) for n, g in found.items()})

    @torch.no_grad()
    def update_from(self, signals: Signals) -> None:
        """Take in signals gathered of this model, as one update.

        Raises:
            ValueError: the signal that the metric reads was not gathered, or it is of another model.
        """
        found = signals.require(self.metric.reads)
        params = self._live()
        odd = [name for name, shape in self._shapes.items() if name not in found or tuple(found[name].shape) != shape]
        if odd:
            rule = f"of this model, with the {self.metric.reads} of every parameter that trains"
            raise invalid("ComponentImportance.update_from(signals=)", rule, f"another or none for {odd}")
        values = {n: self.metric.of_signal(_single(signals.params[n]), _single(found[n])) for n in params}
        self._state = added(self._state, {name: value.to(params[name].device) for name, value in values.items()})

    @contextmanager
    def watch(self, optimizer: Optimizer) -> Generator[ComponentImportance]:
        """Within the block, every ``optimizer.step()`` begins with an :meth:`update`.

        So the gradient meets the parameters it was taken at; a callback after the step would see those that followed.
        An optimizer that computes gradients inside its step (LBFGS) cannot be watched. A step that no parameter has a
        gradient for is no update: at an overflow, the scaling of float16 losses takes them away. Make what scales
        losses (``Execution.objective``) before the block, so that gradients have their own size when they are met.
        """

        def before_step(*_: Any) -> None:
            if any(param.grad is not None for param in self._live().values()):
                self.update()

        handle = optimizer.register_step_pre_hook(before_step)
        try:
            yield self
        finally:
            handle.remove()

    def record(self) -> ImportanceRecord:
        """Close an epoch: smooth what came in since the last record, and sum it up by component.

        Raises:
            PruningError: nothing came in.
            ValueError: a gradient was not finite; what came in since the last record is dropped, so that the next one
                is sound.
        """
        updates, came_in = self._state.updates, self._state
        self._state = replace(came_in, sums={}, updates=0)
        state = closed(came_in, self.alpha)
        values = by_component(self._finished(state.average), self.components)
        told = ImportanceRecord(len(state.records) + 1, updates, values)
        self._state = Accumulated(average=state.average, records=(*state.records, told))
        return told

    def __call__(self, state: State, /) -> None:
        """:meth:`record`, as a callback: ``fit(..., callbacks=[every("1ep", importance)])`` inside :meth:`watch`."""
        del state
        self.record()

    def values(self) -> dict[str, Tensor]:
        """The smoothed metric of every weight, by parameter name.

        Raises:
            PruningError: nothing was recorded yet.
        """
        if not self._state.average:
            raise PruningError("ComponentImportance must have a record before it has values. Call record() first.")
        return self._finished(self._state.average)

    def scores(self, granularity: Granularity | None = None, *, reduce: str) -> Scores:
        """Scores of every unit of the model; larger = keep, so a variance enters as its inverse.

        Args:
            granularity: ``fp.Weights()`` (the default) or ``fp.Channels(example_inputs=x)``.
            reduce: How the weights of a unit make one number: sum, sum_abs, abs_sum or l2.

        Raises:
            PruningError: nothing was recorded yet, or a unit that has no value: it is frozen.
            ValueError: scores that are not finite.
        """
        values = {n: v.reciprocal() if self.metric.variance else v for n, v in self.values().items()}

        def known(signals: Signals) -> dict[str, Tensor]:
            return {name: values[name] for name in signals.params if name in values}

        named = f"component_{self.metric.name}"
        measure = Measure(named, None, (), "sum", self.metric.formula, known, SOURCE)
        signals = gather(self.model, _never, (), needs=())
        return score(measure, signals, granularity, reduce=reduce)

    def scores_by_component(self, granularity: Granularity | None = None, *, reduce: str) -> dict[str, Scores]:
        """:meth:`scores` in parts, each to be selected from by itself; see :func:`~.assign.split` for shared units."""
        return split(self.scores(granularity, reduce=reduce), self.components)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint, by name; with :meth:`numbers` all that :meth:`resume` needs."""
        return self._state.tensors()

    def numbers(self) -> dict[str, Any]:
        """The rest of a checkpoint, as JSON has it."""
        return {"options": self._options(), **self._state.numbers()}

    def resume(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on where another one stood, made with the same options.

        Raises:
            ValueError: they are of other options or of another model.
        """
        if numbers.get("options") != self._options():
            where = "ComponentImportance.resume(numbers=)"
            raise invalid(where, f"of {self._options()}", numbers.get("options"), "Resume with the same options.")
        state = Accumulated.of(tensors, numbers)
        for held in (state.sums, state.average):
            if held and {name: tuple(value.shape) for name, value in held.items()} != self._shapes:
                rule = "of this model's parameters"
                raise invalid("ComponentImportance.resume(tensors=)", rule, sorted(held.keys() ^ self._shapes.keys()))
        live = self._live()
        sums, average = ({n: v.to(live[n].device) for n, v in held.items()} for held in (state.sums, state.average))
        self._state = Accumulated(sums, state.updates, average, state.records)

    def _options(self) -> dict[str, Any]:
        components = {name: list(members) for name, members in self.components.items()}
        return {"metric": self.metric.name, "alpha": self.alpha, "components": components, **(self._laplace or {})}

    def _finished(self, average: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: posterior_variance(v, **self._laplace) if self._laplace else v for n, v in average.items()}

    def _live(self) -> dict[str, nn.Parameter]:
        """The parameters that are counted, as the model holds them now."""
        live = {name: param for name, param in self.model.named_parameters() if name in self._shapes}
        if {name: tuple(param.shape) for name, param in live.items()} != self._shapes:
            raise PruningError(
                "ComponentImportance must meet the model it was made for; its parameters have other names or shapes. "
                "Build a new one after every cut."
            )
        return live


def _names(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter, with the one it is listed under."""
    first = {id(param): name for name, param in model.named_parameters()}
    return {name: first[id(param)] for name, param in model.named_parameters(remove_duplicate=False)}


def _laplace(name: str, variance: bool, examples: int | None, prior: float | None) -> dict[str, Any] | None:
    """N and the prior's precision where the metric has use for them, None where it has not."""
    given = (examples, prior)
    if not variance:
        if given != (None, None):
            raise invalid("ComponentImportance(examples=, prior=)", "left out", given, f"{name!r} has no use for them.")
        return None
    if isinstance(examples, bool) or not isinstance(examples, int) or examples < 1:
        raise invalid("ComponentImportance(examples=)", f"the number of training examples for {name!r}", examples)
    if isinstance(prior, bool) or not isinstance(prior, int | float) or not 0 < prior < float("inf"):
        raise invalid("ComponentImportance(prior=)", f"a precision above 0 for {name!r}", prior)
    return {"examples": examples, "prior": float(prior)}


def _single(tensor: Tensor) -> Tensor:
    """Dense, and in single precision at least: the squares of half precision underflow at 0.0002."""
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    return dense.to(torch.promote_types(dense.dtype, torch.float32))


def _never(forward: object, batch: object) -> Tensor:
    """Not called: nothing is gathered but the parameters."""
    raise PruningError("no objective is needed here")
