"""The function that builds a model, from the word that a command line has for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import nn


def factory(word: str, dataset: str) -> Callable[[], nn.Module]:
    """``module:function`` of the user's own, found from the current folder too; or a registered name.

    Args:
        word: What ``--model`` got.
        dataset: What a registered model is built for.

    Raises:
        ValueError: no such module or function.
        UnknownNameError: no such registered name.
    """
    if ":" not in word:
        from flowprune import data
        from flowprune.experiments.parts import model_for

        built_for = data.build(dataset)
        return lambda: model_for(word, built_for, seed=0)
    module, _, name = word.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise invalid("--model", "a name of: flowprune list models, or module:function", word, f"{error}.") from None
    if not callable(found):
        raise invalid("--model", "module:function that builds the model", f"{word} ({type(found).__name__})")
    return cast("Callable[[], nn.Module]", found)
