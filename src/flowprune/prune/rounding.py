"""Widths that the machine likes: the kept units of each layer rounded to a multiple."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, unknown
from flowprune.core.groups import channels_of
from flowprune.core.units import UnitGroup
from flowprune.masks import LayerCount, Masks, Scores, remove_lowest
from flowprune.structure import Forecast, Latency, LatencyTable, LayerLatencies

TO = ("up", "nearest")
CANDIDATES = (4, 8, 16, 32)
"""The multiples that ``"auto"`` tries."""


@dataclass(frozen=True, eq=False)
class RoundedWidths:
    """Masks with rounded widths, and what that changed.

    Attributes:
        masks: The new masks.
        before: Kept and total units of each layer as they were given.
        after: The same as they are.
        parameters: Of the model cut to either; None where no model was given.
        latency: Of the model cut to either, measured; None where nothing was.

    Example:
        >>> one = {"w": LayerCount(5, 8)}
        >>> print(RoundedWidths(Masks({"w": torch.ones(8) > 0}), one, {"w": LayerCount(8, 8)}))
        1 of 1 layers rounded, 5 -> 8 of 8 units kept
    """

    masks: Masks
    before: Mapping[str, LayerCount]
    after: Mapping[str, LayerCount]
    parameters: tuple[int, int] | None = None
    latency: tuple[Latency, Latency] | None = None

    @property
    def rounded(self) -> tuple[str, ...]:
        """The layers whose width changed."""
        return tuple(name for name, count in self.before.items() if self.after[name].kept != count.kept)

    def __str__(self) -> str:
        kept = [sum(count.kept for count in widths.values()) for widths in (self.before, self.after)]
        total = sum(count.total for count in self.before.values())
        told = f"{len(self.rounded)} of {len(self.before)} layers rounded"
        told += f", {kept[0]:,} -> {kept[1]:,} of {total:,} units kept"
        if self.parameters is not None:
            told += f", {self.parameters[0]:,} -> {self.parameters[1]:,} parameters"
        if self.latency is not None:
            a, b = self.latency
            told += f", {a.median_ms:.4g} -> {b.median_ms:.4g} ms (noise {max(a.iqr_ms, b.iqr_ms):.2g} ms)"
        return told


def round_widths(
    masks: Masks,
    scores: Mapping[str, Tensor],
    *,
    multiple: int | str = 8,
    to: str = "up",
    model: nn.Module | None = None,
    example_inputs: object = None,
) -> RoundedWidths:
    """Round the number of kept units of each layer to a multiple; units are given back by score, the highest first.

    Kernels work on blocks of channels: 57 channels can take longer than 64. A layer never gets more units than it has
    (a layer of 30 that would need 32 keeps its 30) and never fewer than one; one that is whole stays whole, and so does
    one whose units stay in place at zero (``Channels(residual="masked")``), where no tensor has another width. A head
    of attention counts as the channels that it has: 5 heads of 64 are a multiple of 8 already.

    ``"auto"`` measures. Group by group, the multiples of 4, 8, 16 and 32 are tried with all others as they are by then:
    the layers that the group runs through are timed alone (:class:`~flowprune.structure.LayerLatencies`), and the
    fastest width is taken that costs no more time than the one given; of equally fast ones the widest. No width is
    measured twice. The whole model is measured before and after.

    Args:
        masks: Of channels.
        scores: Of the same units, larger = keep.
        multiple: A whole number, or ``"auto"``.
        to: ``"up"``, or ``"nearest"``: then the lowest-scored units above a multiple go; half-way is up.
        model: That was scored; is not changed. Needed for ``"auto"``, and to tell the parameters.
        example_inputs: What it is called with, at the batch that is to be fast; needed for ``"auto"``.

    Raises:
        ValueError: masks of single weights, scores of other units, a multiple below 1, no model to measure.

    Example:
        >>> from flowprune.core.units import rows
        >>> layout = {"w": rows("w", 8)}
        >>> masks = Masks({"w": torch.tensor([False] * 5 + [True] * 3)}, layout=layout)
        >>> round_widths(masks, {"w": torch.arange(8.0)}, multiple=4).masks["w"].int()
        tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.int32)
    """
    _check(masks, scores, multiple, to)
    chosen, table, layout = masks, None, channels_of("round_widths(masks=)", masks.layout)
    if multiple == "auto":
        for name, value in (("model", model), ("example_inputs", example_inputs)):
            if value is None:
                raise invalid(f"round_widths({name}=)", 'given for multiple="auto", which measures', None)
        model = require_model("round_widths", model)
        table = LatencyTable(model, layout, example_inputs)
        chosen = _measured(masks, scores, to, LayerLatencies(model, layout, example_inputs))
    elif isinstance(multiple, int):
        widths = {n: rounded(count, _step(layout[n], multiple), to) for n, count in _movable(masks).items()}
        chosen = _with(masks, scores, widths)
    forecast = None if model is None else Forecast(require_model("round_widths", model), layout)
    pair = (_cut(masks), _cut(chosen))
    return RoundedWidths(
        masks=chosen,
        before=masks.per_layer(),
        after=chosen.per_layer(),
        parameters=None if forecast is None else (forecast.parameters(pair[0]), forecast.parameters(pair[1])),
        latency=None if table is None else (table.of(pair[0]), table.of(pair[1])),
    )


def rounded(count: LayerCount, multiple: int, to: str = "up") -> int:
    """The rounded number of kept units: at least one, at most all.

    Example:
        >>> [rounded(LayerCount(kept, 30), 8) for kept in (1, 8, 9, 25, 30)]
        [8, 8, 16, 30, 30]
        >>> [rounded(LayerCount(kept, 30), 8, "nearest") for kept in (1, 11, 12, 30)]
        [8, 8, 16, 30]
    """
    if count.kept == count.total:
        return count.total
    blocks = -(-count.kept // multiple) if to == "up" else (2 * count.kept + multiple) // (2 * multiple)
    return min(max(blocks, 1) * multiple, count.total)


def _measured(masks: Masks, scores: Mapping[str, Tensor], to: str, latencies: LayerLatencies) -> Masks:
    """Each group in turn at the fastest of its widths that is not slower than the one it has."""
    current, layout = masks, channels_of("round_widths(masks=)", masks.layout)
    for name, count in _movable(masks).items():
        best, fastest = current, latencies.of(_cut(current), name)
        steps = {_step(layout[name], multiple) for multiple in CANDIDATES}
        for width in sorted({rounded(count, step, to) for step in steps}):
            tried = _with(current, scores, {name: width})
            took = latencies.of(_cut(tried), name)
            if took <= fastest:
                best, fastest = tried, took
        current = best
    return current


def _step(group: UnitGroup, multiple: int) -> int:
    """The multiple in units: of heads, how many make a multiple of channels along each axis that has them."""
    if group.kind == "channels":
        return multiple
    widths = [len(m.positions) // group.size for m in group.members if m.role in ("weight", "input")]
    return multiple // gcd(multiple, *widths)


def _movable(masks: Masks) -> dict[str, LayerCount]:
    """The layers whose width a mask changes."""
    return {name: count for name, count in masks.per_layer().items() if masks.layout[name].removable}


def _cut(masks: Masks) -> dict[str, Tensor]:
    return {name: masks[name] for name in _movable(masks)}


def _with(masks: Masks, scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> Masks:
    """The masks with so many units of these layers."""
    new = {name: _resized(masks[name], scores[name], widths.get(name)) for name in masks}
    return Masks(new, layout=masks.layout, fingerprint=masks.fingerprint)


def _resized(mask: Tensor, score: Tensor, width: int | None) -> Tensor:
    """As many units as asked: of those kept if it is fewer, or those and the highest of the others."""
    kept = int(torch.count_nonzero(mask))
    if width is None or width == kept:
        return mask
    if width < kept:
        return remove_lowest({"": score}, mask.numel() - width, alive={"": mask})[""]
    back = remove_lowest({"": score}, mask.numel() - (width - kept), alive={"": ~mask})[""]
    return mask | back


def _check(masks: object, scores: Mapping[str, Tensor], multiple: object, to: str) -> None:
    if not isinstance(masks, Masks) or not masks.channelwise:
        todo = "Score with fp.Channels(...), and select or solve."
        raise invalid("round_widths(masks=)", "Masks of channels, with their layout", masks, todo)
    if any(isinstance(group, UnitGroup) and group.kind == "depth" for group in masks.layout.values()):
        raise invalid("round_widths(masks=)", "of channels, which have widths", "masks of whole blocks")
    if isinstance(scores, Masks) or any(n not in scores or scores[n].shape != m.shape for n, m in masks.items()):
        given = scores if isinstance(scores, Scores) else list(scores)
        raise invalid("round_widths(scores=)", "of the same layers and units as the masks", given)
    whole = isinstance(multiple, int) and not isinstance(multiple, bool) and multiple >= 1
    if not whole and multiple != "auto":
        raise invalid("round_widths(multiple=)", 'a whole number >= 1, or "auto"', multiple)
    if to not in TO:
        raise unknown("round_widths(to=)", to, TO)
