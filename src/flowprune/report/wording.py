"""Names and numbers as a reader wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowprune.report.spread import Spread

# The measures of the founding paper, by order of the derivative they come from; others follow by name.
FIRST = (
    "dense",
    "magnitude",
    "loss_preservation",
    "biased_loss",
    "gradient_norm_increase",
    "gradient_norm_preservation",
)
SHORT = {
    "gradient_norm_increase": "grad-norm increase",
    "gradient_norm_preservation": "grad-norm preservation",
    "snip": "SNIP",
    "grasp": "GraSP",
    "grasp_abs": "GraSP-abs",
    "synflow": "SynFlow",
    "iter_snip": "Iter-SNIP",
    "force": "FORCE",
    "ntk_sap": "NTK-SAP",
    "prospr": "ProsPr",
    "phew": "PHEW",
    "sbp_sr": "SBP-SR",
    "sbp_rescaled": "SBP, rescaled",
    "erk": "ERK",
    "lm": "LM",
    "obd": "OBD",
    "qm": "QM",
    "uniform_plus": "uniform+",
}
FIELDS = {
    ("prune.ablations", "[]"): "",
    ("prune.ablations", '["shuffle"]'): "shuffled",
    ("prune.ablations", '["reinitialize"]'): "reinitialized",
    ("prune.ablations", '["invert"]'): "inverted",
    ("prune.score_on", "own_weights"): "",
    ("prune.score_on", "fresh_draw"): "scored on a fresh draw",
    ("prune.rescale", "recipe"): "",
    ("prune.rescale", "none"): "",
    ("prune.rescale", "layer"): "rescaled",
    ("prune.rescale", "unit"): "rescaled by unit",
    ("prune.step_penalty", "0.0"): "",
    ("prune.schedule", "adaptive"): "adaptive",
    ("prune.schedule", "exponential"): "",
    ("prune.schedule_options.full", "default"): "",
    ("prune.schedule_options.full", "false"): "",
    ("prune.schedule_options.full", "true"): "whole Hessian",
    ("prune.schedule_options.tolerance", "default"): "",
    ("model.options.stable", "default"): "",
    ("model.options.stable", "true"): "stable",
    ("model.options.initial", "edge_of_chaos"): "edge of chaos",
}
"""What fields with their values are called; empty where a value is what a run has unless told otherwise."""
LETTERS = {
    "model.options.initial": "σ_w",
    "model.options.sigma_b": "σ_b",
    "prune.step_penalty": "λ",
    "prune.schedule_options.tolerance": "tolerance",
}


def ordered(measures: Iterable[str]) -> tuple[str, ...]:
    """Each measure once: dense first, then by order in the theory, then by name.

    Example:
        >>> ordered(["synflow", "magnitude", "dense", "synflow"])
        ('dense', 'magnitude', 'synflow')
    """
    return tuple(sorted(set(measures), key=lambda m: (FIRST.index(m) if m in FIRST else len(FIRST), m)))


def plain(measure: str) -> str:
    """A measure's name in plain words.

    Example:
        >>> plain("loss_preservation"), plain("gradient_norm_increase"), plain("snip")
        ('loss preservation', 'grad-norm increase', 'SNIP')
    """
    return SHORT.get(measure, measure.replace("_", " "))


def field_words(path: str, value: str, otherwise: str) -> str:
    """A field that tells runs apart with its value, in words; ``otherwise`` where there are none for it.

    Example:
        >>> field_words("prune.rescale", "layer", "?"), field_words("model.options.initial", "2.0", "?")
        ('rescaled', 'σ_w = 2')
        >>> field_words("prune.score_on", "own_weights", "?"), field_words("train.batch", "32", "batch=32")
        ('', 'batch=32')
    """
    if (path, value) in FIELDS:
        return FIELDS[path, value]
    if path == "model.options.activation":
        return value
    return f"{LETTERS[path]} = {value.removesuffix('.0')}" if path in LETTERS else otherwise


def cut_in(rounds: int) -> str:
    """``"1 round"`` or ``"5 rounds"``.

    Example:
        >>> cut_in(1), cut_in(5)
        ('1 round', '5 rounds')
    """
    return f"{rounds} round" + ("" if rounds == 1 else "s")


def joined(words: Sequence[str]) -> str:
    """``"a, b and c"``.

    Example:
        >>> joined(["a", "b", "c"])
        'a, b and c'
    """
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else "none"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, and a true minus.

    Example:
        >>> signed(-1.26), signed(0.5), signed(-0.01)
        ('−1.3', '+0.5', '0.0')
    """
    rounded = f"{value:+.{digits}f}"
    return rounded[1:] if float(rounded) == 0 else rounded.replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """A share of one, in percent.

    Example:
        >>> percent(0.975), percent(0.75, 0)
        ('97.5 %', '75 %')
    """
    return f"{100 * share:.{digits}f} %"


def sparse_percent(share: float) -> str:
    """A share of one, in percent, with two figures where it is below one percent.

    Example:
        >>> sparse_percent(0.37), sparse_percent(0.00261), sparse_percent(0.0)
        ('37 %', '0.26 %', '0 %')
    """
    return f"{figures(100 * share, 2)} %" if 0 < share < 0.01 else percent(share, 0)


def accuracy(value: Spread, *, count: bool = False) -> str:
    """A mean accuracy in percent with its spread; one run is labelled as such.

    Example:
        >>> accuracy(Spread(0.9712, 0.0041, 3), count=True), accuracy(Spread(0.97, None, 1))
        ('97.1 ± 0.4 % (n = 3)', '97.0 % (n = 1)')
    """
    if value.std is None:
        return f"{100 * value.mean:.1f} % (n = 1)" if value.n == 1 else f"{100 * value.mean:.1f} %"
    return f"{100 * value.mean:.1f} ± {100 * value.std:.1f} %" + (f" (n = {value.n})" if count else "")


def compact(value: float) -> str:
    """Three figures and a decimal prefix (k = 10³, M = 10⁶, G = 10⁹).

    Example:
        >>> compact(9413066), compact(61450), compact(812)
        ('9.41 M', '61.5 k', '812')
    """
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{figures(value / size)} {prefix}"
    return figures(value) if value != int(value) else str(int(value))


def figures(value: float, count: int = 3) -> str:
    """A number to ``count`` significant figures, without an exponent where it is of ordinary size.

    Example:
        >>> figures(3.14159), figures(314.159), figures(0.001234), figures(1.5e-7)
        ('3.14', '314', '0.00123', '1.5e−7')
    """
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = 0 if value == 0 else max(0, count - 1 - int(f"{abs(value):e}".split("e")[1]))
        return f"{value:.{digits}f}".replace("-", "−")
    mantissa, exponent = f"{value:.{count - 1}e}".split("e")
    trimmed = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{trimmed}e{int(exponent)}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(42.4), duration(125), duration(7300)
        ('42 s', '2 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
