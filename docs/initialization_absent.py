"""Which runs of a study have no rows, and why, as far as the rows of others tell: the scores would empty a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from initialization_rows import method_of, usual

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec
    from flowprune.experiments.study import Study
    from flowprune.report.evidence import Evidence
    from flowprune.report.values import Row

Safe = dict[tuple[str, str], dict[str, float]]
"""The largest safe sparsity by model, method and seed."""


def safe_sparsities(rows: Sequence[Row]) -> Safe:
    """Of the methods that score once: their scores, and so the layers they empty, are the same at every sparsity."""
    from flowprune.core.recipes import RECIPES
    from flowprune.report.values import kind, number, text

    found: Safe = {}
    for row in kind(rows, "collapse"):
        name, safe = text(row, "measure"), number(row, "largest_safe_sparsity")
        if safe is not None and usual(row) and name in RECIPES and RECIPES[name].rounds == 1:
            found.setdefault((text(row, "model"), method_of(row)), {})[text(row, "seed")] = safe
    return found


def refused(safe: dict[str, float], sparsity: float) -> bool:
    """Whether a sparsity empties a layer in every seed that is known."""
    return bool(safe) and max(safe.values()) < sparsity


def absent(evidence: Evidence, study: Study, errors: Mapping[str, str]) -> list[str]:
    """The runs of a study that have no rows, by cell, with what is known of why; nothing where all have."""
    from flowprune.experiments.telling import settings
    from flowprune.report.wording import joined

    found: dict[tuple[str, str], list[str]] = {}
    safe = safe_sparsities(evidence.rows)
    for spec, differs in zip(study.specs, settings(study.specs), strict=True) if evidence.rows else ():
        if spec.run_id not in evidence.specs:
            why = _told(errors.get(spec.run_id, "")) or _reason(spec, safe)
            found.setdefault((_words(spec, differs), why), []).append(str(spec.seed))
    lines = [
        f"- {words}, seed{'' if len(seeds) == 1 else 's'} {joined(sorted(seeds))}: {why}"
        for (words, why), seeds in found.items()
    ]
    head = (
        "A run that would empty a layer is refused, and one whose loss is no number stops; neither leaves rows. These"
        " have none, each with what was said, or with what other rows tell of it:"
    )
    return [head, "", *lines, ""] if lines else []


def _words(spec: Spec, differs: Mapping[str, object]) -> str:
    """A cell, with the options of the model and the rescaling that tell it from others of the study."""
    from flowprune.experiments.study import cell

    fields = {path: value for path, value in differs.items() if path.startswith("model.options.") and value is not None}
    options = " and ".join(f"{path.rpartition('.')[2]} = {value}" for path, value in fields.items())
    rescaled = ", rescaled" if spec.prune is not None and spec.prune.rescale in ("layer", "unit") else ""
    return f"{cell(spec)}{rescaled}{f' ({options})' if options else ''}"


def _told(error: str) -> str:
    """The first sentence of an error."""
    return error.partition(". ")[0].rstrip(".") + "." if error else ""


def _reason(spec: Spec, safe: Safe) -> str:
    from flowprune.report.wording import percent, plain

    cut = spec.prune
    if cut is None or "invert" in cut.ablations or cut.score_on != "own_weights":  # whose scores are others
        return "not known from the rows."
    own = safe.get((spec.model.name, plain(cut.method)), {}) | safe.get(
        (spec.model.name, f"{plain(cut.method)}, stable network"), {}
    )
    known = own.get(str(spec.seed))
    if known is None or known >= cut.sparsity:
        return "not known from the rows."
    low, high = (percent(end(own.values())) for end in (min, max))
    return f"beyond the largest safe sparsity ({low if low == high else f'{low} to {high}'})."
