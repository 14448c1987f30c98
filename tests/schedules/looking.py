"""Looks made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowprune.schedules import Event, Look


def masked(count: int, mask: Mapping[str, str], movement: float | None = None) -> Look:
    """A look at a mask told by layer in zeros and ones."""
    text = "".join(mask.values())
    padded = text.ljust((len(text) + 7) // 8 * 8, "0")
    bits = bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))
    kept = tuple(layer.count("1") for layer in mask.values())
    return Look(count, bits=bits, units=len(text), layers=tuple(mask), kept=kept, movement=movement)


def kept(count: int, *widths: int, of: int = 10) -> Look:
    """A look at layers of equal size, each of which keeps its first so many units."""
    return masked(count, {f"layer{i}": "1" * n + "0" * (of - n) for i, n in enumerate(widths)})


def shown(event: Event, looks: Iterable[Look]) -> Event:
    """The event after the looks."""
    for look in looks:
        event = event.see(look)
    return event
