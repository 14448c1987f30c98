"""Cutting weights, alone or in blocks: the model keeps its shape, and a mask holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.errors import PruningError
from flowprune.masks import Masks, Pool, Scores, apply, check_zeros, fitting, floors, masks_of, remove_from
from flowprune.prune.carry_out import hold_
from flowprune.prune.checks import check_sparsity
from flowprune.prune.rule import Rule
from flowprune.prune.shares import most_gone
from flowprune.signals import Signals


class Masking:
    """Weights set to zero and kept there; only live units are ranked, and dead ones stay dead.

    With ``revives`` all are ranked in every round: what the last one cut is scored by the value that it had then.

    Attributes:
        masks: What was cut; None before the first round.
        checks_zeros: Whether zeros are looked for after a cut; between rounds that follow each other once is enough.
    """

    checks_zeros = True

    def __init__(self, model: nn.Module, rule: Rule, *, revives: bool = False) -> None:
        self._model, self._rule, self._floor = model, rule, rule.floor_for("weights")
        self._already = masks_of(model)  # a model that is masked already stays so
        self._revives, self._values = revives, dict[str, Tensor]()  # of what is cut, by name
        self.masks: Masks | None = None
        self._steps: int | None = None  # since the last cut, while they are counted

    def resume(self, masks: Masks) -> None:
        """Go on where these masks were reached."""
        if self._revives:
            todo = "Run the rounds in one go: the values of what they cut are not in the model any more."
            raise PruningError(f"Pruner.resume() must be of a measure whose cut weights stay cut. {todo}")
        self._hold(masks)

    def gathered(self, gather: Callable[[], Signals]) -> Signals:
        """Signals of the network that is left; with ``revives`` its gradient also where weights are cut."""
        if not self._values:
            return gather()
        held = masks_of(self._model)
        apply(self._model, self._already)
        try:
            return gather()
        finally:
            apply(self._model, held)

    def scored(self, signals: Signals) -> Signals:
        """What the measure sees: with ``revives`` the weights that were cut have the values that they had."""
        return replace(signals, params={**signals.params, **self._whole(signals.params)}) if self._values else signals

    def _whole(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights with what was cut as it was."""
        held = masks_of(self._model)
        return {
            name: torch.where(held[name].to(value.device), params[name].detach(), value.to(params[name].dtype))
            for name, value in self._values.items()
        }

    def alive(self, scores: Scores) -> Masks:
        """All units, True where they may stay."""
        masks = self._alive(scores) if self.masks is None or self._revives else self.masks
        return Masks(dict(masks.items()), layout=scores.layout, fingerprint=scores.fingerprint)

    def most(self, alive: Masks) -> dict[str, int]:
        """How many units of each layer may be gone."""
        return most_gone(alive, self._floor, self._protected(alive))

    def choose(self, scores: Scores, pools: Sequence[Pool]) -> Masks:
        """Masks in which exactly so many units are cut as the pools say, those cut before among them."""
        sizes = {name: score.numel() for name, score in scores.items()}
        keep = {} if self._floor is None else floors(sizes, self._floor)
        safe = self._protected(scores)
        return remove_from(scores, pools, min_keep=keep, protected=safe, alive=self.alive(scores))

    def propose(self, scores: Scores, pools: Sequence[Pool]) -> Masks:
        """What :meth:`choose` would give now: the same, since choosing changes nothing here."""
        return self.choose(scores, pools)

    def carry_out(
        self, masks: Masks, pools: Sequence[Pool], optimizer: Optimizer | None, probe: Any
    ) -> tuple[str, ...]:
        """Apply the masks; the checks that passed."""
        del probe
        self._hold(masks)
        passed = [check_sparsity(masks.total - masks.kept, sum(pool.remove for pool in pools), masks.total)]
        if self.checks_zeros:
            check_zeros(self._model)
            passed.append("zeros")
        if optimizer is not None:
            self._check_after_a_step(optimizer)
        return tuple(passed)

    def counts(self, masks: Masks) -> tuple[int, int, int]:
        """Original units, those alive before, and those alive after."""
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

    def _protected(self, names: Iterable[str]) -> list[str]:
        return fitting("Pruner(protect=)", self._rule.protect, names)

    def verify(self) -> None:
        """Between rounds: masked weights are still zero."""
        check_zeros(self._model)

    def _alive(self, scores: Scores) -> dict[str, Tensor]:
        """Where masks that the model came with leave something of a unit."""
        alive: dict[str, Tensor] = {}
        for name, score in scores.items():
            kept = self._already.get(name)
            if kept is not None and name in scores.layout:
                counts = scores.layout[name].total({name: kept.float()}, "weight")
                kept = None if counts is None else counts > 0
            alive[name] = torch.ones_like(score, dtype=torch.bool) if kept is None else kept
        return alive

    def _hold(self, masks: Masks) -> None:
        """Apply masks, besides those that the model came with: a block that stays may hold weights that are cut."""
        if self._revives:
            self._put_back(dict(self._model.named_parameters()), masks)
        hold_(self._model, masks, besides=self._already)
        self.masks = masks.at_any_weights()  # those that earlier rounds cut were chosen at others

    def _check_after_a_step(self, optimizer: Optimizer) -> None:
        """Look once whether the zeros outlived a step: when the second step begins, whatever ran in between."""
        counted, self._steps = self._steps is not None, 0
        if counted:  # cuts that follow each other are looked at together
            return

        def look(*_: Any) -> None:
            if self._steps == 0:
                self._steps = 1
                return
            self._steps = None
            handle.remove()
            check_zeros(self._model)

        handle = optimizer.register_step_pre_hook(look)

    @torch.no_grad()
    def _put_back(self, params: Mapping[str, nn.Parameter], masks: Masks) -> None:
        """Everything at its value before any cut, and remembered: what stays cut is zeroed after this."""
        whole = self._whole(params)
        apply(self._model, self._already)
        for name, value in whole.items():
            params[name].copy_(value)
        self._values = {name: params[name].detach().clone() for name in masks}
