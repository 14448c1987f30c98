"""docs/initialization.md: the recipes, what they come to in small, the sanity checks, collapse, and what it costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import initialization_depth
from initialization_absent import absent, refused, safe_sparsities
from initialization_checks import ablations, beside_random
from initialization_rows import TITLES, Methods, chance, methods, networks, spread_of, table, usual

if TYPE_CHECKING:
    from flowprune.experiments.study import Study
    from flowprune.prune.recipe import Recipe
    from flowprune.report.evidence import Evidence
    from flowprune.report.spread import Spread
    from flowprune.report.values import Row

SMALL = "init_small"
HARDLY = 0.1
"""A dense network less than this above chance has hardly begun to train."""
FASTER = 3.0
"""What was aimed at: how many times as fast as the literal version."""

HEAD = """# Pruning at initialization

Generated from the records of the recipes, from the rows in results/init_small and results/depth, each with its spec,
seed, versions and hardware, and from benchmarks/results/. Made by

    flowprune sweep --study init_small --data-dir data --runs runs/init
    flowprune collect runs/init --into results/init_small
    flowprune sweep --study depth --runs runs/depth
    flowprune collect runs/depth --into results/depth
    python benchmarks/at_initialization.py synflow
    python benchmarks/at_initialization.py memory
    python docs/generate.py

