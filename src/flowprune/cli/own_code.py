"""The user's own code, run by a command: what it raises is one line that says where, not a traceback of the library."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
LIBRARY = tuple(
    str(Path(place).resolve())
    for place in (Path(__file__).parents[1], *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
)
"""Where code is that is not the user's: this library's, Python's, and what is installed."""
DEBUG_HINT = "flowprune --debug, before the command, shows the traceback."


def called(word: str, make: Callable[[], T]) -> T:
    """What a factory of the user's returns.

    Raises:
        ValueError: in place of whatever it raised, which is its cause; with the line of the user's code.
    """
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise failed(word, "a factory that runs", error) from error


def failed(word: str, rule: str, error: BaseException) -> ValueError:
    """The error of the command line for one that the user's code raised.

    Args:
        word: What ``--model`` got.
        rule: What the code must be.
        error: What it raised.

    Example:
        >>> print(failed("my:net", "a factory that runs", KeyError("a")))  # doctest: +ELLIPSIS
        --model must be a factory that runs; my:net raised KeyError: 'a'. flowprune --debug, before the command, ...
    """
    return ValueError(f"--model must be {rule}; {word} raised {words(error)}. {DEBUG_HINT}")


def words(error: BaseException) -> str:
    """An error in one line: its type, what it says, and the user's line of code that raised it.

    Example:
        >>> words(KeyError("a"))
        "KeyError: 'a'"
    """
    lines = str(error.msg if isinstance(error, SyntaxError) else error).strip().splitlines()
    said = " ".join(line.strip() for line in lines[:2]).rstrip(".")
    place = place_of(error)
    return f"{type(error).__name__}{said and f': {said}'}{'' if place is None else f' ({place})'}"


def place_of(error: BaseException) -> str | None:
    """File and line of the user's code that an error came through last; None where it came through none."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{Path(file).name}:{line}" for file, line in frames if _is_own(file)]
    return own[-1] if own else None


def _is_own(file: str) -> bool:
    if file.startswith("<"):
        return False
    return not any(Path(file).resolve().is_relative_to(place) for place in LIBRARY)
