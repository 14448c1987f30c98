"""What of a pruning method matters: its masks with other positions, or its scores the other way round.

A method that is as good with shuffled masks has found how dense each layer should be, and nothing else. One that is as
good with inverted scores has found nothing.

Source: J. Frankle et al. (2021), Pruning Neural Networks at Initialization: Why Are We Missing the Mark?, arXiv
2009.08576.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowprune.core.arguments import require_masks
from flowprune.core.errors import invalid, unknown
from flowprune.core.groups import Groups
from flowprune.core.seeds import stream
from flowprune.masks.lowest import keep_highest
from flowprune.masks.masks import Masks, Scores


def shuffle(masks: Mapping[str, Tensor], *, seed: int, alive: Mapping[str, Tensor] | None = None) -> Masks:
    """Masks that keep as many units of each layer as these, at random positions of it.

    All positions are alike: so it is a permutation within each layer and, as well, a new draw at the same layer
    densities, the random baseline of every method. There is no second function for that.

    A pattern that must hold holds: of every m weights of an N:M pattern, n stay. Layout and fingerprint are those of
    the masks, so that the result can be applied to the same model; the masks given are left as they are.

    Shapes: as the masks.

    Args:
        masks: Boolean, True = kept; by weight, block or channel.
        seed: Of the positions; each layer has its own stream, so a layer is shuffled alike whatever the others are.
        alive: Units that may be kept at all, by name; the others stay cut. Layers that it does not name are alive.

    Raises:
        ValueError: masks that are no mapping of boolean tensors, that keep a unit which is not alive, or of which more
            must stay by their pattern than they keep.

    Example:
        >>> masks = {"a": torch.tensor([True, True, False, False, False, False]), "b": torch.tensor([False, True])}
        >>> shuffle(masks, seed=0).per_layer()
        {'a': LayerCount(kept=2, total=6), 'b': LayerCount(kept=1, total=2)}
        >>> shuffle(masks, seed=0, alive={"b": torch.tensor([False, True])})["b"]
        tensor([False,  True])
    """
    require_masks("shuffle", masks)
    layout: Groups = getattr(masks, "layout", None) or {}
    kept = Masks(masks, layout=layout, fingerprint=getattr(masks, "fingerprint", None))
    strangers = sorted((alive or {}).keys() - kept.keys())
    if strangers:
        raise unknown("shuffle(alive=): masks", strangers[0], kept)
    drawn = {name: _redrawn(name, mask, layout, seed, (alive or {}).get(name)) for name, mask in kept.items()}
    return Masks(drawn, layout=layout, fingerprint=kept.fingerprint)


def invert(scores: Mapping[str, Tensor]) -> Scores:
    """Scores the other way round: what a measure would cut first is kept.

    Formula: -s. Twice is none. Selected at one sparsity, in a pool of n units of which k stay, the two have
    max(0, 2k - n) units in common, the least there can be. Equal scores are taken by position in both, so that units
    that tie, such as weights of score zero, may be kept twice.

    Shapes: as the scores. Units: of the scores.

    Args:
        scores: Larger = keep; their layout, fingerprint and point stay.

    Example:
        >>> from flowprune.masks import select
        >>> scores = {"w": torch.tensor([4.0, 1.0, 3.0, 2.0])}
        >>> select(scores, 0.5)["w"], select(invert(scores), 0.5)["w"]
        (tensor([ True, False,  True, False]), tensor([False,  True, False,  True]))
    """
    layout: Groups = getattr(scores, "layout", None) or {}
    negative = {name: -score for name, score in scores.items()}
    known = {key: getattr(scores, key, None) for key in ("fingerprint", "reached", "point")}
    return Scores(negative, layout=layout, **known)


def _redrawn(name: str, mask: Tensor, layout: Groups, seed: int, alive: Tensor | None) -> Tensor:
    """The highest of a random order, as many as the mask keeps; in float64, which tells all positions apart."""
    if alive is not None and (alive.shape != mask.shape or alive.dtype != torch.bool):
        got = f"{alive.dtype} of shape {tuple(alive.shape)}"
        raise invalid(f"shuffle(alive=): {name!r}", f"boolean of shape {tuple(mask.shape)}", got)
    if alive is not None and bool((mask & ~alive.to(mask.device)).any()):
        count = int((mask & ~alive.to(mask.device)).sum())
        raise invalid(f"shuffle(masks=): {name!r}", "kept only where it is alive", f"{count} kept that are not")
    order = torch.randperm(mask.numel(), generator=stream(seed, "shuffle", name))
    scores = order.to(torch.float64).view(mask.shape)
    living = None if alive is None else alive.cpu()
    required = layout[name].required(scores, living) if name in layout else None
    count, least = int(mask.count_nonzero()), 0 if required is None else int(required.count_nonzero())
    if count < least:
        rule = f"of at least {least} {layout[name].unit} kept"
        raise invalid(f"shuffle(masks=): {name!r}", rule, count, "Select them with their layout.")
    pool = None if living is None else {name: living}
    return keep_highest({name: scores}, count, first={name: required}, alive=pool)[name].to(mask.device)
