"""Cutting channels: the model becomes smaller in place, and the optimizer follows."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.errors import PruningError
from flowprune.core.optimizer_state import check_followable, follow
from flowprune.masks import Masks, Scores, check_zeros, floors, remove_lowest
from flowprune.prune.carry_out import carry_out_, removable
from flowprune.prune.checks import check_sparsity
from flowprune.prune.ledger import Ledger
from flowprune.prune.published import lowest_as_published
from flowprune.prune.rule import Rule
from flowprune.structure import CutPlan, rehearse


class Shrinking:
    """Channels physically removed from the same model object; single branches of a residual stream are held at zero."""

    def __init__(self, model: nn.Module, rule: Rule) -> None:
        self._model, self._rule, self._floor = model, rule, rule.floor_for("channels")
        self._ledger: Ledger | None = None
        self._plan: CutPlan | None = None

    @property
    def masks(self) -> Masks | None:
        """Everything cut so far, in coordinates of the original model."""
        return None if self._ledger is None else self._ledger.masks()

    def resume(self, masks: Masks) -> None:
        """Go on where these masks of the original model were reached; the model was cut to them already."""
        self._ledger = Ledger.reopen(masks)

    def choose(self, scores: Scores, target: float) -> Masks:
        """Masks of the units present, after which exactly round(target * n) of the n original ones are cut."""
        self._ledger = self._ledger or Ledger.open(scores)
        return self._chosen(self._ledger, scores, target)

    def propose(self, scores: Scores, target: float) -> Masks:
        """What :meth:`choose` would give now; nothing is remembered of it."""
        return self._chosen(self._ledger or Ledger.open(scores), scores, target)

    def _chosen(self, ledger: Ledger, scores: Scores, target: float) -> Masks:
        ledger.require_same(scores)
        masks: dict[str, Tensor] = {}
        for names in self._pools(list(ledger.sizes)):
            pool = {name: scores.get(name, torch.empty(0)) for name in names}  # none left of a container
            if self._rule.reference_compat:
                masks |= lowest_as_published(pool, ledger, target, protected=self._protected(names))
            else:
                masks |= self._lowest(pool, ledger, target)
        return Masks({n: masks[n] for n in scores}, layout=scores.layout, fingerprint=scores.fingerprint)

    def _lowest(self, pool: dict[str, Tensor], ledger: Ledger, target: float) -> dict[str, Tensor]:
        """Dead units stay dead and are not ranked, whatever their scores."""
        keep = self._least(ledger)
        size = sum(ledger.sizes[name] for name in pool)
        gone = size - sum(score.numel() for score in pool.values())
        cut = size - sum(int(ledger.living[name].sum()) for name in pool)
        remove = round(target * size)
        if remove < cut:
            raise PruningError(f"The schedule must not fall; {cut} channels are cut, {remove} asked.")
        stay = any(ledger.stays(name) for name in pool)
        alive = {name: ledger.living[name].to(score.device) for name, score in pool.items()} if stay else None
        protected = self._protected(list(pool))
        spare = {name for name, group in ledger.layout.items() if not group.least}
        return remove_lowest(pool, remove - gone, min_keep=keep, protected=protected, alive=alive, spare=spare)

    def carry_out(self, masks: Masks, target: float, optimizer: Optimizer | None, probe: Any) -> tuple[str, ...]:
        """Cut, let the optimizer follow, verify; the checks that passed."""
        if self._ledger is None:
            raise PruningError("Shrinking.carry_out() must follow choose().")
        resets = self._rule.momentum == "reset"
        if optimizer is not None and not resets:
            check_followable(optimizer, self._model.parameters())
        modes = rehearse(
            self._model, masks.layout, removable(masks), probe
        )  # on a copy: nothing is changed if it fails
        plan = self._plan = carry_out_(self._model, masks, release=self._rule.reference_compat)
        self._ledger = self._ledger.cut(masks)
        passed = ["same function"] if modes else []
        if optimizer is not None:
            follow(optimizer, plan.replaced, reset=resets)
        if any(self._ledger.stays(name) for name in masks):
            check_zeros(self._model)
            passed.append("zeros")
        if self._rule.reference_compat:
            return (*passed, "sparsity as published")
        sizes = self._ledger.sizes
        asked = sum(round(target * sum(sizes[n] for n in names)) for names in self._pools(list(sizes)))
        passed.append(check_sparsity(self._ledger.removed, asked, self._ledger.total))
        return tuple(passed)

    def counts(self, masks: Masks) -> tuple[int, int, int]:
        """Original channels, those alive before, and those alive after."""
        if self._ledger is None:
            return masks.total, masks.total, masks.kept
        return self._ledger.total, self._ledger.alive, masks.kept

    def floor_hits(self, masks: Masks) -> tuple[str, ...]:
        """Layers that are down to their floor after these masks."""
        if self._floor is None or self._ledger is None:
            return ()
        keep = self._least(self._ledger)
        return tuple(name for name, count in masks.per_layer().items() if count.kept <= keep[name])

    def renamed(self, names: frozenset[str]) -> frozenset[str]:
        """The names of parameters after the last cut, without those that are gone."""
        return names if self._plan is None else self._plan.renamed(names)

    def _least(self, ledger: Ledger) -> dict[str, int]:
        """How many units of each layer stay; where something else stays in their place, one less."""
        if self._floor is None:
            return {}
        spare = {name for name, group in ledger.layout.items() if not group.least}
        return {name: count - (name in spare) for name, count in floors(ledger.sizes, self._floor).items()}

    def verify(self) -> None:
        """Between rounds: removed channels cannot come back, and zeroed ones must still be zero."""
        if self._ledger is not None and any(self._ledger.stays(name) for name in self._ledger.sizes):
            check_zeros(self._model)

    def _pools(self, names: list[str]) -> list[list[str]]:
        return [names] if self._rule.scope == "global" else [[name] for name in names]

    def _protected(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in self._rule.protect)]
