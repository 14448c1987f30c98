"""What predicted against measured changes show."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.shapes.cuts import Cut, Cuts, by_size, fit, skill
from flowprune.report.wording import FIRST, figures, percent


def say(records: Cuts) -> str:
    """How the first order ranks and sizes the changes, and where it fails."""
    loss = _rank(records.loss, "changes of the loss (E6)")
    gradient = _rank(records.gradient, "those of the squared gradient norm (E7)" if loss else "changes of ‖g‖² (E7)")
    parts = [part for part in (loss, gradient) if part]
    if not parts:
        return "No cut changed anything that was measured."
    signs = _signs(records.loss, "the loss") + _signs(records.gradient, "‖g‖²")
    return f"The first-order prediction ranks {' and '.join(parts)}.{signs}{_size(records.loss)}"


def _rank(found: Sequence[Cut], what: str) -> str:
    known = fit(found)
    if known is None:
        return ""
    rank = "undefined" if known.rank is None else f"{known.rank:.2f}".replace("-", "−")
    return f"{what} with a rank correlation of {rank} (n = {known.n} cuts)"


def _signs(found: Sequence[Cut], what: str) -> str:
    """How often the sign is right, over all cuts and by measure, each beside a guess that knows nothing of the cut."""
    if not found:
        return ""
    whole = skill([(cut.predicted, cut.measured) for cut in found])
    by_name: dict[str, list[Cut]] = {}
    for cut in sorted(found, key=lambda cut: FIRST.index(cut.config.measure) if cut.config.measure in FIRST else 9):
        by_name.setdefault(cut.config.name, []).append(cut)
    parts = [f"{name} {_beside(own)}" for name, own in by_name.items()]
    each = f"; by measure, with that guess in brackets: {', '.join(parts)}" if len(parts) > 1 else ""
    return f" Of {what}: {whole.words}{each}."


def _beside(found: Sequence[Cut]) -> str:
    own = skill([(cut.predicted, cut.measured) for cut in found])
    return f"{percent(own.right, 0)} ({percent(own.base, 0)})"


def _size(found: Sequence[Cut]) -> str:
    split = by_size(found)
    whole = fit(found)
    if whole is None:
        return ""
    if split is None or (small := fit(split[1])) is None or (big := fit(split[2])) is None:
        return f" Its typical error is {_error(whole.median_error)} of the measured change of the loss."
    limit = percent(split[0], 0)
    verdict = ", so it does not give the size of a big cut" if big.median_error > 0.5 else ""
    return (
        f" Its typical error is {_error(small.median_error)} of the measured change of the loss where a cut took less"
        f" than {limit} of the units present, and {_error(big.median_error)} where it took more{verdict}."
    )


def _error(share: float) -> str:
    return f"{figures(share, 2)} times" if share >= 10 else f"{100 * share:.0f} %"


def caption(records: Cuts) -> str:
    """Equations, units and what a point is."""
    first = records.loss or records.gradient
    return (
        "E6: removing the units p changes the loss by −Σθg over their weights; E7: it changes ‖g‖² by −2Σθ(Hg). Both"
        " are first-order: they hold for small removals. Measured: on the same batches with the units at zero, before"
        f" any further training. One point for each cut ({len(first)}); rank correlation: Spearman, pooled over"
        " measures, rounds and seeds, whose cuts are not independent. Typical: median. Unit of the loss: nats."
    )
