"""Errors of the library, as the command line says them: options stand in place of the arguments that they became."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, get_args, get_type_hints

from typer.models import OptionInfo

BEGINNING: Final = re.compile(r"(?P<function>[A-Za-z_][\w.]*)\((?:'\w+', )?(?P<argument>\w*)(?:=, \w+)*=?\)")
"""How an error names an argument: ``select(sparsity=)``, ``NM(n=, m=)``, ``score('magnitude', granularity=)``."""
OF_FUNCTION: Final = {
    "Budget": "budget",
    "Budget.parse": "budget",
    "NM": "granularity",
    "Blocks": "granularity",
    "from_transformers": "model",
}
"""Functions of which every argument comes from one option."""
OF_ARGUMENT: Final = {
    "schedule": "rounds",
    "model_factory": "model",
    "ablations": "ablate",
    "options": "schedule_option",
}
"""Arguments by another name than their option; ``--schedule`` itself is a word that is looked up before."""


def in_options(said: str, command: Callable[..., Any]) -> str:
    """What an error says, with the option that is meant where it begins with an argument of a function.

    Args:
        said: By an error.
        command: Whose options are searched; an argument that none of them stands for stays as it is.

    Example:
        >>> from flowprune.cli.prune import prune
        >>> in_options("exponential(sparsity=) must be in [0, 1); got 2.0.", prune)
        '--sparsity must be in [0, 1); got 2.0.'
        >>> in_options("Budget.parse(text=) must be UNIT=NUMBER", prune)
        '--budget must be UNIT=NUMBER'
        >>> in_options("trace(model=) is not told of here", len)
        'trace(model=) is not told of here'
    """
    found = BEGINNING.match(said)
    if found is None:
        return said
    argument = OF_FUNCTION.get(found["function"]) or OF_ARGUMENT.get(found["argument"], found["argument"])
    option = _options(command).get(argument)
    return said if option is None else option + said[found.end() :]


def _options(command: Callable[..., Any]) -> dict[str, str]:
    """The options of a command by the name of its parameter."""
    try:
        hints = get_type_hints(command, include_extras=True)
    except (TypeError, NameError):
        return {}
    infos = {name: info for name, hint in hints.items() for info in get_args(hint) if isinstance(info, OptionInfo)}
    return {name: option for name, info in infos.items() if (option := _long(info)) is not None}


def _long(info: OptionInfo) -> str | None:
    """The option as it is typed; before the application is built, the first word stands where a default would."""
    words = (info.default, *(info.param_decls or ()))
    return next((word for word in words if isinstance(word, str) and word.startswith("--")), None)
