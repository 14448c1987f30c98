"""Sizes, names and what a package shows."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import statistics
from pathlib import Path

import pytest

import flowprune

ROOT = Path(flowprune.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
PACKAGES = sorted(path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("*/__init__.py"))
FUNCTIONS = [
    (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node)
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the end, the docstring not counted."""
    first = node.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if docstring else 0)


def test_no_file_is_long():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}
    assert statistics.median(lengths.values()) <= 150


def test_no_function_is_long():
    lengths = {name: lines_of_code(node) for name, node in FUNCTIONS}
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert statistics.median(lengths.values()) <= 15


def test_file_names_are_concepts():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [path for path in FILES if path.stem in vague or re.search(r"_v\d+$", path.stem)] == []


def test_nothing_needs_torchvision():
    imported = {
        name.split(".")[0]
        for tree in TREES.values()
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "torchvision" not in imported
    assert "torch" in imported  # the search does see imports


def test_nothing_is_left_for_later():
    words = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError|type: ignore|pragma: no cover)\b")
    found = [str(path.relative_to(ROOT)) for path in FILES if words.search(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_shows_what_it_says(package):
    """Every name of ``__all__`` is there, once, in order; every name imported for show is in ``__all__``."""
    module = importlib.import_module(f"flowprune.{package}")
    tree = TREES[ROOT / package / "__init__.py"]
    shown = list(getattr(module, "__all__", []))
    assert len(shown) == len(set(shown))
    for name in shown:
        assert getattr(module, name) is not None, name
    top = [*tree.body, *(inner for node in tree.body if isinstance(node, ast.If) for inner in node.body)]
    imported = {
        alias.asname or alias.name
        for node in top
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"flowprune.{package}")
        for alias in node.names
    }
    assert imported <= set(shown)


def test_the_root_shows_what_it_says():
    assert len(flowprune.__all__) == len(set(flowprune.__all__))
    for name in flowprune.__all__:
        assert getattr(flowprune, name) is not None, name
    assert sorted(flowprune.__all__) == sorted(set(dir(flowprune)))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_say_what_they_are(package):
    module = importlib.import_module(f"flowprune.{package}")
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert (value.__doc__ or "").strip(), f"{package}.{name} has no docstring"
