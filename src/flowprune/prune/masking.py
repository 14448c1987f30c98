"""Cutting weights: the model keeps its shape, and a mask holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.masks import Masks, Pool, Scores, apply, check_zeros, fitting, floors, masks_of, remove_lowest
from flowprune.prune.checks import check_sparsity
from flowprune.prune.rule import Rule
from flowprune.prune.shares import most_gone


class Masking:
    """Weights set to zero and kept there; dead stays dead, and only live weights are ranked."""

    def __init__(self, model: nn.Module, rule: Rule) -> None:
        self._model, self._rule, self._floor = model, rule, rule.floor_for("weights")
        self._already = masks_of(model)  # a model that is masked already stays so
        self.masks: Masks | None = None

    def resume(self, masks: Masks) -> None:
        """Go on where these masks were reached."""
        apply(self._model, masks)
        self.masks = masks

    def alive(self, scores: Scores) -> Masks:
        """All weights, True where alive."""
        masks = self._already if self.masks is None else self.masks
        return Masks({n: masks.get(n, torch.ones_like(s, dtype=torch.bool)) for n, s in scores.items()})

    def most(self, alive: Masks) -> dict[str, int]:
        """How many weights of each layer may be gone."""
        return most_gone(alive, self._floor, self._protected(alive))

    def choose(self, scores: Scores, pools: Sequence[Pool]) -> Masks:
        """Masks in which exactly so many weights are cut as the pools say, those cut before among them."""
        sizes = {name: score.numel() for name, score in scores.items()}
        keep = {} if self._floor is None else floors(sizes, self._floor)
        alive, safe = self.alive(scores), self._protected(scores)
        masks: dict[str, Tensor] = {}
        for pool in pools:
            ranked = {name: scores[name] for name in pool.names}
            masks |= remove_lowest(ranked, pool.remove, min_keep=keep, protected=safe, alive=alive)
        return Masks({name: masks[name] for name in scores}, fingerprint=scores.fingerprint)

    def propose(self, scores: Scores, pools: Sequence[Pool]) -> Masks:
        """What :meth:`choose` would give now: the same, since choosing changes nothing here."""
        return self.choose(scores, pools)

    def carry_out(
        self, masks: Masks, pools: Sequence[Pool], optimizer: Optimizer | None, probe: Any
    ) -> tuple[str, ...]:
        """Apply the masks; the checks that passed."""
        del probe
        others = {name: mask for name, mask in self._already.items() if name not in masks}
        apply(self._model, {**others, **masks})
        self.masks = masks
        check_zeros(self._model)
        if optimizer is not None:
            _check_after_a_step(self._model, optimizer)
        asked = sum(pool.remove for pool in pools)
        return check_sparsity(masks.total - masks.kept, asked, masks.total), "zeros"

    def counts(self, masks: Masks) -> tuple[int, int, int]:
        """Original weights, those alive before, and those alive after."""
        return masks.total, masks.total if self.masks is None else self.masks.kept, masks.kept

    def floor_hits(self, masks: Masks) -> tuple[str, ...]:
        """Layers that are down to their floor."""
        if self._floor is None:
            return ()
        layers = masks.per_layer()
        keep = floors({name: count.total for name, count in layers.items()}, self._floor)
        return tuple(name for name, count in layers.items() if count.kept <= keep[name])

    def _protected(self, names: Iterable[str]) -> list[str]:
        return fitting("Pruner(protect=)", self._rule.protect, names)

    def verify(self) -> None:
        """Between rounds: masked weights are still zero."""
        check_zeros(self._model)


def _check_after_a_step(model: nn.Module, optimizer: Optimizer) -> None:
    """Look once whether the zeros outlived a step: when the second step begins, whatever ran in between."""
    steps = count()

    def look(*_: Any) -> None:
        if next(steps):
            handle.remove()
            check_zeros(model)

    handle = optimizer.register_step_pre_hook(look)
