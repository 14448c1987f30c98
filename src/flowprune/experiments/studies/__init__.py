"""Studies that come with the package: grids of runs under one name, one TOML file each; read when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.experiments.study import Study

NAMES = (
    "demo",
    "depth",
    "init_small",
    "laurent2020-mlp",
    "laurent2020-mlp-adaptive",
    "laurent2020-mlp-small",
    "laurent2020-preact-resnet18",
    "laurent2020-vgg11",
    "laurent2020-vgg11-small",
    "lubana2021",
    "lubana2021_small",
)

STUDIES: Index[Study] = Index("STUDIES", {name: f"{__name__}:{name}" for name in NAMES})
"""Studies by name."""


def __getattr__(name: str) -> Study:
    """The study of this name, read from its file (what the index asks this module for)."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pathlib import Path

    from flowprune.experiments.study import read_study

    return read_study(Path(__file__).with_name(f"{name}.toml"))
