"""One red line instead of a traceback, for what a person can mend."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import typer

from flowprune.core.errors import PruningError

DEBUG = "FLOWPRUNE_DEBUG"


def told(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors that a person can mend printed as one red line and exit code 2.

    An error of many lines is cut to its first three. Anything else, and everything under ``--debug``, keeps its
    traceback.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.secho("Stopped. What was finished stays; the same command goes on from there.", err=True)
            raise typer.Exit(130) from None
        except (ValueError, PruningError, OSError) as error:
            if os.environ.get(DEBUG):
                raise
            lines = str(error).splitlines()
            more = [f"... and {len(lines) - 3} lines more; --debug shows them."] if len(lines) > 3 else []
            typer.secho("\n".join([*lines[:3], *more]), fg="red", err=True)
            raise typer.Exit(2) from None

    return run
