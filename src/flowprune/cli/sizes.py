"""Lists of sizes as the command line writes them."""

from __future__ import annotations

from flowprune.core.errors import invalid


def sizes(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers >= 1 separated by commas.

    Raises:
        ValueError: they are not; the message names the option.

    Example:
        >>> sizes("--input-shape", "3,32,32")
        (3, 32, 32)
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise invalid(option, "whole numbers >= 1 separated by commas", text)
    return tuple(map(int, parts))