**How to read it.** Accuracies are of the test split after the last epoch, the mean ± one sample standard deviation over
seeds; nothing is selected on them. Two means are *beyond the spread* where they are more than √(s₁² + s₂²) apart, and
*within the spread* otherwise. Differences in points are between runs of one seed, with Student's 95 % interval over
seeds: with three seeds it is wide, and what it does not exclude is not shown to be absent. Images, widths and epochs
are a fraction of the papers': accuracies compare with each other and with no paper's.
"""


DATA = {"labels": "inputs and labels", "inputs": "the shape of an input", "none": "nothing"}


def recipes() -> list[str]:
    """What each recipe is, and where it departs from its paper."""
    from flowprune.core.recipes import RECIPES
    from flowprune.report.wording import plain

    found = [RECIPES[name] for name in RECIPES]
    lines = []
    for each in found:
        source = each.source
        link = f"[{source.arxiv}](https://arxiv.org/abs/{source.arxiv})" if source.arxiv else "–"
        paper = f"{source.authors} ({source.year}), {link}"
        parts = [f"`{each.name}`", plain(each.name), paper, f"`{each.measure}`", DATA[each.data], besides(each)]
        lines.append([*parts, str(each.rounds)])
    head = ("recipe", "name", "paper", "measure", "what it takes of the data", "besides", "rounds")
    intro = (
        '`fp.prune(model, recipe="snip", sparsity=0.9, batches=batches)`; in a spec, `recipe = "snip"`, `at = "init"`.'
    )
    text = [
        intro,
        "",
        *table(head, lines, words=6),
        "",
        "Where they depart from their papers, or from published code:",
        "",
    ]
    for each in found:
        text += [f"- {plain(each.name)}", *(f"    - {words}" for words in each.deviations or ("Nowhere known.",))]
    return text


def besides(recipe: Recipe) -> str:
    """What a recipe asks for besides its measure."""
    parts = [
        f"densities by `{recipe.densities}`" if recipe.densities else "",
        f"kept weights rescaled by {recipe.rescale}" if recipe.rescale else "",
        "a stable residual network" if recipe.stable else "",
        "batch norms as in training" if recipe.rule.get("mode") == "train" else "",
        *(f"{key} = {value}" for key, value in recipe.rule.items() if key != "mode"),
    ]
    return ", ".join(part for part in parts if part) or "–"


def accuracies(rows: Sequence[Row], diagnosed: Sequence[Row] = ()) -> list[str]:
    """Method by sparsity for each network, and which differences lie beyond the spread.

    Args:
        rows: Results.
        diagnosed: Diagnoses of collapse, which tell why a method has no run at a sparsity.
    """
    text, safe = [], {name: {} for name in networks(rows)}
    for (model, method), own in safe_sparsities(diagnosed).items():
        safe.setdefault(model, {})[method] = own
    for name, own in networks(rows).items():
        found = methods([row for row in own if usual(row)])
        shares = sorted({sparsity for values in found.values() for sparsity in values if sparsity})
        if found:
            text += [f"### {TITLES.get(name, name)}", "", *_accuracies(found, shares, chance(own), safe[name]), ""]
    note = (
        "**Bold**: the highest pruned mean of its column; †: within the spread of it. ‡: beyond the largest safe"
        " sparsity of these scores in every seed, so a layer would be emptied, which is refused. –: no run."
    )
    return [*text, note, ""] if text else ["No run of the study is stored yet."]


def _accuracies(found: Methods, shares: Sequence[float], least: float, safe: dict[str, dict[str, float]]) -> list[str]:
    """The table of one network, and a sentence for each sparsity."""
    from flowprune.report.sentences.sparsities import sparse
    from flowprune.report.spread import distinct
    from flowprune.report.tables.grid import accuracy_cell

    spreads = {name: {s: spread_of(values) for s, values in own.items()} for name, own in found.items()}
    pruned = {name: own for name, own in spreads.items() if 0.0 not in own}
    most = max(value.n for own in spreads.values() for value in own.values())
    first = {s: max((own[s] for own in pruned.values() if s in own), key=lambda value: value.mean) for s in shares}

    def cell(value: Spread | None, s: float) -> str:
        near = value is not None and value is not first[s] and distinct(value, first[s]) is False
        return str(accuracy_cell(value, most=most, bold=value is first[s], near=near))

    dense = {name: str(accuracy_cell(own[0.0], most=most)) for name, own in spreads.items() if 0.0 in own}
    lines = [[name, *(words for _ in shares)] for name, words in dense.items()]
    lines += [["chance", *(f"{100 * least:.2f}" for _ in shares)]]
    for name, own in pruned.items():
        gone = [s not in own and refused(safe.get(name, {}), s) for s in shares]
        lines.append([name, *("‡" if no else cell(own.get(s), s) for s, no in zip(shares, gone, strict=True))])
    said = [f"- {_ranked(spreads, s, least)}" for s in shares]
    head = ("test accuracy, %", *(f"{sparse(s)} removed" for s in shares))
    count = f"n = {most} seeds unless a cell says otherwise."
    return [*table(head, lines), "", count, "", *said, *_slow(spreads, first, least)]


def _slow(spreads: dict[str, dict[float, Spread]], first: dict[float, Spread], least: float) -> list[str]:
    """What is to be known where pruned networks end above the dense one."""
    from flowprune.report.sentences.sparsities import sparse
    from flowprune.report.spread import distinct
    from flowprune.report.wording import accuracy, joined

    dense = spreads.get("dense", {}).get(0.0)
    above = [s for s, best in first.items() if dense and best.mean > dense.mean and distinct(best, dense)]
    if dense is None or not above:
        return []
    words = (
        f"- The best pruned networks end above the dense one beyond the spread, at {joined([sparse(s) for s in above])}"
    )
    if dense.mean - least < HARDLY:
        begun = f"the dense network, at {accuracy(dense)}, has hardly begun to train in these epochs"
        return [f"{words}: {begun}. What is compared is how soon networks train, not where they would end."]
    return [f"{words}. Longer training may turn this round: these epochs are few."]


def _ranked(spreads: dict[str, dict[float, Spread]], s: float, least: float) -> str:
    """Which method is highest at a sparsity, beside dense and the others, and which are at chance."""
    from flowprune.report.results import verdict
    from flowprune.report.sentences.sparsities import sparse
    from flowprune.report.spread import distinct
    from flowprune.report.wording import accuracy, joined

    own = {name: values[s] for name, values in spreads.items() if s in values}
    best = max(own, key=lambda name: own[name].mean)
    place = "is highest in the mean" if len(own) > 1 else "alone is stored"
    words = f"At {sparse(s)}, {best} {place} ({accuracy(own[best])}"
    dense = spreads.get(f"dense{', stable network' if best.endswith('stable network') else ''}", {}).get(0.0)
    words += f"; beside dense {verdict(own[best], dense)})" if dense else "; of its network no dense run is stored)"
    apart: dict[bool | None, list[str]] = {}
    for name, value in own.items():
        if name != best:
            apart.setdefault(distinct(own[best], value), []).append(name)
    if apart.get(None):
        return f"{words}. Of some methods there is one seed, so no ranking is claimed."
    parts = [f"beyond the spread below it: {joined(apart[True])}"] if apart.get(True) else []
    parts += [f"within the spread: {joined(apart[False])}"] if apart.get(False) else []
    flat = [name for name, value in own.items() if abs(value.mean - least) < 0.01]
    parts += [f"within a point of chance: {joined(flat)}"] if flat else []
    return f"{words}; {'; '.join(parts)}." if parts else f"{words}."


SHOWN = ("removed", "measure", "n", "effective sparsity, %", "largest safe sparsity, %", "conservation residual")
SAFE = "largest safe sparsity, %"
LEFT = """Before any training. Effective: removed, or on no path from input to output. Largest safe: the largest
sparsity of these scores at which no layer is emptied. Dies first: the layer that the next cut would empty, with the
number of seeds. Conservation: how far a layer's total of θ·g is from the median one at most, by the largest total,
where the method conserves it."""


def collapse(rows: Sequence[Row]) -> list[str]:
    """What of each pruned network does anything, and at which sparsity the first layer dies."""
    from flowprune.report.tables import TABLES

    text: list[str] = []
    for name, own in networks(rows).items():
        grid, first = TABLES["collapse"].of(own), dying(own)
        if grid is None:
            continue
        columns = [each for each in SHOWN if each in grid.columns]
        lines = []
        for line in grid.lines:
            cells = {each: str(line[grid.columns.index(each)]).removesuffix(" (1 round)") for each in columns}
            if SAFE in cells:
                cells[SAFE] = cells[SAFE].partition(" (")[0]
            cells["dies first"] = first.get((cells["removed"], cells["measure"]), "–")
            lines.append(list(cells.values()))
        text += [f"### {TITLES.get(name, name)}: layers", "", *table([*columns, "dies first"], lines, words=2), ""]
        text += [*cut_through(own), *_warned([each.replace(" (1 round)", "") for each in grid.warnings])]
    return [LEFT, "", *text] if text else ["No diagnosis is stored yet."]


def _warned(warnings: Sequence[str]) -> list[str]:
    head = f"<details><summary>Warnings ({len(warnings)})</summary>"
    return [head, "", *(f"- {each}" for each in warnings), "", "</details>", ""] if warnings else []


def dying(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Which layers die first, the most frequent first, by what the table calls sparsity and method."""
    from flowprune.report.shapes.runs import config
    from flowprune.report.tables.accuracy import removed
    from flowprune.report.values import kind, number, text

    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in kind(rows, "collapse"):
        where = (removed(number(row, "sparsity") or 0.0, text(row, "granularity")), config(row).name)
        if layer := text(row, "dies_first"):
            counts.setdefault(where, Counter())[layer.removesuffix(".weight")] += 1
    return {
        where: ", ".join(f"{layer} ({n})" for layer, n in sorted(own.items(), key=lambda item: (-item[1], item[0])))
        for where, own in counts.items()
    }


