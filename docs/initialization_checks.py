"""The section of docs/initialization.md on sanity checks: disturbed masks and weights, and random pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from initialization_rows import TITLES, by_seed, method_of, methods, networks, spread_of, table, told, usual

if TYPE_CHECKING:
    from flowprune.report.reproduction.case import Case
    from flowprune.report.values import Row

ABLATED = {
    "shuffled": ("prune.ablations", '["shuffle"]', "no"),
    "reinitialized": ("prune.ablations", '["reinitialize"]', "no"),
    "scored on a fresh draw": ("prune.score_on", "fresh_draw", ""),
    "inverted": ("prune.ablations", '["invert"]', "yes"),
}
"""Field, value, and whether Frankle et al. say that it costs accuracy; of a fresh draw they say nothing."""
SEEDS = 3
"""Of the study: an interval over another number says so."""
CLAIM = """Frankle et al. (2021, [2009.08576](https://arxiv.org/abs/2009.08576)) say that what such methods find is how
much to keep of each layer: shuffling the mask within each layer, or drawing the kept weights anew, costs no accuracy.
They also say that the methods beat random pruning. Keeping what a method would cut (inverted) ought to cost accuracy if
its scores tell anything; a fresh draw scores other weights than are trained, as the official code of SNIP does.
Intervals are over three pairs of runs unless a cell says otherwise; *undecided* is an interval with zero inside."""


def ablations(rows: Sequence[Row]) -> list[str]:
    """SNIP with its mask or weights disturbed beside SNIP, seed by seed."""
    text = [CLAIM, ""]
    for name, own in networks(rows).items():
        title = TITLES.get(name, name)
        found = _ablated(title, [row for row in own if method_of(row) == "SNIP"])
        text += found or [f"{title}: no run with an ablation is stored.", ""]
    return text if len(text) > 2 else [*text, "No run with an ablation is stored yet.", ""]


def _ablated(title: str, rows: Sequence[Row]) -> list[str]:
    from flowprune.report.reproduction.case import case, difference
    from flowprune.report.sentences.sparsities import sparse
    from flowprune.report.values import number

    changed = {words: [r for r in rows if told(r, path) == value] for words, (path, value, _) in ABLATED.items()}
    levels = sorted({number(row, "sparsity") or 0.0 for own in changed.values() for row in own})
    text: list[str] = []
    for level in levels:
        plain = by_seed(row for row in rows if usual(row) and number(row, "sparsity") == level)
        lines, said = [["as it is", *_mean(plain), "–", "–"]] if plain else [], []
        for words, own in changed.items():
            values = by_seed(row for row in own if number(row, "sparsity") == level)
            found = case(words, difference(values, plain))
            if values:
                lines.append([words, *_mean(values), interval(found), effect(found)])
            if found is not None and (claimed := ABLATED[words][2]):
                said.append(f"- {title}, {words}: {judged(found, claimed)}.")
        head = (f"{title}, SNIP, {sparse(level)} removed", "accuracy, %", "n", "difference, points", "which is")
        text += [*table(head, lines), "", *said, ""]
    return text


def _mean(values: dict[str, float]) -> tuple[str, str]:
    from flowprune.report.tables.grid import accuracy_cell

    value = spread_of(values)
    return accuracy_cell(value, most=value.n).main, str(value.n)


def interval(found: Case | None) -> str:
    """A difference in points with its interval."""
    from flowprune.report.wording import signed

    if found is None:
        return "–"
    mean, low, high, n = found.interval
    if low is None or high is None:
        return f"{signed(mean or 0.0)} (n = 1)"
    seeds = "" if n == SEEDS else f", n = {n}"
    return f"{signed(mean or 0.0)} ({signed(low)} to {signed(high)}{seeds})"


def effect(found: Case | None) -> str:
    """What a difference shows, in words."""
    if found is None:
        return "not known: no seed has both"
    if found.interval.low is None:
        return "not known: one pair"
    words = {"holds": "higher", "does not hold": "lower", "undecided": "undecided", "not testable": "not known"}
    return "equal" if found.interval.low == found.interval.high == 0 else words[found.verdict]


def judged(found: Case, claimed: str) -> str:
    """What a difference says of a claim: ``"yes"``, that it costs accuracy, or ``"no"``, that it does not."""
    from flowprune.report.wording import signed

    low, said = found.interval.low, effect(found)
    if low is None:
        return "nothing can be said from one pair of runs"
    if claimed == "yes":
        shown = {"lower": "it costs accuracy, as it ought to", "higher": "it gains accuracy, against what it ought to"}
        return shown.get(said, "a cost is not shown")
    if said == "lower":
        return "it costs accuracy, against the claim"
    if said == "higher":
        return "it gains accuracy; the claim, that it costs none, holds"
    if said == "equal":
        return "the same accuracies; the claim holds"
    return f"no cost is shown, as claimed; one of {signed(-low).removeprefix('+')} points is not excluded"


def beside_random(rows: Sequence[Row]) -> list[str]:
    """Each method less random pruning, seed by seed, and how often it is higher."""
    from flowprune.report.reproduction.case import case, difference
    from flowprune.report.sentences.sparsities import sparse

    text: list[str] = []
    for name, own in networks(rows).items():
        found = methods([row for row in own if usual(row) and not told(row, "model.options.stable")])
        floor = found.pop("random", {})
        cases = {
            (each, s): one
            for each, values in found.items()
            for s in values
            if (one := case(each, difference(values[s], floor.get(s, {})))) is not None
        }
        if not cases:
            continue
        shares, names = sorted({s for _, s in cases}), list(dict.fromkeys(each for each, _ in cases))
        lines = [
            [each, *(f"{interval(one)}: {effect(one)}" if (one := cases.get((each, s))) else "–" for s in shares)]
            for each in names
        ]
        text += table((f"{TITLES.get(name, name)}, less random, points", *(sparse(s) for s in shares)), lines)
        text += ["", f"- {TITLES.get(name, name)}: {_counted([one.verdict for one in cases.values()])}", ""]
    return text


def _counted(verdicts: Sequence[str]) -> str:
    """How often the claim, that methods beat random pruning, comes out."""
    good, bad = verdicts.count("holds"), verdicts.count("does not hold")
    words = f"the methods beat random pruning, as claimed, in {good} of {len(verdicts)} comparisons"
    return f"{words} and are beaten by it in {bad}; {len(verdicts) - good - bad} are undecided."
