"""Cutting channels: the model becomes smaller in place, and the optimizer follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.errors import PruningError
from flowprune.core.groups import channels_of
from flowprune.core.optimizer_state import check_followable, follow
from flowprune.masks import Masks, Pool, Scores, check_zeros, fitting, floors, remove_lowest
from flowprune.prune.carry_out import carry_out_, removable
from flowprune.prune.checks import check_sparsity
from flowprune.prune.ledger import Ledger
from flowprune.prune.published import lowest_as_published
from flowprune.prune.rule import Rule
from flowprune.prune.shares import most_gone
from flowprune.signals import Signals
from flowprune.structure import CutPlan, rehearse


class Shrinking:
    """Channels physically removed from the same model object; single branches of a residual stream are held at zero.

    Attributes:
        checks_zeros: Whether zeros are looked for after a cut; between rounds that follow each other once is enough.
    """

    checks_zeros = True

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

    def gathered(self, gather: Callable[[], Signals]) -> Signals:
        """Signals of the network that is left."""
        return gather()

    def scored(self, signals: Signals) -> Signals:
        """What the measure sees: the same."""
        return signals

    def alive(self, scores: Scores) -> Masks:
        """The original units, True where alive."""
        return self.masks or Ledger.open(scores).masks()

    def most(self, alive: Masks) -> dict[str, int]:
        """How many units of each layer may be gone: all but its floor, and no more of one that is protected."""
        return most_gone(alive, self._floor, fitting("Pruner(protect=)", self._rule.protect, alive))

    def choose(self, scores: Scores, pools: Sequence[Pool]) -> Masks:
        """Masks of the units present, after which exactly so many of the original ones are cut as the pools say."""
        self._ledger = self._ledger or Ledger.open(scores)
        return self._chosen(self._ledger, scores, pools)

    def propose(self, scores: Scores, pools: Sequence[Pool]) -> Masks:
        """What :meth:`choose` would give now; nothing is remembered of it."""
        return self._chosen(self._ledger or Ledger.open(scores), scores, pools)

    def _chosen(self, ledger: Ledger, scores: Scores, pools: Sequence[Pool]) -> Masks:
        ledger.require_same(scores)
        masks: dict[str, Tensor] = {}
        for pool in pools:
            ranked = {name: scores.get(name, torch.empty(0)) for name in pool.names}  # none left of a container
            if self._rule.reference_compat:
                masks |= lowest_as_published(ranked, ledger, pool.sparsity, protected=self._protected(ledger))
            else:
                masks |= self._lowest(ranked, ledger, pool.remove)
        known = {"fingerprint": scores.fingerprint, "point": scores.point}
        return Masks({n: masks[n] for n in scores}, layout=scores.layout, **known)

    def _lowest(self, pool: dict[str, Tensor], ledger: Ledger, remove: int) -> dict[str, Tensor]:
        """Dead units stay dead and are not ranked, whatever their scores."""
        keep = self._least(ledger)
        size = sum(ledger.sizes[name] for name in pool)
        gone = size - sum(score.numel() for score in pool.values())
        cut = size - sum(int(ledger.living[name].sum()) for name in pool)
        if remove < cut:
            raise PruningError(f"The schedule must not fall; {cut} channels are cut, {remove} asked.")
        stay = any(ledger.stays(name) for name in pool)
        alive = {name: ledger.living[name].to(score.device) for name, score in pool.items()} if stay else None
        protected, spare = self._protected(ledger), {n for n, group in ledger.layout.items() if not group.least}
        return remove_lowest(pool, remove - gone, min_keep=keep, protected=protected, alive=alive, spare=spare)

    def carry_out(
        self, masks: Masks, pools: Sequence[Pool], optimizer: Optimizer | None, probe: Any
    ) -> tuple[str, ...]:
        """Cut, let the optimizer follow, verify; the checks that passed."""
        if self._ledger is None:
            raise PruningError("Shrinking.carry_out() must follow choose().")
        resets = self._rule.momentum == "reset"
        if optimizer is not None and not resets:
            check_followable(optimizer, self._model.parameters())
        layout = channels_of("Shrinking.carry_out(masks=)", masks.layout)
        modes = rehearse(self._model, layout, removable(masks), probe)  # on a copy: nothing is changed if it fails
        plan = self._plan = carry_out_(self._model, masks, release=self._rule.reference_compat)
        self._ledger = self._ledger.cut(masks)
        passed = ["same function"] if modes else []
        if optimizer is not None:
            follow(optimizer, plan.replaced, reset=resets)
        if any(self._ledger.stays(name) for name in masks) and self.checks_zeros:
            check_zeros(self._model)
            passed.append("zeros")
        if self._rule.reference_compat:
            return (*passed, "sparsity as published")
        asked = sum(pool.remove for pool in pools)
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
        if self._rule.reference_compat and any(map(self._ledger.stays, self._ledger.sizes)):
            return ()  # the published code has no floor there
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

    def _protected(self, ledger: Ledger) -> list[str]:
        return fitting("Pruner(protect=)", self._rule.protect, ledger.sizes)
