"""Models by a word of the command line: ``module:factory`` of the user's own, and ``hf:`` for those of transformers."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flowprune.cli.own_code import called, failed, place_of
from flowprune.core.errors import PruningError, invalid

if TYPE_CHECKING:
    from torch import nn

HF = "hf:"
RULE = "module:factory, hf:..., or a name of: flowprune list models"


@dataclass(frozen=True, eq=False)
class Outside:
    """A model that is in no index.

    Attributes:
        model: The model.
        example: What it is called with; None where nothing says so.
        recipe: Python that builds it.
    """

    model: nn.Module
    example: object
    recipe: str


def is_outside(word: str) -> bool:
    """Whether ``--model`` names a model that is in no index: it has a colon.

    Example:
        >>> is_outside("resnet56"), is_outside("hf:vit"), is_outside("package.module:build")
        (False, True, True)
    """
    return ":" in word


def build(word: str, *, seed: int, shape: tuple[int, ...] | None = None) -> Outside:
    """Build a model from outside, and inputs for it.

    Inputs are what the module's own ``example_inputs()`` gives, what the configuration of transformers says, or random
    numbers of the shape that was named.

    Raises:
        ValueError: no such module, attribute, folder or family, or what is built is no ``nn.Module``.
    """
    from torch import nn

    from flowprune.models.hugging_face import example_inputs
    from flowprune.models.initial import initial_weights

    if word.startswith(HF):
        return _of_transformers(word, seed=seed, shape=shape)
    module, make = find(word)
    with initial_weights(seed):
        model = called(word, make)
    if not isinstance(model, nn.Module):
        raise invalid("--model", "module:factory that returns an nn.Module", f"{word} -> {type(model).__name__}")
    own = getattr(module, "example_inputs", None)
    name, attribute = word.split(":")
    call = "" if isinstance(getattr(module, attribute), nn.Module) else "()"
    recipe = f"    import flowprune as fp\n    from {name} import {attribute}\n    model = {attribute}{call}\n"
    if shape is None and callable(own):
        return Outside(model, called(f"{name}:example_inputs", own), recipe)
    if hasattr(model, "main_input_name") and hasattr(model, "config"):
        return Outside(model, example_inputs(model, shape, seed=seed), recipe)
    return Outside(model, None if shape is None else _drawn(shape, seed), recipe)


def factory(word: str, dataset: str) -> Callable[[], nn.Module]:
    """What builds the dense model of a word that ``--model`` got, without inputs for it; seed 0.

    Args:
        word: A registered name too.
        dataset: What a registered model is built for.

    Raises:
        UnknownNameError: no such registered name or dataset.
        ValueError: as :func:`find`.
    """
    if not is_outside(word):
        from flowprune import data
        from flowprune.experiments.parts import model_for

        built_for = data.build(dataset)
        return lambda: model_for(word, built_for, seed=0)
    if word.startswith(HF):
        where, fields = _configured(word)
        return lambda: _from_transformers(word, where, seed=0, fields=fields)
    make = find(word)[1]
    return lambda: called(word, make)


def find(word: str) -> tuple[ModuleType, Callable[[], Any]]:
    """The module and the function of ``module:factory``; also found from the current folder.

    Raises:
        ValueError: there is no such module or attribute, or it cannot be called without arguments.
    """
    name, _, attribute = word.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as python -m does; not taken away, since a forward pass may import more
        sys.path.insert(0, here)
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:
        raise _not_imported(word, name, error) from error
    made = getattr(module, attribute, None) if attribute else None
    if made is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        todo = f"{module.__name__} has no {attribute!r}; it has {', '.join(known[:8]) or 'nothing to call'}."
        raise invalid("--model", RULE, word, todo)
    return module, _callable(word, made)


def _not_imported(word: str, name: str, error: BaseException) -> ValueError:
    """Why a module could not be imported: it is not there, something that it imports is not, or its code raised."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing != name and not name.startswith(f"{missing}."):
        return invalid("--model", "a module that can be imported", word, f"It imports {missing}, not there.")
    if isinstance(error, ModuleNotFoundError) or (isinstance(error, ValueError) and place_of(error) is None):
        return invalid("--model", RULE, word, f"There is no module {name!r}, in {Path.cwd()} or installed.")
    return failed(word, "a module that can be imported", error)


def _callable(word: str, made: Any) -> Callable[[], Any]:
    """What builds the model: a function or class, or a model that is there already."""
    from torch import nn

    if isinstance(made, nn.Module):
        return lambda: made
    if not callable(made):
        raise invalid("--model", "module:factory that can be called", f"{word}, of type {type(made).__name__}")
    required = [
        each.name
        for each in signature(made).parameters.values()
        if each.default is Parameter.empty and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    ]
    if required:
        todo = "Write a function without arguments that calls it."
        raise invalid("--model", "a factory that needs no arguments", f"{word}({', '.join(required)})", todo)
    return made


def _of_transformers(word: str, *, seed: int, shape: tuple[int, ...] | None) -> Outside:
    from flowprune.models.hugging_face import example_inputs

    where, fields = _configured(word)
    model = _from_transformers(word, where, seed=seed, fields=fields)
    given = "".join(f", {name}={value!r}" for name, value in fields.items())
    recipe = f"    import flowprune as fp\n    model = fp.models.from_transformers({where!r}{given})\n"
    return Outside(model, example_inputs(model, shape, seed=seed), recipe)


def _from_transformers(word: str, where: str, *, seed: int, fields: dict[str, object]) -> nn.Module:
    """The model; what its code raises on values that it cannot take is told like the errors of a factory."""
    from flowprune.models.hugging_face import from_transformers

    try:
        return from_transformers(where, seed=seed, **fields)
    except (ValueError, PruningError):
        raise
    except Exception as error:
        raise failed(word, "a model that transformers can build", error) from error


def _configured(word: str) -> tuple[str, dict[str, object]]:
    """``hf:WHERE,field=value,...``: a folder, a config.json or a family, with fields of its configuration."""
    where, *pairs = word.removeprefix(HF).split(",")
    fields: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise invalid("--model", "hf:WHERE,field=value,...", word, f"{pair!r} has no '='.")
        fields[name.strip()] = _value(value.strip())
    return where, fields


def _value(text: str) -> object:
    """A number, a boolean, None or a list, as Python or JSON writes it; a word otherwise."""
    words: dict[str, object] = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _drawn(shape: tuple[int, ...], seed: int) -> object:
    import torch

    from flowprune.core.seeds import stream

    return torch.randn(2, *shape, generator=stream(seed, "example inputs"))
