"""Cutting weights: the model keeps its shape, and a mask holds."""

from __future__ import annotations

from itertools import count
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from flowprune.masks import Masks, Scores, apply, check_zeros, floors, masks_of, select
from flowprune.prune.checks import check_sparsity
from flowprune.prune.rule import Rule


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

    def choose(self, scores: Scores, target: float) -> Masks:
        """Masks in which exactly round(target * n) weights are cut, those cut before among them."""
        sizes = {name: score.numel() for name, score in scores.items()}
        keep = 0 if self._floor is None else floors(sizes, self._floor)
        alive = self._already if self.masks is None else self.masks
        within = {n: alive.get(n, torch.ones_like(s, dtype=torch.bool)) for n, s in scores.items()}
        protect = self._rule.protect
        return select(scores, target, scope=self._rule.scope, min_keep=keep, protect=protect, within=within)

    def propose(self, scores: Scores, target: float) -> Masks:
        """What :meth:`choose` would give now: the same, since choosing changes nothing here."""
        return self.choose(scores, target)

    def carry_out(self, masks: Masks, target: float, optimizer: Optimizer | None, probe: Any) -> tuple[str, ...]:
        """Apply the masks; the checks that passed."""
        del probe
        others = {name: mask for name, mask in self._already.items() if name not in masks}
        apply(self._model, {**others, **masks})
        self.masks = masks
        check_zeros(self._model)
        if optimizer is not None:
            _check_after_a_step(self._model, optimizer)
        asked = _asked(masks, target, self._rule.scope)
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

    def renamed(self, names: frozenset[str]) -> frozenset[str]:
        """The names of parameters after a cut: the same."""
        return names

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


def _asked(masks: Masks, target: float, scope: str) -> int:
    if scope == "global":
        return round(target * masks.total)
    return sum(round(target * mask.numel()) for mask in masks.values())
