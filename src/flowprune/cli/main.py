"""The application: which commands there are."""

from __future__ import annotations

import os
import warnings
from typing import Annotated

import typer

from flowprune.cli.analyse import analyse
from flowprune.cli.collect import collect
from flowprune.cli.demo import demo
from flowprune.cli.doctor import doctor
from flowprune.cli.download import download
from flowprune.cli.errors import DEBUG, told
from flowprune.cli.headings import Headed
from flowprune.cli.listing import list_names
from flowprune.cli.prune import prune
from flowprune.cli.report import report
from flowprune.cli.run import run
from flowprune.cli.score import score
from flowprune.cli.sweep import sweep
from flowprune.cli.verify import verify
from flowprune.core.version import __version__

COMMANDS = {
    "demo": demo,
    "doctor": doctor,
    "download": download,
    "list": list_names,
    "score": score,
    "prune": prune,
    "run": run,
    "sweep": sweep,
    "collect": collect,
    "report": report,
    "analyse": analyse,
    "verify": verify,
}
RESUMING = ("run", "sweep")
"""Commands that go on from where they were stopped."""


def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Prune neural networks early in training, and see why it works."""
    if debug:
        os.environ[DEBUG] = "1"
    if version:
        typer.echo(__version__)
        raise typer.Exit


def application() -> typer.Typer:
    """The typer application, built when it is called for."""
    # Plain help: rich would take longer to import than all the rest.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.callback(invoke_without_command=True, no_args_is_help=True)(options)
    for name, command in COMMANDS.items():
        app.command(name, cls=Headed if name == "prune" else None)(told(command, resumes=name in RESUMING))
    return app


def main() -> None:
    """Run the command line; a warning is one line of it."""
    warnings.formatwarning = _told
    application()(prog_name="flowprune")


def _told(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning without the place in the code that gave it."""
    del category, filename, lineno, line
    return f"Note: {message}\n"
