"""The runs of the demo: the founding paper's measures, at one and at several rounds, beside dense training."""

from __future__ import annotations

from pathlib import Path

from flowprune.core.errors import invalid
from flowprune.experiments.folder import RunFolder, folders
from flowprune.experiments.spec import Spec
from flowprune.experiments.studies import STUDIES

SEEDS = 32
"""Seeds by which a run with a damaged spec is still known as the demo's."""


def specs(*, seeds: int = 3) -> list[Spec]:
    """Dense and every measure at every number of rounds, for each seed; the longest runs first.

    Example:
        >>> len(specs(seeds=3))
        33
    """
    first = dict.fromkeys(spec.model_copy(update={"seed": 0}) for spec in STUDIES["demo"].specs)
    return [spec.model_copy(update={"seed": seed}) for spec in first for seed in range(seeds)]


def require_own(root: Path) -> None:
    """Raise where a folder holds runs that are not the demo's: its report would mix them in.

    Raises:
        ValueError: naming one of them.
    """
    if not any(root.glob("*/spec.json")):
        return
    own = {spec.run_id for spec in specs(seeds=1)}
    for folder in folders(root):
        if not _is_own(folder, own):
            raise invalid(
                "demo(--runs)",
                "a folder of this demo's runs alone",
                str(folder.path),
                "That is a run of another spec, perhaps of an earlier version: move it away, or choose another folder.",
            )


def _is_own(folder: RunFolder, own: set[str]) -> bool:
    """Whether a run is the demo's, of whichever seed; a damaged spec is judged by the folder's name, its hash."""
    try:
        return folder.spec.model_copy(update={"seed": 0}).run_id in own
    except (ValueError, OSError):
        return folder.path.name in {spec.run_id for spec in specs(seeds=SEEDS)}
