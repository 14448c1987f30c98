"""What a diagnosis of layer collapse says: its table and its warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowprune.masks import Critical
    from flowprune.prune.collapse import Collapse, LayerCollapse

SHOWN: Final = 12
"""Layers in a table at most."""
NAMED: Final = 3
"""Layers in a sentence at most."""
SPARSE: Final = 0.01
"""A layer with less than this fraction of its weights on a path is warned of; of a network that is as sparse, with less
than a tenth of what the network keeps."""
IDLE: Final = 0.05
"""So is a network with more than this fraction of its kept weights on none."""


AROUND: Final = 1e-6
"""Layer totals that differ by more than this fraction are not those of a chain."""


def warnings_of(
    layers: Sequence[LayerCollapse], sparsity: float, critical: Critical | None, *, whole_units: bool
) -> tuple[str, ...]:
    """What to look at before training; empty where nothing is wrong.

    Args:
        layers: Of the network.
        sparsity: Of the units that were scored, as that of ``critical``.
        critical: The largest safe sparsity, where it is known.
        whole_units: Whether channels were masked: what reads them is kept, idle, until they are removed.
    """
    said = [*_empty(layers), *_thin(layers), *_last(layers)]
    if not whole_units:
        said += _idle(layers)
    if critical is not None and sparsity > critical.sparsity:
        said.append(
            f"sparsity {sparsity:.6g} is above {critical.sparsity:.6g}, the largest safe one for this model and "
            f"measure ({critical.layer} dies first). Ask for less, or prune in more rounds."
        )
    return tuple(said)


def _empty(layers: Sequence[LayerCollapse]) -> Iterable[str]:
    dead = [layer for layer in layers if layer.effective == 0 or (layer.effective is None and layer.kept == 0)]
    if not dead:
        return
    emptied = [layer.name for layer in dead if layer.kept == 0]
    cause = f"{_names(emptied)} kept nothing" if emptied else "the kept weights of its layers do not meet"
    if len(dead) == len(layers) and all(layer.effective == 0 for layer in layers):
        yield f"the output does not depend on the input: {cause}. Ask for less, or prune in more rounds."
    elif emptied:
        yield f"{cause}. Ask for less, or select with scope='local'."
    around = [layer.name for layer in dead if layer.kept]
    if around and len(dead) < len(layers):
        yield f"no kept weight of {_names(around)} is on a path; the network runs around it."


def _thin(layers: Sequence[LayerCollapse]) -> Iterable[str]:
    density = sum(layer.kept for layer in layers) / sum(layer.total for layer in layers)
    least = min(SPARSE, density / 10)
    thin = [
        f"{layer.name} ({layer.effective:,} of {layer.total:,})"
        for layer in layers
        if layer.effective and layer.effective < least * layer.total
    ]
    if thin:
        yield f"fewer than {100 * least:.3g} % of the weights are on a path in {_names(thin)}."


def _last(layers: Sequence[LayerCollapse]) -> Iterable[str]:
    last = [layer.name for layer in layers if layer.kept == 1 < layer.total]
    if last:
        yield f"the last weight is all that is kept of {_names(last)}; the next cut may empty it."


def _idle(layers: Sequence[LayerCollapse]) -> Iterable[str]:
    share = idle_share(layers)
    if share is not None and share > IDLE:
        yield f"{_percent(share)} of the kept weights are on no path from input to output. Prune in more rounds."


def idle_share(layers: Sequence[LayerCollapse]) -> float | None:
    """The fraction of the kept weights that are on no path; None where it is not known."""
    kept = sum(layer.kept for layer in layers)
    if not kept or any(layer.effective is None for layer in layers):
        return None
    return 1.0 - sum(layer.effective or 0 for layer in layers) / kept


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def table(found: Collapse) -> list[str]:
    """The lines of a diagnosis: three names for its sparsity, and the layers that matter."""
    layers = found.layers
    kept, total = sum(layer.kept for layer in layers), sum(layer.total for layer in layers)
    lines = [
        f"density {found.density:.6g}, sparsity {found.sparsity:.6g}, compression {found.compression:.4g}x: "
        f"{kept:,} of {total:,} {found.unit} in {len(layers)} layers"
    ]
    share = idle_share(layers)
    if found.effective_sparsity is not None and share is not None:
        density = 1.0 - found.effective_sparsity
        times = f"{1.0 / density:.4g}x" if density else "infinite"
        lines.append(
            f"effective: density {density:.6g}, sparsity {found.effective_sparsity:.6g}, compression {times}; "
            f"{_percent(share)} of the kept weights are on no path"
        )
    if found.largest_safe is not None:
        safe = found.largest_safe
        lines.append(f"largest safe sparsity for this model and measure: {safe.sparsity:.6g} ({safe.layer} dies first)")
    if found.conservation:
        worst = max(found.conservation, key=lambda name: found.conservation[name] if found.conservation else 0.0)
        apart = found.conservation[worst]
        said = f"layer totals within {apart:.3g} of each other"
        around = f"{worst} carries {apart:.3g} of the flow less than the others: paths go around it"
        lines.append(f"conservation: {said if apart < AROUND else around}")
    return [*lines, *_rows(layers)]


def _rows(layers: Sequence[LayerCollapse]) -> list[str]:
    thinnest = sorted(layers, key=lambda x: x.density if x.effective_density is None else x.effective_density)[:SHOWN]
    shown = [layer for layer in layers if layer in thinnest]
    told = any(layer.effective is not None for layer in layers)
    rows = [["layer", "kept", "of", "density", *(["effective", "dead inputs", "dead outputs"] if told else [])]]
    for layer in shown:
        row = [layer.name, f"{layer.kept:,}", f"{layer.total:,}", f"{layer.density:.4g}"]
        if told:
            inputs, outputs = f"{layer.dead_inputs} of {layer.inputs}", f"{layer.dead_outputs} of {layer.outputs}"
            row += [f"{layer.effective:,}", inputs, outputs]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    left = len(layers) - len(shown)
    return [*lines, f"and {left} denser layers"] if left else lines
