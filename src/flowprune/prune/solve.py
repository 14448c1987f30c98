"""A budget solved from scores that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.core.fingerprint import fingerprint
from flowprune.core.groups import Groups, fixed_sparsity_of, units_of
from flowprune.masks import Masks, Pool, Scope, fitting, remove_from, select
from flowprune.prune.budget import Budget
from flowprune.prune.settle import Subject, settle
from flowprune.prune.shares import Shares
from flowprune.prune.solution import Solution


def solve(
    scores: Mapping[str, Tensor],
    budget: Budget,
    model: nn.Module | None = None,
    *,
    example_inputs: object = None,
    scope: Scope = "global",
    min_keep: int | Mapping[str, int] = 1,
    protect: Sequence[str] = (),
) -> Solution:
    """Masks whose cost is nearest to a budget: the lowest-scored units go, as many as it takes.

    Which of all numbers of removed units comes nearest is found exactly, from these scores alone; only milliseconds
    are measured. Several pools (``scope``) lose the same fraction up to one unit, as far as each may go. Of two cuts
    that are equally near, the one within the budget; of those of one cost, the one that removes least.

    Units that stay in place at zero (``Channels(residual="masked")``) are not taken for gone, as in :func:`prune`;
    :func:`~flowprune.structure.remove` does cut those that every branch of a stream has lost.

    Args:
        scores: Larger = keep.
        budget: E.g. ``fp.Budget(parameters=0.5)``.
        model: That was scored; is not changed. Not needed for ``Budget(channels=)``.
        example_inputs: What it is called with, for ``flops`` and ``latency_ms``.
        scope: As for :func:`~flowprune.masks.select.select`. Layers with a sparsity of their own keep it.
        min_keep: At least this many units of each layer stay; at least one.
        protect: Patterns (``fnmatch``) of layers of which nothing is cut.

    Raises:
        ValueError: no budget, scores of another model, or something that the budget needs is missing.
        PruningError: the budget is not feasible; the error gives the nearest amount that is.

    Example:
        >>> import flowprune as fp
        >>> model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.ones(1, 4)
        >>> scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(x))
        >>> print(fp.solve(scores, fp.Budget(parameters=0.5), model))
        asked 50 % of parameters, achieved 51.72 % (miss +1.72 %)
    """
    if not isinstance(budget, Budget):
        raise invalid("solve(budget=)", "a Budget, such as fp.Budget(parameters=0.5)", budget)
    layout: Groups = getattr(scores, "layout", None) or {}
    if fixed_sparsity_of(layout) is not None:
        raise invalid("solve(scores=)", "of units of which any number may go", units_of(layout), "Use fp.select.")
    if model is not None:
        _require_same(require_model("solve", model), scores)
    select(scores, 0.0, protect=protect, min_keep=min_keep)  # the errors of a selection, before anything is measured
    keep = {name: max(1, min_keep.get(name, 0) if isinstance(min_keep, Mapping) else min_keep) for name in scores}
    safe = fitting("solve(protect=)", protect, scores)
    sizes = {name: score.numel() for name, score in scores.items()}
    alive = Masks({name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}, layout=layout)
    most = {name: 0 if name in safe else size - min(keep[name], size) for name, size in sizes.items()}

    def choose(pools: tuple[Pool, ...]) -> Masks:
        return remove_from(scores, pools, min_keep=keep, protected=safe)

    shares = Shares.open(alive, scope, most, where="solve")
    return settle(budget, Subject("solve", model, layout, example_inputs), shares, choose)


def _require_same(model: nn.Module, scores: Mapping[str, Tensor]) -> None:
    expected, found = getattr(scores, "fingerprint", None), fingerprint(dict(model.named_parameters()))
    if expected not in (None, found):
        raise invalid("solve(model=)", "the model that was scored", "another one", "Score this model.")
