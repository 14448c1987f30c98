"""Specs that come with the package, one TOML file each; read when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec

NAMES = (
    "demo",
    "depth",
    "init_small",
    "laurent2020-mlp",
    "laurent2020-mlp-small",
    "laurent2020-preact-resnet18",
    "laurent2020-vgg11",
    "laurent2020-vgg11-small",
    "lubana2021",
    "lubana2021_small",
    "smoke",
)

PRESETS: Index[Spec] = Index("PRESETS", {name: f"{__name__}:{name}" for name in NAMES})
"""Specs by name."""


def __getattr__(name: str) -> Spec:
    """The preset of this name, read from its file (what the index asks this module for)."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pathlib import Path

    from flowprune.experiments.spec import read

    return read(Path(__file__).with_name(f"{name}.toml"))
