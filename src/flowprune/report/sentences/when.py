"""What the events that first cuts waited for show."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.shapes.when import Wait, When
from flowprune.report.wording import plain


def say(records: When) -> str:
    """For each event, after which epochs it fired, whether of itself, and when the first cut came."""
    return " ".join(_event(name, waits) for name, waits in records.events.items())


def _event(name: str, waits: Sequence[Wait]) -> str:
    fired = [wait.fired for wait in waits if wait.fired is not None]
    runs = f"{len(waits)} run{'' if len(waits) == 1 else 's'}"
    if not fired:
        return f"{_name(name)} did not fire in {runs}.{_forced_cuts(waits)}"
    where = f" in {len(fired)} of {runs}" if len(fired) < len(waits) else f" in all {runs}" if len(waits) > 1 else ""
    return f"{_name(name)} fired after {_epochs(fired)}{where}{_latest(waits)}.{_cuts(waits)}"


def _name(name: str) -> str:
    words = plain(name)
    return words[0].upper() + words[1:]


def _epochs(found: Sequence[int]) -> str:
    low, high = min(found), max(found)
    return f"epoch {low}" if low == high else f"epochs {low} to {high} (median {sorted(found)[len(found) // 2]})"


def _latest(waits: Sequence[Wait]) -> str:
    forced = sum(wait.settled is False for wait in waits if wait.fired is not None)
    which = "" if len(waits) == 1 else f"in {forced} of them "
    return f", {which}only because the latest moment had come" if forced else ""


def _cuts(waits: Sequence[Wait]) -> str:
    delays = {wait.cut - wait.fired for wait in waits if wait.cut is not None and wait.fired is not None}
    if not delays:
        return ""
    return (
        " The first cut followed at once."
        if delays == {0}
        else f" The first cut followed {max(delays)} epochs later at most."
    )


def _forced_cuts(waits: Sequence[Wait]) -> str:
    cuts = [wait.cut for wait in waits if wait.cut is not None]
    return f" They were cut after {_epochs(cuts)}." if cuts else ""


def caption(records: When) -> str:
    """What is drawn."""
    count = sum(len(waits) for waits in records.events.values())
    return (
        f"One line for each run ({count}): what its event read at each look, one look after each wait. Dashed: the"
        " threshold that it is compared with, where it is known. Full mark: the look at which it fired; dotted rule:"
        " the first cut. Early bird and early crop fire below their threshold, stable structure at or above it."
    )
