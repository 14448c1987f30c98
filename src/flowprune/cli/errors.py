"""One red line instead of a traceback, for what a person can mend."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import typer

from flowprune.cli.option_names import in_options
from flowprune.cli.own_code import DEBUG_HINT, place_of, words
from flowprune.core.errors import PruningError

DEBUG = "FLOWPRUNE_DEBUG"


RESUMED = "What was finished stays; the same command goes on from there."


def told(command: Callable[..., None], *, resumes: bool = False) -> Callable[..., None]:
    """The command, with errors that a person can mend printed as one red line and exit code 2.

    An error of many lines is cut to its first three. What the user's own code raised is such an error too. Anything
    else, and everything under ``--debug``, keeps its traceback.

    Args:
        command: Is called.
        resumes: Whether it goes on from where it was stopped when it is given again.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.secho(f"Stopped. {RESUMED}" if resumes else "Stopped before it was finished.", err=True)
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            said = _said(error, command)
            if said is None or os.environ.get(DEBUG):
                raise
            lines = said.splitlines()
            more = [f"... and {len(lines) - 3} lines more; --debug shows them."] if len(lines) > 3 else []
            typer.secho("\n".join([*lines[:3], *more]), fg="red", err=True)
            raise typer.Exit(2) from None

    return run


def _said(error: Exception, command: Callable[..., None]) -> str | None:
    """What is printed of an error; None where nobody but a programmer can mend it."""
    if isinstance(error, (ValueError, PruningError, OSError)):
        return in_options(str(error), command)
    if place_of(error) is None:
        return None
    return f"--model must be a model that runs; its code raised {words(error)}. {DEBUG_HINT}"
