"""What the corrections of gradient flow explain of real steps."""

from __future__ import annotations

from flowprune.report.shapes.training_flow import Error, TrainingFlow
from flowprune.report.wording import figures, percent

NAMES = {
    "flow": "gradient flow alone (E3)",
    "decay": "with weight decay",
    "step_size": "with the size of the step",
    "effective": "at the effective rate",
    "momentum": "with the momentum buffer",
}
HALF = 0.5
"""What leaves less than this share explains most."""
LEAST = 1e-4
"""An error below this is rounding, and drawn as this: an axis down to it would hide the others."""
MISSES = " Gradient flow alone misses most of the change."
NO_NEARER = " Momentum taken for a larger rate comes no nearer by half."


def say(records: TrainingFlow) -> str:
    """The typical error of each prediction, in the order of the corrections, and which of them matters."""
    if not records.errors:
        return "No change that was followed differs from 0, so no prediction has a relative error."
    moments = max(error.n for error in records.errors)
    runs = f"{records.runs} run{'' if records.runs == 1 else 's'}"
    parts = [f"{NAMES[error.prediction]} {_percent(error.median)}{_sign(error)}" for error in records.errors]
    return (
        f"Typical error of the predicted change of ‖θ‖² over the optimizer's own steps ({moments} moments of {runs}):"
        f" {', '.join(parts)}; the norm grew at {percent(records.rises, 0)} of them.{_verdict(records)}"
    )


def _percent(share: float) -> str:
    return f"{figures(share, 2)} times the change" if share >= 10 else f"{figures(100 * share, 2)} %"


def _sign(error: Error) -> str:
    return "" if error.same_sign == 1 else f" (sign right in {percent(error.same_sign, 0)})"


def _verdict(records: TrainingFlow) -> str:
    """What flow alone explains, and which prediction is nearest without knowing the momentum buffer."""
    known = {error.prediction: error for error in records.errors}
    flow, rate = known.get("flow"), known.get("effective")
    words = ""
    if flow is not None:
        words = " Gradient flow alone explains most of the change." if flow.median < HALF else MISSES
    others = [error.median for name, error in known.items() if name not in ("effective", "momentum")]
    if rate is not None and others:
        nearer = rate.median < HALF * min(others)
        words += " Momentum taken for a larger rate explains most of what they miss." if nearer else NO_NEARER
    return words


def caption(records: TrainingFlow) -> str:
    """The formulas, and what was followed."""
    steps = " or ".join(map(str, records.steps)) or "some"
    return (
        f"Change of N = ‖θ‖² over {steps} steps of SGD after the epoch, with each batch's own gradient g, rate η, decay"
        " λ, momentum μ and buffer v. Flow: −2ηθᵀg. With decay: −2η(θᵀg + λN). With the size of the step: that plus"
        " η²‖g + λθ‖². Effective rate: the same at η / (1 − μ). With the momentum buffer: −2ηθᵀv + η²‖v‖², exact up to"
        f" rounding. Left: {records.config}, means over seeds. Right: median over all runs of |predicted − measured| /"
        f" |measured|, drawn as {100 * LEAST:g} % where it is less; typical: the median over all moments."
    )
