"""What is written down of measures while the dense network trains: whether they agree, and when their masks settle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from flowprune.analysis import agreement, correlation
from flowprune.core.groups import Groups
from flowprune.data import Batches
from flowprune.experiments.parts import Parts
from flowprune.experiments.rows import Row
from flowprune.experiments.settings import TrackSpec
from flowprune.masks import Masks, Scores, select
from flowprune.measures import MEASURES, Granularity, score
from flowprune.objectives import cross_entropy
from flowprune.signals import Signals, gather

DIGITS = 6
"""Of stored scores of single units: a plot shows no more."""


@dataclass(frozen=True)
class _Known:
    """A granularity whose layout was found before: several measures score the same units."""

    name: str
    removes: bool
    found: Groups

    def layout(self, signals: Signals) -> Groups:
        del signals
        return self.found


def scores_of(parts: Parts, measures: Iterable[str], batches: Batches) -> dict[str, Scores]:
    """The scores of several measures, from one gathering."""
    chosen = [MEASURES[name] for name in measures]
    needs = dict.fromkeys(need for measure in chosen for need in measure.needs)
    signals = gather(parts.model, parts.scored, batches, needs=tuple(needs))
    units = _units(parts, signals)
    return {measure.name: score(measure, signals, units) for measure in chosen}


def _units(parts: Parts, signals: Signals) -> Granularity:
    units = parts.granularity
    found = units.layout(replace(signals, model=parts.model))
    return units if found is None else _Known(units.name, units.removes, found)


def agreement_rows(parts: Parts, measures: Sequence[str], epoch: int, *, sparsity: float) -> Iterator[Row]:
    """kind="agreement": how far each pair of measures agrees, before the first cut."""
    scores = scores_of(parts, measures, parts.scoring(1))
    for a, b in combinations(scores, 2):
        found = agreement(scores[a], scores[b], sparsity=sparsity)
        yield {
            "kind": "agreement",
            "round": 1,
            "epoch": epoch,
            "a": a,
            "b": b,
            "spearman": found.spearman,
            "pearson": found.pearson,
            "overlap": found.overlap,
        }


def scatter_rows(parts: Parts, temperatures: Sequence[float], epoch: int) -> Iterator[Row]:
    """kind="scatter": Σ θ·g and Σ θ·Hg of every unit, at each temperature of the loss."""
    for temperature in temperatures:
        objective = cross_entropy(temperature=temperature)
        signals = gather(parts.model, objective, parts.tracked, needs=("gradient", "hessian_gradient"))
        units = _units(parts, signals)
        first = score("taylor_first_order", signals, units, reduce="sum")
        second = score("gradient_norm_increase", signals, units)
        yield {
            "kind": "scatter",
            "epoch": epoch,
            "temperature": temperature,
            "layers": list(first),
            "sizes": [value.numel() for value in first.values()],
            "first": _rounded(first),
            "second": _rounded(second),
            "pearson": correlation(first, second).pearson,
            "spearman": correlation(first, second).spearman,
        }


def _rounded(scores: Mapping[str, Tensor]) -> list[float]:
    values = torch.cat([value.reshape(-1) for value in scores.values()]).tolist()
    return [float(f"{value:.{DIGITS}g}") for value in values]


class Tracker:
    """Compares measures at some epochs, and keeps the mask that each would draw, to tell how far it was from the last.

    Args:
        track: What is asked for.

    Attributes:
        masks: Packed bits of the masks, by measure and epoch; a checkpoint holds them.
    """

    def __init__(self, track: TrackSpec) -> None:
        self.track = track
        self.masks: dict[str, dict[int, Tensor]] = {name: {} for name in track.measures}
        self._units = 0

    def due(self, epoch: int) -> bool:
        """Whether something is recorded after this epoch."""
        return self.track.every != "none" and epoch % self.track.every == 0

    def rows(self, parts: Parts, epoch: int) -> Iterator[Row]:
        """kind="correlation" of each pair, overall and by layer; kind="mask_distance" of each mask to its last."""
        scores = scores_of(parts, self.track.measures, parts.tracked)
        for a, b in combinations(scores, 2):
            yield from _correlations(scores, a, b, epoch)
        for name, own in scores.items():
            masks = select(own, self.track.sparsity, min_keep=1)
            before = self.masks[name]
            packed, self._units = _packed(masks), masks.total
            if before:
                yield self._distance(name, epoch, "previous", packed, before[max(before)])
            before[epoch] = packed

    def last_rows(self) -> Iterator[Row]:
        """kind="mask_distance", of every mask to the last one."""
        for name, by_epoch in self.masks.items():
            last = by_epoch[max(by_epoch)] if by_epoch else None
            for epoch, packed in sorted(by_epoch.items()):
                if last is not None:
                    yield self._distance(name, epoch, "final", packed, last)

    def _distance(self, name: str, epoch: int, to: str, a: Tensor, b: Tensor) -> Row:
        differing = int(np.unpackbits((a ^ b).numpy()).sum())
        return {
            "kind": "mask_distance",
            "epoch": epoch,
            "of": name,
            "to": to,
            "at_sparsity": self.track.sparsity,
            "distance": differing / self._units,
        }

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        held = {f"{name}/{epoch}": bits for name, kept in self.masks.items() for epoch, bits in kept.items()}
        return {**held, "units": torch.tensor([self._units])}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`tensors` was taken."""
        for key, bits in tensors.items():
            name, _, epoch = key.rpartition("/")
            if name:
                self.masks[name][int(epoch)] = bits
        self._units = int(tensors["units"]) if "units" in tensors else 0


def _correlations(scores: Mapping[str, Scores], a: str, b: str, epoch: int) -> Iterator[Row]:
    for layer in ("", *scores[a]):
        left, right = ({layer: s[layer]} if layer else s for s in (scores[a], scores[b]))
        found = correlation(left, right)
        yield {
            "kind": "correlation",
            "epoch": epoch,
            "a": a,
            "b": b,
            "layer": layer,
            "pearson": found.pearson,
            "spearman": found.spearman,
            "units": found.units,
        }


def _packed(masks: Masks) -> Tensor:
    bits = np.concatenate([mask.cpu().numpy().reshape(-1) for mask in masks.values()])
    return torch.from_numpy(np.packbits(bits))
