"""The training loop. Nobody edits it: what else should happen is a callback.

What happens, and when callbacks see it::

    callbacks(state)                                  # once before the first step, unless the run is resumed
    for epoch in (from start to epochs):
        for batch in data(epoch):
            every group's lr = rate(iteration, per_epoch)
            loss = objective(model, batch)            # train mode; a loss that is not finite stops the run
            loss.backward(); optimizer.step()
            iteration += 1
            callbacks(state)                          # in their order; `every` and `at` choose the moments
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import replace
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.errors import PruningError, invalid
from flowprune.core.step import Step
from flowprune.schedules.lr import Rate
from flowprune.train.callbacks import Callback
from flowprune.train.evaluation import Objective, trainable
from flowprune.train.forward import Forward
from flowprune.train.state import State
from flowprune.train.tally import Tally

LOOK = 50
"""On a CUDA device the loss is looked at every so many steps, and at an epoch's end: each look waits for the device."""


class SizedBatches(Protocol):
    """Batches with a known number: a list, a ``DataLoader``, or :class:`flowprune.data.Batches`."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


@runtime_checkable
class Startable(Protocol):
    """Batches that can begin in the middle without computing the ones before."""

    def starting(self, first: int) -> Iterator[Any]:
        """From batch number ``first`` on."""
        ...


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    data: SizedBatches | Callable[[int], SizedBatches],
    *,
    objective: Objective,
    epochs: str | Step,
    rate: Rate | None = None,
    callbacks: Sequence[Callback] = (),
    start: str | Step = "0ep",
) -> State:
    """Train in place until ``epochs`` is reached, and return the last state; the module's docstring shows the loop.

    A callback may change the model in place, also to fewer channels with new, smaller parameters, as long as the
    optimizer's param_groups follow: the loop holds no parameters of its own.

    Resuming: with the model's and the optimizer's state of ``state.step`` restored, ``fit(start=state.step)``
    continues bit for bit (on a CPU) as if it had never stopped, because ``data(epoch)`` depends on the epoch alone.
    Callbacks have run at ``start`` already and do not run there again: save in the last one of them.

    Args:
        model: Trained in place; left in train mode.
        optimizer: Of the model's parameters.
        data: Called with an epoch from 0, such as ``training_batches(...).at``; or the batches of every epoch.
        objective: (forward, batch) -> scalar mean loss.
        epochs: When to stop, counted from the very start: ``"160ep"`` or ``"500it"``.
        rate: The learning rate of each step (see :mod:`flowprune.schedules.lr`); None leaves the optimizer's own.
        callbacks: Called with a :class:`State` after each step.
        start: Where to begin.

    Assumes: an epoch has the same number of batches each time. A model with dropout also draws from PyTorch's
    global generator, whose state the caller has to restore for an exact resume.

    Raises:
        ValueError: no batches, an iterator in their place, an empty batch, ``start`` after ``epochs``, or an objective
            that gives no scalar, or none that depends on the model.
        PruningError: the loss is NaN or infinite (before the optimizer's step; on a CUDA device up to :data:`LOOK`
            steps later, never after an epoch's end), or an epoch has another length.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> def loss(forward, batch):  # gradient 2w, so one step halves w at a learning rate of 1/4
        ...     return (forward(batch[0]) ** 2).mean()
        >>> data = [(torch.ones(1, 1), torch.zeros(1))]
        >>> end = fit(model, torch.optim.SGD(model.parameters(), lr=0.25), data, objective=loss, epochs="3ep")
        >>> model.weight.item(), end.epoch
        (0.125, 3)
    """
    of_epoch = data if callable(data) else partial(_same, data)
    per_epoch = _per_epoch(of_epoch(0))
    first, last = Step.parse(start).iterations(per_epoch), Step.parse(epochs).iterations(per_epoch)
    if first > last:
        raise invalid("fit(start=)", f"no later than epochs={epochs}", str(start))
    state = State(model, optimizer, first, per_epoch, Tally(), None, _rate_of(optimizer), 0.0)
    if first == 0:
        _tell(callbacks, state)
    while state.iteration < last:
        model.train()
        state = replace(state, tally=Tally(), seconds=0.0)
        for batch in _remaining(of_epoch(state.epoch), state, last):
            if rate is not None:
                _set_rate(optimizer, rate(state.iteration, per_epoch))
            state = _step(state, batch, objective)
            _tell(callbacks, state)
    return state


def _step(state: State, batch: Any, objective: Objective) -> State:
    """One optimizer step, and the state after it."""
    began = perf_counter()
    forward = Forward(state.model, batch)
    loss = trainable(objective, forward, batch)
    if not loss.is_cuda:
        _require_finite(state, loss.detach())
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    last = loss.detach()
    after = replace(
        state,
        iteration=state.iteration + 1,
        tally=state.tally.add(last, forward),
        last=last,
        learning_rate=_rate_of(state.optimizer),
    )
    if loss.is_cuda and (after.epoch_ends or after.iteration % LOOK == 0):
        _require_finite(state, after.tally.total_loss)
    return replace(after, seconds=state.seconds + perf_counter() - began)


def _require_finite(state: State, loss: Tensor | float) -> None:
    """Stop where a loss, or a sum of losses, is NaN or infinite; before it updates a weight, except on CUDA."""
    value = float(loss)
    if math.isfinite(value):
        return
    on_cuda = isinstance(loss, Tensor) and loss.is_cuda
    told = f"It may have happened up to {LOOK} steps before" if on_cuda else "No weight was updated"
    raise PruningError(
        f"fit() stopped: the loss is {value} in epoch {state.epoch + 1}, at iteration {state.iteration + 1} of the "
        f"run (learning rate {_rate_of(state.optimizer)}). {told}. Lower the learning rate, or look "
        "at what was cut before."
    )


def _remaining(batches: SizedBatches, state: State, last: int) -> Iterator[Any]:
    """The batches of the running epoch from this iteration on, not beyond iteration ``last``."""
    if len(batches) != state.per_epoch:
        raise _other_length(state, len(batches))
    done = state.iteration % state.per_epoch
    count = min(state.per_epoch - done, last - state.iteration)
    source = batches.starting(done) if isinstance(batches, Startable) else islice(batches, done, None)
    served = 0
    for batch in islice(source, count):
        yield batch
        served += 1
    if served < count:  # a length that promised more
        raise _other_length(state, done + served)


def _other_length(state: State, length: int) -> PruningError:
    return PruningError(
        f"fit() stopped in epoch {state.epoch + 1}: it has {length} batches, and the first one had "
        f"{state.per_epoch}. Give every epoch the same number of batches."
    )


def _same(batches: SizedBatches, _epoch: int) -> SizedBatches:
    return batches


def _per_epoch(batches: SizedBatches) -> int:
    if not isinstance(batches, Sized):
        todo = "Pass list(...) of it, or a function that makes the batches of an epoch."
        raise invalid(
            "fit(data=)", "batches of known number that can be gone through again", type(batches).__name__, todo
        )
    if len(batches) == 0:
        raise invalid("fit(data=)", "at least one batch per epoch", 0)
    return len(batches)


def _rate_of(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _tell(callbacks: Sequence[Callback], state: State) -> None:
    for callback in callbacks:
        callback(state)
