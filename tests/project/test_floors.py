"""A package imports only strictly lower floors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import flowprune

ROOT = Path(flowprune.__file__).parent
FLOORS = (
    {"core"},
    {"objectives", "models", "data", "schedules"},
    {"signals"},
    {"masks", "structure"},
    {"measures"},
    {"train"},
    {"prune"},
    {"analysis", "artefacts", "plan"},
    {"data_pruning", "robust", "continual"},
    {"experiments"},
    {"report"},
    {"cli"},
)


def imported_packages(tree: ast.Module) -> Iterator[str]:
    """The second dotted part of every import of the package, also of those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "flowprune":
            names = [f"flowprune.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("flowprune."))


def violations(root: Path) -> Iterator[str]:
    floor_of = {name: level for level, names in enumerate(FLOORS) for name in names}
    for path in sorted(root.rglob("*.py")):
        importer = path.relative_to(root).parts[0].removesuffix(".py")
        if importer in ("__init__", "__main__"):  # the root names everything, lazily; python -m runs the top
            continue
        for imported in imported_packages(ast.parse(path.read_text(encoding="utf-8"))):
            if importer != imported and floor_of.get(imported, 99) >= floor_of.get(importer, -1):
                yield f"{path.relative_to(root)}: {importer} may not import {imported}"


def test_imports_go_down():
    assert list(violations(ROOT)) == []


def test_every_package_has_a_floor():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set().union(*FLOORS)


def test_relative_imports_are_not_used():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}
    relative = [p for p, tree in trees.items() for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    assert relative == []


def test_a_violation_is_found(tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "a.py").write_text("def f():\n    from flowprune.cli import main\n")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "b.py").write_text("from flowprune import structure, core\n")
    assert list(violations(tmp_path)) == [
        "core/a.py: core may not import cli",
        "masks/b.py: masks may not import structure",
    ]
