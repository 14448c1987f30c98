"""What a spec may ask for of a network that is pruned before its first step, and what only of one that trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.experiments.settings import PruneSpec
    from flowprune.experiments.spec import Spec

ONLY_IN_TRAINING: Final = ("rounds", "start", "every", "when", "latest", "resampled")
ONLY_BEFORE: Final = ("recipe", "iterations", "ablations", "score_on", "rescale")
HELD: Final = ("weights", "nm", "blocks")
"""Granularities whose units stay in the model."""


def require_initial(where: str, spec: Spec, cut: PruneSpec) -> None:
    """Raise where a spec that prunes before training says what is done in training, or makes the model smaller.

    Raises:
        ValueError: naming the field.
    """
    _require_unasked(where, cut, ONLY_IN_TRAINING, "prune.at='init'")
    if cut.granularity.partition(":")[0] not in HELD:
        todo = "Set prune.granularity='weights', or cut channels in training."
        raise invalid(
            f"{where}(prune.granularity)", f"one of {', '.join(HELD)} with prune.at='init'", cut.granularity, todo
        )
    if spec.reference_compat or cut.residual != "coupled":
        got = f"prune.residual={cut.residual}, reference_compat={spec.reference_compat}"
        raise invalid(f"{where}(prune.granularity)", "'channels' with settings of channels", got)


def require_in_training(where: str, cut: PruneSpec) -> None:
    """Raise where a spec that prunes in training says what is done before it.

    Raises:
        ValueError: naming the field.
    """
    _require_unasked(where, cut, ONLY_BEFORE, "prune.at='training'")


def _require_unasked(where: str, cut: PruneSpec, names: tuple[str, ...], setting: str) -> None:
    for name in names:
        default = type(cut).model_fields[name].default
        if getattr(cut, name) != default:
            raise invalid(f"{where}(prune.{name})", f"{default!r} with {setting}", getattr(cut, name))
