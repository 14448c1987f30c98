"""Learning rates as closures: ``rate(iteration, per_epoch)`` is the rate of the step that comes next.

``iteration`` counts the optimizer steps already taken, from 0; ``per_epoch`` is how many make an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

from flowprune.core.errors import invalid
from flowprune.core.step import Step

Rate = Callable[[int, int], float]


def _positive(where: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise invalid(where, "a finite number > 0", value)
    return float(value)


def constant(value: float) -> Rate:
    """One rate for ever.

    Example:
        >>> constant(0.1)(12345, 10)
        0.1
    """
    rate = _positive("lr.constant(value=)", value)
    return lambda _iteration, _per_epoch: rate


def steps(initial: float, milestones: Mapping[str, float]) -> Rate:
    """A piecewise constant rate: from each milestone on, its value.

    Milestones are moments of training, so ``"80ep"`` is the first step of the 81st epoch.

    Raises:
        ValueError: from the closure, where milestones are not in increasing order.

    Example:
        >>> rate = steps(0.1, {"80ep": 0.01, "120ep": 0.001})
        >>> rate(79, 1), rate(80, 1), rate(1200, 10)
        (0.1, 0.01, 0.001)
    """
    first = _positive("lr.steps(initial=)", initial)
    later = [(Step.parse(at), _positive(f"lr.steps(milestones[{at!r}])", value)) for at, value in milestones.items()]

    def rate(iteration: int, per_epoch: int) -> float:
        starts = [(step.iterations(per_epoch), value) for step, value in later]
        if any(b[0] <= a[0] for a, b in pairwise(starts)):
            raise invalid("lr.steps(milestones=)", "in increasing order", list(milestones))
        return ([first] + [value for start, value in starts if start <= iteration])[-1]

    return rate


def cosine(initial: float, total: str | Step, final: float = 0.0) -> Rate:
    """Half a cosine from ``initial`` to ``final`` over ``total``, and ``final`` after it.

    Formula: final + (initial - final) (1 + cos(pi t / total)) / 2.

    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts.

    Example:
        >>> rate = cosine(0.2, "10ep")
        >>> rate(0, 1), round(rate(5, 1), 12), rate(10, 1)
        (0.2, 0.1, 0.0)
    """
    top, span = _positive("lr.cosine(initial=)", initial), Step.parse(total)
    if span.count == 0 or not 0 <= final <= top:
        raise invalid("lr.cosine()", "given a total > 0 and 0 <= final <= initial", (str(span), final))

    def rate(iteration: int, per_epoch: int) -> float:
        progress = min(iteration / span.iterations(per_epoch), 1.0)
        return final + (top - final) * (1 + math.cos(math.pi * progress)) / 2

    return rate


def warmup(rate: Rate, over: str | Step) -> Rate:
    """Another rate, approached in equal steps during ``over``.

    Formula: rate(t) * min((t + 1) / over, 1).

    Source: Goyal et al. 2017, arXiv 1706.02677.

    Example:
        >>> [warmup(constant(0.4), "4it")(t, 100) for t in range(5)]
        [0.1, 0.2, 0.30000000000000004, 0.4, 0.4]
    """
    ramp = Step.parse(over)
    if ramp.count == 0:
        raise invalid("lr.warmup(over=)", "longer than nothing", str(ramp))

    def warmed(iteration: int, per_epoch: int) -> float:
        return rate(iteration, per_epoch) * min((iteration + 1) / ramp.iterations(per_epoch), 1.0)

    return warmed