def cut_through(rows: Sequence[Row]) -> list[str]:
    """The runs of which no kept weight is on a path."""
    from flowprune.report.sentences.sparsities import sparse
    from flowprune.report.shapes.runs import config, grouped
    from flowprune.report.values import kind, number

    runs = grouped(kind(rows, "collapse"), lambda row: (number(row, "sparsity") or 0.0, config(row).name))
    found = []
    for (sparsity, name), own in sorted(runs.items()):
        cut = sum((number(row, "effective_sparsity") or 0.0) >= 1 for row in own)
        if cut:
            found.append(f"{name} at {sparse(sparsity)} ({cut} of {len(own)})")
    return [f"Nothing that is kept is on a path from input to output: {'; '.join(found)}.", ""] if found else []


def newest(rows: Iterable[dict], *keys: str) -> dict[tuple, dict]:
    """The newest row of each combination of the keys."""
    return {tuple(row.get(key) for key in keys): row for row in sorted(rows, key=lambda row: row["time"])}


def quartiles(row: dict) -> str:
    """How many times as fast, with quartiles where there are several rounds."""
    ends = f" ({1 / row['ratio_high']:.2f} to {1 / row['ratio_low']:.2f})" if row["rounds"] > 1 else ""
    return f"{1 / row['ratio']:.2f}{ends}"


