"""What a run writes down of the diagnosis of layer collapse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flowprune.experiments.rows import Row
from flowprune.prune.collapse import Collapse


def collapse_rows(found: Collapse, *, epoch: int) -> Iterator[Row]:
    """kind="collapse": what is left of the network as a whole; kind="collapse_layer": of each layer.

    Example:
        >>> from flowprune.prune.collapse import LayerCollapse
        >>> found = Collapse((LayerCollapse("w", 1, 2),), 0.5, None, 2.0, None, None, ())
        >>> [row["kind"] for row in collapse_rows(found, epoch=3)]
        ['collapse', 'collapse_layer']
    """
    safe = found.largest_safe
    yield {
        "kind": "collapse",
        "epoch": epoch,
        "unit": found.unit,
        "achieved_sparsity": found.sparsity,
        "effective_sparsity": found.effective_sparsity,
        "compression": found.compression,
        "largest_safe_sparsity": None if safe is None else safe.sparsity,
        "dies_first": None if safe is None else safe.layer,
        "conservation": max(found.conservation.values()) if found.conservation else None,
        "warnings": list(found.warnings),
    }
    for layer in found.layers:
        fields = asdict(layer)
        yield {"kind": "collapse_layer", "epoch": epoch, "layer": fields.pop("name"), **fields}
