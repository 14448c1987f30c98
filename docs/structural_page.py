"""docs/structural.md: what can be removed from which model, whether it is right, what it costs and what it saves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

Row = dict

TITLES = {
    "vgg13": "VGG-13",
    "resnet56": "ResNet-56",
    "mobilenet_v1": "MobileNet-V1",
    "preact_resnet18": "PreAct-ResNet-18",
    "ViTForImageClassification": "ViT",
    "BertForSequenceClassification": "BERT",
    "BertForMaskedLM": "BERT, tied words",
    "GPT2LMHeadModel": "GPT-2",
    "LlamaForCausalLM": "Llama (grouped queries)",
    "Qwen3ForCausalLM": "Qwen3 (grouped queries)",
    "ConvNextForImageClassification": "ConvNeXt",
    "SwinForImageClassification": "Swin",
    "DenseNet": "DenseNet: concatenation",
    "Inception": "Inception: branches",
    "Detector": "YOLO: C2f, two scales",
    "UNet": "U-Net: skips",
    "CrossStage": "CSP: channels by place",
    "GroupNormed": "group norm, residual",
    "Unshuffled": "space to depth",
    "VisionTransformer": "ViT: one layer for q, k, v",
    "GroupedQueries": "decoder: one layer for q, k, v, grouped queries, rotary, tied words",
    "Experts": "experts: einsum of bare parameters",
    "Bilinear": "attention of one head",
    "SqueezeExcite": "squeeze-excite",
    "Shuffled": "ShuffleNet: channel shuffle",
    "Tied": "two layers with one weight",
    "Branching": "a branch that the data decide",
}
FAMILIES = {
    "flowprune": "The project's own networks (CIFAR size)",
    "Hugging Face": "Hugging Face models, small random configurations",
    "by hand": "Networks written by hand, as people write them",
}
EQUAL = 1e-5
GRAPH, CUT, SHARE = 2.0, 1.0, 0.85
"""What was aimed at: seconds, seconds, and a fraction of the ideal speed-up."""

HEAD = """# Removing channels and heads: what works, what it costs, what it saves

Generated from benchmarks/results/ (removal, removal_large, speed_after_cut). Made by

    python benchmarks/removal.py models
    python benchmarks/removal.py large
    python benchmarks/speed_after_cut.py resnet56
    python benchmarks/speed_after_cut.py vgg13
    python docs/generate.py
"""

READ = """**How to read it.** Each model is cut by magnitude at 25, 50 and 75 % of its units, over all layers and in
each: six cuts; one unit of a layer always stays. *Equal* counts the cuts after which the smaller model gives what the
masked one gives, to 1e-5 in single precision, on the example inputs and on others of their shape, and trains a step;
beside it the largest difference of the six. *Left* is the part of the parameters left where half of them were asked
for. The graph is built in turns by both packages, of new models each time, in CPU seconds of one thread, medians.

torch-pruning 1.6.1 is told what its documentation tells: which layers give the output, `num_heads`, whole heads for
decoders and BERT and dimensions of every head for vision transformers as in its examples, a pruner of its own for
Swin's patch merging; and the attributes that its examples set by hand after the cut (`num_heads`, `head_dim`) are set.
It has 60 seconds of CPU time for a cut. It has no budget: *left* is at `pruning_ratio=0.5`, which its quick start
shows, and at 0.3, which its README gives for half of the parameters. Its masked model has the channels that its groups
name at zero. It also narrows streams that layer and group norms average over, which no masked model equals, since fewer
numbers have another mean: *streams whole* are the same cuts with those streams ignored, and is what says whether
the rest is right. flowprune leaves such streams whole.