def costs(rows_of: Callable[[str], Sequence[dict]]) -> list[str]:
    """A hundred rounds of SynFlow beside the literal version, in time and memory."""
    rows = [row for name in ("at_initialization", "synflow", "synflow_memory") for row in rows_of(name)]
    times = newest(
        (row for row in rows if row["benchmark"] == "synflow"), "model", "density", "rounds_of_pruning", "candidate"
    )
    grown = newest((row for row in rows if row["benchmark"] == "synflow_memory"), "model", "candidate")
    lines = []
    for (model, density, rounds, candidate), ours in times.items():
        theirs = times.get((model, density, rounds, "literal"))
        if candidate != "engine" or theirs is None:
            continue
        memory = [grown.get((model, each), {}).get("extra_mib") for each in ("literal", "engine")]
        faster = 1 / ours["ratio"]
        lines.append([
            TITLES.get(model, model), str(rounds), f"{1 - density:.0%}",
            f"{theirs['median_ms'] / 1e3:.1f}", f"{ours['median_ms'] / 1e3:.1f}",
            quartiles(ours), str(ours["rounds"]),
            *("–" if each is None else f"{each:.0f}" for each in memory),
            f"{FASTER:g}", "reached" if faster >= FASTER else "missed",
        ])  # fmt: skip
    if not lines:
        return ["Not measured yet."]
    head = (
        "network", "rounds", "removed", "literal, s", "flowprune, s", "times as fast (quartiles)", "repeats",
        "literal, MiB", "flowprune, MiB", "aimed at", "",
    )  # fmt: skip
    note = (
        "SynFlow to the end, masks equal to the bit. Literal: the published code, with exact counts, both in float64."
        " Seconds: CPU time of one thread, medians, in turns. MiB: growth of a fresh process's peak memory."
    )
    machines = {f"{row['machine']['processor']}, torch {row['machine']['torch']}" for row in times.values()}
    return [note, "", *table(head, lines), "", f"Hardware: {'; '.join(sorted(machines))}; one thread."]


def stored(evidence: Evidence, study: Study) -> str:
    """How many of a study's runs are there, and where they were made."""
    from flowprune.report.values import text

    runs = {text(row, "run") for row in evidence.rows}
    machines = {(str(each.get("processor")), str(each.get("torch"))) for each in evidence.environments.values()}
    hardware = "; ".join(f"{processor}, torch {torch}" for processor, torch in sorted(machines))
    where = f" Hardware: {hardware}; one thread a run." if hardware else ""
    return f"*{study.title}.* {len(runs)} of {len(study.specs)} runs are stored.{where}"


def scale(study: Study) -> str:
    """How large the runs of a study are, as its specs have it."""
    from flowprune.report.wording import joined

    widths = {spec.model.name: spec.model.options.get("width", 1.0) for spec in study.specs}
    images = sorted({str(spec.data.options.get("train_samples", "all")) for spec in study.specs})
    epochs = sorted({spec.train.epochs.removesuffix("ep") for spec in study.specs})
    names = joined([f"{TITLES.get(name, name)} at {width:g} of its width" for name, width in widths.items()])
    return f"{names}; {joined(images)} training images, {joined(epochs)} epochs."


def page(
    evidence_of: Callable[[str], Evidence],
    rows_of: Callable[[str], Sequence[dict]],
    errors_of: Callable[[str], Mapping[str, str]] = lambda study: {},
) -> str:
    """The whole page; a section without rows says so.

    Args:
        evidence_of: What is stored of a study, by its name.
        rows_of: The stored rows of a benchmark, by its name.
        errors_of: What runs of a study said that stopped, by its name; by run id.
    """
    from flowprune.experiments.studies import STUDIES

    small, deep = evidence_of(SMALL), evidence_of(initialization_depth.STUDY)
    hundred = STUDIES[initialization_depth.STUDY]
    results = [row for row in small.rows if row.get("kind") == "result"]
    parts = {
        "The recipes": recipes(),
        "VGG-16 and ResNet-32": [
            f"{stored(small, STUDIES[SMALL])} {scale(STUDIES[SMALL])}",
            "",
            *accuracies(results, small.rows),
            *absent(small, STUDIES[SMALL], errors_of(SMALL)),
        ],
        "Does it matter which weights?": [*ablations(results), *beside_random(results)],
        "Layer collapse": collapse(small.rows),
        "A hundred layers": [
            stored(deep, hundred),
            "",
            *initialization_depth.section(deep),
            *absent(deep, hundred, errors_of(initialization_depth.STUDY)),
        ],
        "What it costs": costs(rows_of),
    }
    text = [HEAD]
    for title, section in parts.items():
        text += [f"## {title}", "", *section, ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).rstrip("\n") + "\n"
