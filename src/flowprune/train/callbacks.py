"""When a callback runs. The loop calls every callback at every moment; these let it through at some of them."""

from __future__ import annotations

from typing import Protocol

from flowprune.core.errors import invalid
from flowprune.core.step import Step
from flowprune.train.state import State


class Callback(Protocol):
    """Anything that is called with a :class:`State`: a function, or an object that keeps something.

    It may read all of the state, and change the model and the optimizer in it.
    """

    def __call__(self, state: State, /) -> None:
        """Called at one moment of training."""
        ...


def every(period: str | Step, callback: Callback) -> Callback:
    """At each multiple of the period; not before the first step.

    Raises:
        ValueError: a period of zero.

    Example:
        ``every("1ep", recorder)`` runs at the end of each epoch, ``every("100it", log)`` each hundred steps.
    """
    interval = Step.parse(period)
    if interval.count == 0:
        raise invalid("every(period=)", "longer than nothing", str(interval))

    def sometimes(state: State) -> None:
        if state.iteration > 0 and state.iteration % interval.iterations(state.per_epoch) == 0:
            callback(state)

    return sometimes


def at(moment: str | Step, callback: Callback) -> Callback:
    """Once, after that many epochs or steps; ``at("0it", ...)`` runs before the first step.

    Example:
        ``at("5ep", prune)`` runs when five epochs are over.
    """
    step = Step.parse(moment)

    def once(state: State) -> None:
        if state.iteration == step.iterations(state.per_epoch):
            callback(state)

    return once


def chain(*callbacks: Callback) -> Callback:
    """Several callbacks as one, in this order.

    Example:
        ``every("1ep", chain(prune, recorder))`` records the network as it is after the cut.
    """

    def each(state: State) -> None:
        for callback in callbacks:
            callback(state)

    return each
