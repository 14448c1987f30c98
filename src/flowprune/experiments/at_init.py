"""Pruning before the first step of a run, by a recipe or a measure, and what is written down of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from flowprune import objectives
from flowprune.core.errors import PruningError
from flowprune.core.recipes import RECIPES
from flowprune.core.seeds import derive
from flowprune.experiments.collapsing import collapse_rows
from flowprune.experiments.locality import locality
from flowprune.experiments.moments import scheduled
from flowprune.experiments.parts import Parts, model_for
from flowprune.experiments.recording import index_fingerprint, stages_row
from flowprune.experiments.rows import Row
from flowprune.experiments.settings import PruneSpec
from flowprune.experiments.spec import Spec
from flowprune.prune import Pruner, PruneResult, prune


def prune_at_init(spec: Spec, parts: Parts, pruner: Pruner) -> Iterator[Row]:
    """Prune the network of a run in place, with masks that hold while it trains; the rows that tell of it.

    Args:
        spec: Of the run.
        parts: Its model gets the masks, and the weights where they are drawn anew or rescaled.
        pruner: Is done after this, with these masks.

    Raises:
        PruningError: a layer would be emptied, or a check failed.
    """
    cut = spec.prune
    if cut is None:
        raise PruningError("prune_at_init(spec=) must be of a run that is pruned.")
    batches, schedule = parts.scoring(1), None if cut.iterations is None else scheduled("Spec", cut)
    result = prune(
        parts.model,
        measure=cut.measure or None,
        sparsity=cut.sparsity,
        granularity=parts.granularity,
        objective=_objective(spec, cut, parts),
        batches=batches,
        schedule=schedule,
        batch_sizes=(),
        **_options(spec, cut, parts),
    )
    _take_over(parts.model, result)
    pruner.resume(result.masks, rounds=1)
    yield {
        "kind": "cut",
        "round": 1,
        "epoch": 0,
        "target_sparsity": cut.sparsity,
        "achieved_sparsity": result.masks.sparsity,
        "units_before": result.masks.total,
        "units_after": result.masks.kept,
        "scored_on": index_fingerprint(batches.indices),
        "iterations": len(result.cuts),
        "gather_seconds": sum(each.gather_seconds for each in result.cuts),
        "cut_seconds": sum(each.cut_seconds for each in result.cuts),
        "checks": list(result.checks),
        **stages_row((each.stage for each in result.cuts), schedule),
    }
    for layer, count in result.masks.per_layer().items():
        yield {
            "kind": "layer",
            "round": 1,
            "layer": layer,
            "units": count.total,
            "kept": count.kept,
            "floor_hit": False,
        }
    if result.collapse is not None:
        yield from collapse_rows(result.collapse, epoch=0)


def _take_over(model: nn.Module, result: PruneResult) -> None:
    """The weights of the pruned copy, which may have been drawn anew or rescaled."""
    model.load_state_dict(result.model.state_dict())


def _objective(spec: Spec, cut: PruneSpec, parts: Parts) -> Any:
    """That of scoring for a measure; for a recipe its own, unless the spec names a temperature."""
    if cut.recipe is None:
        return parts.scored_for(cut.measure)
    if not isinstance(cut.temperature, float):
        return None
    tempered = objectives.cross_entropy(temperature=cut.temperature)
    return objectives.after_training(tempered) if RECIPES[cut.recipe].measure == "prospr" else tempered


def _options(spec: Spec, cut: PruneSpec, parts: Parts) -> dict[str, Any]:
    """Everything else that is asked for, as keywords of ``prune``."""
    found: dict[str, Any] = {"seed": derive(spec.seed, "masks"), "protect": cut.protect, "normalise": cut.normalise}
    found |= locality(cut)
    if cut.recipe is not None:
        found["recipe"] = cut.recipe
    if cut.scope != "global":
        found["scope"] = cut.scope
    if cut.floor != "auto":
        found["floor"] = None if cut.floor == "none" else cut.floor
    if cut.rescale != "recipe":
        found["rescale"] = None if cut.rescale == "none" else cut.rescale
    if cut.ablations or cut.score_on != "own_weights":
        found |= {"ablations": cut.ablations, "score_on": cut.score_on}
        if "reinitialize" in cut.ablations or cut.score_on == "fresh_draw":
            found["build"] = _builder(spec, parts)
    return found


def _builder(spec: Spec, parts: Parts) -> Callable[[int], nn.Module]:
    """Makes the model of the spec with other weights, on the run's device."""
    device = next(parts.model.parameters()).device

    def build(seed: int) -> nn.Module:
        return model_for(spec.model.name, parts.dataset, seed=seed, **spec.model.options).to(device)

    return build
