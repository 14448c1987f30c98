"""The diagnosis of layer collapse of what a pruner has done, said once where it is grave."""

from __future__ import annotations

import warnings
from dataclasses import replace

from torch import nn

from flowprune.core.errors import PruningError, first_line
from flowprune.masks import Critical, Masks, Scores, largest_safe_sparsity
from flowprune.prune.collapse import Collapse, collapse
from flowprune.prune.pruner import Pruner
from flowprune.prune.records import Rounds
from flowprune.structure.example import Example


def diagnosed(model: nn.Module, pruner: Pruner, rounds: Rounds, *, example: Example | None = None) -> Collapse | None:
    """What of the network with these masks does anything.

    Of weights, paths are followed on the example inputs; of units that leave the model, kept weights are counted alone.
    A model whose operations cannot be followed is counted alone as well. None where nothing was done.

    Args:
        model: The model that the masks are of.
        pruner: What made them.
        rounds: What it did.
        example: What the model is called with; None counts alone.

    Warns: where the output of the pruned network does not depend on its input.
    """
    removes, masks, scores = pruner.granularity.removes, rounds.masks, rounds.scores
    if masks is None:
        return None
    conserved = pruner.measure.objective == "synaptic_flow" and not masks.layout and pruner.rule.normalise == "none"
    given, contributions = None if removes else example, dict(scores) if conserved else None
    critical = None if removes else _critical(pruner, scores, rounds.before)
    try:
        found = collapse(model, masks, example_inputs=given, contributions=contributions, critical=critical)
    except PruningError as error:
        counted = collapse(model, masks, example_inputs=None, contributions=contributions, critical=critical)
        said = f"which weights lie on a path is not known: {first_line(error)}"
        found = replace(counted, warnings=(*counted.warnings, said))
    if found.layers and all(layer.effective == 0 for layer in found.layers):
        warnings.warn(f"prune(): {found.warnings[0]}", stacklevel=3)
    return found


def _critical(pruner: Pruner, scores: Scores, alive: Masks | None) -> Critical | None:
    """The largest safe sparsity of scores that are ranked in one pool; None of others."""
    rule = pruner.rule
    held = rule.floor_for("weights") is not None or rule.protect or rule.invert or _patterned(scores)
    if held or rule.scope != "global":
        return None
    living = None if alive is None or pruner.rule.revives(pruner.measure) else dict(alive)
    return largest_safe_sparsity(scores, living)


def _patterned(scores: Scores) -> bool:
    """Whether units of a layer must stay whatever their scores, as in N:M."""
    return any(group.sparsity is not None for group in scores.layout.values())
