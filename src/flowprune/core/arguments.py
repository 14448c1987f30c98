"""Calling a function by name with arguments that came from outside, such as a spec or a command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import TypeVar

from flowprune.core.errors import invalid

T = TypeVar("T")


def call(where: str, function: Callable[..., T], given: Mapping[str, object]) -> T:
    """``function(**given)``, with an error that lists the accepted names where one is wrong or missing.

    Raises:
        ValueError: a name that the function does not take, or a missing one without a default.

    Example:
        >>> call("power", pow, {"base": 2, "exp": 3})
        8
    """
    parameters = signature(function).parameters
    extra = sorted(set(given) - set(parameters))
    missing = [name for name, p in parameters.items() if p.default is Parameter.empty and name not in given]
    if extra or missing:
        problem = f"with {', '.join(extra)}" if extra else f"without {', '.join(missing)}"
        raise invalid(where, f"given its own arguments ({', '.join(parameters)})", problem)
    return function(**given)