Heads of attention are units where the code splits them off itself. `nn.MultiheadAttention`, and so
`nn.TransformerEncoder`, ties its width to its input: its heads stay whole, and the layers between are cut."""


def latest(rows: Iterable[Row], *keys: str) -> dict[tuple, Row]:
    """The newest row of each combination of the keys, in the order of first appearance."""
    found: dict[tuple, Row] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        if key not in found or row["time"] >= found[key]["time"]:
            found[key] = row
    return found


TEXT = ("model", "flowprune", "torch-pruning", "by", "what", "words", "how it runs", "channels gone", "")
"""Titles of columns that hold words."""


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    rules = ["---" if title in TEXT else "---:" for title in head]
    return [f"| {' | '.join(cells)} |" for cells in (head, rules, *lines)]


def number(value: float | None, form: str = "{:.2g}") -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else form.format(value)


def left(row: Row, key: str = "left") -> str:
    """The part of the parameters that is left."""
    return "–" if row.get(key) is None else f"{row[key] / row['parameters']:.1%}"


def equal(row: Row, prefix: str = "") -> str:
    """How many of the cuts gave the masked model, and the largest difference."""
    tried = row.get(f"{prefix}tried")
    if not tried or row["outcome"] in ("refuses", "raises", "hangs"):
        return "–"
    refused = f", {row['refused_cuts']} refused" if row.get("refused_cuts") and not prefix else ""
    return f"{row[f'{prefix}equal']} of {tried} ({number(row[f'{prefix}difference'], '{:.0e}')}){refused}"


def outcome(row: Row) -> str:
    """What happened, in a word or two."""
    words = {"prunes": "yes", "breaks": "yes, then does not run", "hangs": "does not end"}
    said = words.get(row["outcome"], row["outcome"])
    return f"{said}, unties" if row.get("untied") else said


def models(rows: Sequence[Row]) -> list[str]:
    """The table of all models, and what it comes to."""
    found = latest(rows, "model", "candidate")
    names = [name for name in TITLES if (name, "flowprune") in found]
    text = [READ, ""]
    for family, title in FAMILIES.items():
        lines = []
        for name in names:
            ours, theirs = found[name, "flowprune"], found[name, "torch-pruning"]
            if ours["family"] == family:
                lines.append([TITLES[name], f"{ours['parameters']:,}", *_ours(ours), *_theirs(theirs)])
        text += [f"### {title}", "", *table(MODELS, lines), ""]
    ours = [found[name, "flowprune"] for name in names]
    theirs = [found[name, "torch-pruning"] for name in names]
    return [*text, *summary(ours, theirs), "", *reasons(ours, theirs), ""]


MODELS = (
    "model", "parameters", "flowprune", "equal", "left", "graph, s",
    "torch-pruning", "equal", "streams whole", "left at 0.5", "left at 0.3", "graph, s",
)  # fmt: skip


def _ours(row: Row) -> list[str]:
    return [outcome(row), equal(row), left(row), number(row.get("graph_s"))]


def _theirs(row: Row) -> list[str]:
    parts = [outcome(row), equal(row), equal(row, "whole_"), left(row), left(row, "left_three")]
    return [*parts, number(row.get("graph_s"))]


def summary(ours: Sequence[Row], theirs: Sequence[Row]) -> list[str]:
    """What the tables come to, in sentences."""
    pruned = [row for row in ours if row["outcome"] == "prunes"]
    tried, same = (sum(row[key] for row in pruned) for key in ("tried", "equal"))
    refused = sum(row.get("refused_cuts", 0) for row in pruned)
    misses = {row["model"]: abs(row["left"] / row["parameters"] - 0.5) for row in pruned}
    worst = max(misses, key=lambda name: misses[name])
    near = sum(miss <= 0.01 for miss in misses.values())
    lines = [
        f"flowprune prunes {len(pruned)} of {len(ours)} models and {verb(ours)}. {same} of {tried} cuts give what the "
        f"masked model gives, to 1e-5 ({verdict(same == tried)}); the largest difference is "
        f"{max(row['difference'] for row in pruned):.0e}. {refused} more were refused before anything was touched, for "
        "the reason below.",
        f"Asked for half of the parameters, it comes within one point of it in {near} of {len(pruned)} models; the "
        f"farthest is {TITLES[worst]} with {misses[worst] * 100:.1f} points (one head of a network this small is a "
        "large part of it).",
    ]
    done = [row for row in theirs if row["outcome"] == "prunes"]
    right = [row for row in done if row["equal"] == row["tried"] or 0 < row["whole_tried"] == row["whole_equal"]]
    half, three = ([row[key] / row["parameters"] for row in done if row[key]] for key in ("left", "left_three"))
    lines += [
        f"torch-pruning prunes {len(done)} of {len(theirs)}; of the others, it {verb(theirs)}. {len(right)} of those "
        "it prunes are right in all cuts, with the streams of norms left whole where there are such.",
        f"At 0.5 it leaves {spread(half)} of the parameters, at 0.3 {spread(three)}.",
    ]
    attention = [row for row in done if row["as_returned"]]
    silent = [row for row in attention if any(d is not None and d > EQUAL for d in row["as_returned"])]
    stuck = [row for row in attention if None in row["as_returned"]]
    lines.append(
        f"Without the attributes set by hand, {len(silent)} of the {len(attention)} models with attention that it "
        f"prunes gives another answer without an error after some cut, and {len(stuck)} do not run after others; "
        "flowprune sets the attributes and checks them."
    )
    both = [
        (a["graph_s"] / b["graph_s"])
        for a, b in zip(ours, theirs, strict=True)
        if a.get("graph_s") and b.get("graph_s")
    ]
    lines.append(
        f"Its graph is the quicker one: flowprune's takes {statistics.median(both):.0f} times as long (median of "
        f"{len(both)} models), since it captures the model and tries what it found on a cut copy."
    )
    return [f"- {line}" for line in lines]


def spread(parts: Sequence[float]) -> str:
    """The range of some parts of the whole, and their median."""
    return f"{min(parts):.0%} to {max(parts):.0%} (median {statistics.median(parts):.0%})"


VERBS = {
    "refuses": "refuses {}",
    "raises": "raises an error on {}",
    "breaks": "leaves {} that do not run",
    "hangs": "does not end on {}",
}


def verb(rows: Sequence[Row]) -> str:
    """What happened with the others, counted."""
    counts = {key: sum(row["outcome"] == key for row in rows) for key in VERBS}
    return ", ".join(VERBS[key].format(count) for key, count in counts.items() if count) or "refuses none"


def reasons(ours: Sequence[Row], theirs: Sequence[Row]) -> list[str]:
    """Where the models that were not pruned stopped."""
    lines = [
        [
            TITLES[row["model"]],
            who,
            f"{row['refused_cuts']} cuts refused" if "refused_cuts" in row else outcome(row),
            f"`{row['reason'].replace('|', '/').replace('`', '')}`",
        ]
        for who, rows in (("flowprune", ours), ("torch-pruning", theirs))
        for row in rows
        if row.get("reason")
    ]
    return [
        "Where a model or a cut was refused or failed, and the words:",
        "",
        *table(("model", "by", "what", "words"), lines),
    ]


def large(rows: Sequence[Row]) -> list[str]:
    """Transformers of a hundred million parameters."""
    found = latest(rows, "model", "candidate")
    aims = {"graph": GRAPH, "cut and check": CUT}
    lines = [
        [model, f"{row['parameters'] / 1e6:.0f} M", what, f"{row['cpu_s']:.2f}", f"{row['wall_s']:.2f}",
         f"{row['machine']['load']:.1f}", f"{aims[what]:.0f}", verdict(row["cpu_s"] <= aims[what])]
        for (model, what), row in found.items()
    ]  # fmt: skip
    said = [
        f"- {model}, {what}: {row['cpu_s']:.2f} s where {aims[what]:.0f} s was aimed at: "
        f"{verdict(row['cpu_s'] <= aims[what])}."
        for (model, what), row in found.items()
    ]
    head = ("model", "parameters", "what", "CPU s", "wall s", "load", "aimed at, s", "")
    note = (
        "The second row of a model is a cut of half the units of each layer with its check against the masked model, "
        "beyond the graph. One thread, medians; the load is what the machine's two cores had to do, which wall time "
        "waits for and CPU time does not."
    )
    return [*table(head, lines), "", note, "", *said, ""]


def verdict(reached: bool) -> str:
    """In a word."""
    return "reached" if reached else "missed"


FORMS = {"eager": "eager", "channels_last": "eager, channels last", "onnxruntime": "onnxruntime"}


def speed(rows: Sequence[Row]) -> list[str]:
    """Latency after the cut beside its ideals."""
    found = latest(rows, "model", "form", "batch", "candidate")
    found = {key: row for key, row in found.items() if not already_rounded(found, key)}
    lines = []
    for (model, form, batch, what), row in found.items():
        if what != "dense":
            dense = found[model, form, batch, "dense"]
            lines.append([
                TITLES[model], FORMS[form], str(batch), what, milliseconds(dense), milliseconds(row),
                f"{row['speedup']:.2f} ({1 / row['ratio_high']:.2f} to {1 / row['ratio_low']:.2f})",
                f"{row['ideal_multiply_adds']:.2f}", f"{row['ideal_activation_bytes']:.2f}", f"{row['share']:.2f}",
                verdict(row["share"] >= SHARE),
            ])  # fmt: skip
    head = (
        "model", "how it runs", "batch", "channels gone", "dense, ms (IQR)", "pruned, ms (IQR)",
        "times as fast (quartiles)", "ideal: multiply-adds", "ideal: bytes", "share of the smaller", "",
    )  # fmt: skip
    note = (
        "The same part of the channels of each layer goes, by magnitude; *multiples of 8* has all widths rounded to "
        "multiples of 8, where they are not already. Dense and pruned run in turns, in the same form; CPU time of one "
        "thread, medians over rounds with the interquartile range. The ideals are dense over pruned multiply-adds, and "
        "dense over pruned bytes that the modules write; aimed at is "
        f"{SHARE} of the smaller one, which a network that computes more than it writes goes beyond."
    )
    return [note, "", *table(head, lines), "", *reached(found), ""]


def already_rounded(found: dict[tuple, Row], key: tuple) -> bool:
    """Whether rounding the widths changed nothing."""
    *setting, what = key
    plain = found.get((*setting, what.partition(",")[0]))
    return "," in what and plain is not None and plain["parameters"] == found[key]["parameters"]


def milliseconds(row: Row) -> str:
    """The median with the interquartile range."""
    return f"{row['median_ms']:.3g} ({row['iqr_ms']:.2g})"


def reached(found: dict[tuple, Row]) -> list[str]:
    """A sentence for each model, form and cut: in how many batches the aim was reached, and the lowest share."""
    groups: dict[tuple, list[tuple[float, int]]] = {}
    for (model, form, batch, what), row in found.items():
        if what != "dense":
            groups.setdefault((model, form, what), []).append((row["share"], batch))
    lines = []
    for (model, form, what), shares in groups.items():
        low, batch = min(shares)
        missed = [f"{share:.2f} at batch {size}" for share, size in shares if share < SHARE]
        says = (
            f"missed: {', '.join(missed)}"
            if missed
            else f"reached at every batch, {low:.2f} at the least (batch {batch})"
        )
        lines.append(f"- {TITLES[model]}, {FORMS[form]}, {what}: {says}.")
    return lines


def page(rows_of: Callable[[str], Sequence[Row]]) -> str:
    """The whole page; nothing where nothing is stored.

    Args:
        rows_of: The stored rows of a benchmark, by its name.
    """
    parts = {
        "Any model": ("removal", models),
        "A transformer of a hundred million parameters": ("removal_large", large),
        "Speed after the cut": ("speed_after_cut", speed),
    }
    stored = {name: rows_of(name) for name, _ in parts.values()}
    if not all(stored.values()):
        return ""
    text = [HEAD]
    for title, (name, section) in parts.items():
        text += [f"## {title}", "", *section(stored[name])]
    machines = {f"{r['machine']['processor']}, torch {r['machine']['torch']}" for rows in stored.values() for r in rows}
    return "\n".join([*text, f"Hardware: {'; '.join(sorted(machines))}; one thread."]) + "\n"
