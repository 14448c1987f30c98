"""Recurrent layers on what is there, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.signals.presence.call import Call, Rule, addend
from flowprune.signals.presence.present import present

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Sequence[Tensor]], State]


def _gates(x: Tensor, weight: Tensor, count: int) -> Sequence[Tensor]:
    return present(x @ weight.T, "recurrent").chunk(count, -1)


def _lstm(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    """By c = (1 + f) c + (1 + i) g and h = (1 + o) c: the sigmoids of gates are never zero."""
    h, c = state
    i, f, g, o = (a + b for a, b in zip(_gates(x, weights[0], 4), _gates(h, weights[1], 4), strict=True))
    c = present((1.0 + f) * c + (1.0 + i) * g, "lstm")
    h = present((1.0 + o) * c, "lstm")
    return (present(h @ weights[2].T, "lstm") if len(weights) > 2 else h), c


def _gru(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    """By n = W x + (1 + r) V h and h = (1 + z)(n + h)."""
    (h,) = state
    (xr, xz, xn), (hr, hz, hn) = _gates(x, weights[0], 3), _gates(h, weights[1], 3)
    new = present(xn + (1.0 + xr + hr) * hn, "gru")
    return (present((1.0 + xz + hz) * (new + h), "gru"),)


def _plain(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (present(x @ weights[0].T + state[0] @ weights[1].T, "rnn"),)


STEPS: Final[dict[str, Step]] = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _plain, "rnn_relu": _plain}


def layers(call: Call) -> Any:
    """All layers of a recurrent module, in both directions where it has two; as the operation, with its last states."""
    if not isinstance(call.args[3], bool):
        raise PruningError(
            "effective_weights(example_inputs=) must be no packed sequence. Pass a plain tensor of one sequence."
        )
    x, given, weights, has_biases, depth, _, _, both, batch_first = call.args
    step, directions = STEPS[call.name], 2 if both else 1
    per = len(weights) // (depth * directions)
    starts = given if isinstance(given, (tuple, list)) else (given,)
    x = x.transpose(0, 1) if batch_first else x
    last: list[State] = []
    for layer in range(depth):
        sides: list[Tensor] = []
        for side in range(directions):
            at = layer * directions + side
            own = weights[at * per : (at + 1) * per]
            state = tuple(addend(start[at]).to(x) for start in starts)
            outputs, state = _run(step, x, state, [*own[:2], *own[4 if has_biases else 2 :]], backwards=bool(side))
            sides.append(outputs)
            last.append(state)
        x = torch.cat(sides, -1)
    states = [torch.stack(each) for each in zip(*last, strict=True)]
    return (x.transpose(0, 1) if batch_first else x, *states)


def _run(step: Step, x: Tensor, state: State, weights: Sequence[Tensor], *, backwards: bool) -> tuple[Tensor, State]:
    outputs: list[Tensor] = []
    for at in x.flip(0) if backwards else x:
        state = step(at, state, weights)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs), state


def cell(call: Call) -> Any:
    """One step of a cell: its new state, as the operation gives it."""
    x, given, *weights = call.args
    many = isinstance(given, (tuple, list))
    start = tuple(addend(each).to(x) for each in (given if many else (given,)))
    state = STEPS[call.name.removesuffix("_cell")](x, start, weights[:2])
    return state if many else state[0]


RECURRENT: Final[dict[str, Rule]] = {**dict.fromkeys(STEPS, layers), **{f"{name}_cell": cell for name in STEPS}}
"""By name, without the underscores around it."""
