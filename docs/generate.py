"""Write the generated parts of the documentation from stored rows.

python docs/generate.py    rewrite README.md, docs/reproduction.md, docs/structural.md, docs/initialization.md,
                           docs/loss_models.md and docs/images/ from the rows that are kept

Rows get to results/ by ``flowprune collect runs/demo --into results/demo``.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
import initialization_page
import loss_models_page
import structural_page

if TYPE_CHECKING:
    from flowprune.experiments import Spec
    from flowprune.report.comparisons import Comparison
    from flowprune.report.evidence import Evidence
    from flowprune.report.values import Row

ROOT = Path(__file__).parents[1]
STORED = ROOT / "results"
IMAGES = ROOT / "docs" / "images"
BENCHMARKS = ROOT / "benchmarks" / "results"

RESNET = {"model": "resnet56", "batch": 64, "keep_memory": False, "device": "cpu"}
VGG = {**RESNET, "model": "vgg13"}
VGG11 = {"model": "vgg11_plain", "batch": 100}
ONE_BATCH = {"model": "resnet56", "batch": 64}
PERCEPTRON = {"model": "mlp 784-300-100", "batch": 500}
STEP = {"batch": 128, "width": 1.0, "device": "cpu"}
RATIO = ("ratio", "{:.2f}x")
NETWORKS = {"resnet56": "ResNet-56", "vgg13": "VGG-13", "mobilenet_v1": "MobileNet-V1"}

# (title, benchmark, candidate, setting that must match, (key, how it is written), aimed at, a number or None)
COSTS = [
    ("parameters alone, ResNet-56", "signals", "parameters", RESNET, ("ratio", "{:.3f}x"), 0.01),
    ("gradient, ResNet-56", "signals", "gradient", RESNET, RATIO, 1.05),
    ("gradient, VGG-13", "signals", "gradient", VGG, RATIO, 1.05),
    ("gradient and H·g, ResNet-56", "signals", "hessian_gradient", RESNET, RATIO, 4.2),
    ("gradient and H·g, VGG-13", "signals", "hessian_gradient", VGG, RATIO, 3.9),
    ("the same by two graphs, as the paper's code does, ResNet-56", "signals", "two_graphs", RESNET, RATIO, None),
    ("the same by two graphs, VGG-13", "signals", "two_graphs", VGG, RATIO, None),
    ("per-example Fisher, ResNet-56", "signals", "fisher", RESNET, RATIO, 1.3),
    ("per-example Fisher, VGG-13", "signals", "fisher", VGG, RATIO, 1.75),
    ("exact Gauss-Newton diagonal of 10 classes, VGG-11", "curvature", "ggn", VGG11, RATIO, None),
    ("11 backward passes, from each output and the loss, VGG-11", "curvature", "C + 1 backward passes", VGG11, RATIO,
     None),
    ("the same diagonal by BackPACK, VGG-11", "curvature", "BackPACK DiagGGNExact", VGG11, RATIO, None),
    ("the same by a loop over examples and classes, VGG-11", "curvature", "ggn, loop over examples and classes", VGG11,
     RATIO, None),
    ("one random label for each example in its place, VGG-11", "curvature", "fisher_mc", VGG11, RATIO, None),
    ("one random probe of the Hessian in its place, VGG-11", "curvature", "hutchinson", VGG11, RATIO, None),
    ("exact Gauss-Newton diagonal, ResNet-56", "curvature", "ggn", ONE_BATCH, RATIO, None),
    ("11 backward passes, ResNet-56", "curvature", "C + 1 backward passes", ONE_BATCH, RATIO, None),
    ("per-example Fisher of one batch, the way to it tried out first, ResNet-56", "curvature", "empirical", ONE_BATCH,
     RATIO, 1.3),
    ("H·g of a perceptron, 500 examples together", "parts", "hessian_gradient", PERCEPTRON, RATIO, None),
    ("the same, 32 at a time", "parts", "hessian_gradient, 32 at a time", PERCEPTRON, RATIO, None),
    ("per-example Fisher, VGG-11", "curvature", "empirical", VGG11, RATIO, None),
    ("the same by BackPACK, VGG-11", "curvature", "BackPACK SumGradSquared", VGG11, RATIO, None),
    ("the same by a loop over examples, VGG-11", "curvature", "empirical, loop over examples", VGG11, RATIO, None),
    ("all the paper's measures at once, ResNet-56", "signals", "all_measures", RESNET, RATIO, 4.2),
    ("and per-example Fisher besides, ResNet-56", "signals", "with per-example Fisher", RESNET, RATIO, None),
    ("selection of 10⁸ scores", "selection", "select 90 %", {"n": 10**8}, ("ns_per_score", "{:.2f} ns a score"), 1.5),
    ("selection, half of them tied", "selection", "select 90 %, half tied", {"n": 10**8},
     ("ns_per_score", "{:.2f} ns a score"), 1.5),
    ("its memory beside the scores, masks included", "selection", "select 90 %", {"n": 10**8},
     ("extra_memory", "{:.2f} of them"), 1.0),
    ("masked step, ResNet-56, batch 128", "masked_step", "masked step", {"model": "resnet56", "batch": 128},
     ("ratio", "{:.2f}x dense"), 1.01),
    ("masked step, VGG-13, batch 128", "masked_step", "masked step", {"model": "vgg13", "batch": 128},
     ("ratio", "{:.2f}x dense"), 1.01),
    ("crop, flip and normalise, beside one PIL image at a time", "training_pipeline", "flowprune", {"batch": 128},
     RATIO, 0.25),
    *(
        (f"{what} in {form}, channels-last, {title}", benchmark, f"{form} channels-last", {**STEP, "model": model},
         RATIO, target)
        for what, benchmark, targets in (("training step", "training_step", {"bf16": 0.5}),
                                         ("training epoch", "training_epoch", {}))
        for model, title in NETWORKS.items()
        for form, target in (("fp32", None), ("bf16", targets.get("bf16")))
    ),
    ("relative error of ‖x‖² over 10⁸ entries", "norm", "squared_norm", {}, ("relative_error", "{:.0e}"), 1e-6),
    ("`flowprune --help`", "cli", "flowprune --help", {}, ("median_ms", "{:.0f} ms"), 90),
]  # fmt: skip


def evidence_of(study: str) -> Evidence:
    """What is stored of a study, read as the command line reads it; nothing where there is no archive of it."""
    from flowprune.experiments.archive import Archive
    from flowprune.report.evidence import Evidence, load

    return load(STORED / study) if Archive.at(STORED / study) else Evidence(())


def errors_of(study: str) -> dict[str, str]:
    """What runs of a study said that stopped, by run id."""
    from flowprune.experiments.failures import failures

    return {failure.run: failure.error for failure in failures(STORED / study)} if (STORED / study).is_dir() else {}


def rows_of(study: str) -> Sequence[Row]:
    """The stored rows of a study."""
    return evidence_of(study).rows


def lines(path: Path) -> list[dict]:
    """The JSON objects of a file; none where it is missing."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def demo() -> str:
    """The demo's section: one picture and one table."""
    from flowprune.report import markdown
    from flowprune.report.sentences import accuracy as sentence
    from flowprune.report.shapes import accuracy as shape

    rows = rows_of("demo")
    if not rows:
        return ""
    said = sentence.say(shape.accuracy(rows))
    picture = "![Test accuracy by epoch, dense and pruned early by five measures](docs/images/demo.png)"
    return f"{picture}\n\n{said}\n\n{markdown(rows)}\n"


def newest(benchmark: str, candidate: str, setting: dict) -> dict:
    """The newest stored row of a candidate in exactly this setting; a missing one is an error."""
    found = [
        row
        for row in lines(BENCHMARKS / f"{benchmark}.jsonl")
        if row["candidate"] == candidate and all(row.get(key) == value for key, value in setting.items())
    ]
    if not found:
        raise SystemExit(f"benchmarks/results/{benchmark}.jsonl has no row of {candidate!r} with {setting}. Run it.")
    return max(found, key=lambda row: row["time"])


def costs() -> str:
    """The section of measured costs, each beside what was aimed at, with quartiles of the ratio over rounds."""
    text = ["| what | measured | quartiles | rounds | aimed at | |", "|---|---:|---:|---:|---:|---|"]
    processors = set()
    for title, benchmark, candidate, setting, (key, form), target in COSTS:
        row = newest(benchmark, candidate, setting)
        processors.add(f"{row['machine']['processor']}, torch {row['machine']['torch']}")
        value = abs(row[key])
        quartiles = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}" if key == "ratio" else ""
        aim = "" if target is None else form.format(target)
        verdict = "" if target is None else "reached" if value <= target else "missed"
        text.append(f"| {title} | {form.format(value)} | {quartiles} | {row['rounds']} | {aim} | {verdict} |")
    note = (
        "Signals are multiples of one forward and backward over the same batches of 64 (VGG-11, without batch norm: "
        "one of 100); training figures are "
        "times beside a plain loop (a DataLoader over PIL images, float32, PyTorch's own memory layout, batch 128), "
        "so 0.25x is four times as fast; medians over rounds."
    )
    absent = "Not measured: training on a GPU, aimed at 0.20x of a plain loop from end to end; none was at hand."
    return "\n".join(text) + f"\n\n{note} {absent} One thread. {'; '.join(sorted(processors))}.\n"


SMALL, FULL = "lubana2021_small", "lubana2021"
SHOWN = {
    "correlation": "Magnitude and loss preservation along dense training",
    "orders": "First against second order, filter by filter",
    "convergence": "Training and test accuracy after the cuts",
    "gradient_norm": "Increasing or preserving the gradient norm",
    "layers": "What is left of each layer",
    "flow": "The norm and its derivatives under gradient flow",
    "training_flow": "The norm over the optimizer's own steps",
    "cuts": "What a cut was predicted to change",
}
"""Figures of VGG-13 on CIFAR-10 that stand in docs/reproduction.md."""


def reproduction() -> str:
    """docs/reproduction.md: what the founding paper says, held against the stored rows of the small study."""
    from flowprune.experiments.archive import Archive
    from flowprune.experiments.studies import STUDIES
    from flowprune.report.reproduction import markdown
    from flowprune.report.setting import pooled
    from flowprune.report.tables import TABLES

    evidence = evidence_of(SMALL)
    rows = evidence.rows
    if not rows:
        return ""
    study = STUDIES[SMALL]
    records = Archive(STORED / SMALL).records
    missing = study.missing([record.spec for record in records])
    text = [HEAD.format(title=study.title, there=len(study.specs) - len(missing), all=len(study.specs))]
    text += [f"{note}\n" for note in pooled(evidence)]
    if missing:
        text += [absent(missing), ""]
    text += [not_done(), "", "## Claims", "", markdown(rows).replace("\n## ", "\n### ")]
    for name, title in (("accuracy", "Table 1"), ("gradient_norm", "Gradient norm"), ("sizes", "Sizes")):
        table = TABLES[name].of(rows)
        if table is not None:
            text += [f"## {title}", "", table.markdown(), ""]
    text += [
        "## Figures",
        "",
        "VGG-13 at a quarter of its width on CIFAR-10; each is drawn by the command above it.",
        "",
    ]
    text += [part for name in SHOWN for part in figure(rows, name)]
    environments = sorted({(str(r.environment["processor"]), str(r.environment["torch"])) for r in records})
    hardware = "; ".join(f"{processor}, torch {torch}" for processor, torch in environments)
    return "\n".join([*text, f"Hardware: {hardware}; one thread a run."]) + "\n"


def place(spec: Spec) -> str:
    """Where a run belongs: the model, the data, and what is cut where that is not channels."""
    from flowprune.core.granularities import units_in_words

    units = spec.prune.granularity if spec.prune else "channels"
    return f"{spec.model.name} on {spec.data.name}{'' if units == 'channels' else f', {units_in_words(units)}'}"


def absent(missing: Sequence[Spec]) -> str:
    """A sentence that counts the runs still to be made, by model, data and what is cut."""
    counts = Counter(place(spec) for spec in missing)
    return "Still to be made, by the same command:\n\n" + "\n".join(f"- {name}: {n}" for name, n in counts.items())


def not_done() -> str:
    """What of the paper no row here is about, with the command that would make it."""
    from flowprune.experiments.archive import Archive
    from flowprune.experiments.studies import STUDIES

    study = STUDIES[FULL]
    there = [record.spec for record in Archive(STORED / FULL).records]
    return NOT_DONE.format(missing=len(study.missing(there)), all=len(study.specs))


NOT_DONE = """**What is not done.** {missing} of the {all} runs of the table at full size (VGG-13, MobileNet-V1 and
ResNet-56 on whole CIFAR-10 and CIFAR-100, 160 epochs, 1, 5 and 25 rounds, six measures, three seeds): no GPU was at
hand. They are made by `flowprune sweep --study lubana2021 --set device=cuda`, merged by `flowprune collect`, and
listed by `flowprune report RUNS --figure accuracy --study lubana2021`. Not measured for the same reason: the end-to-end
speed on a GPU, which was to be five times that of a plain loop. Tiny-ImageNet, on which the paper repeats some
experiments, was not run; ResNet-20 at half its width stands for ResNet-56; rounds go to 10, not 25."""

HEAD = """# The founding paper, reproduced in small

*{title}.*

Generated from the rows in results/lubana2021_small ({there} of {all} runs are there); each row carries
its spec, its seed, versions and hardware. Made by

    flowprune sweep --study lubana2021_small --data-dir data --runs runs/small
    flowprune collect runs/small --into results/lubana2021_small
    python docs/generate.py

**How to read it.** The paper's own accuracies are no targets here: images, widths and epochs are a tenth, a quarter
and a fifth of its own. What is held against the rows are its statements: which measure does better, what grows and
what settles. All that it says of what is stored here is listed, whether it comes out or not. Each statement has a
statistic that is positive where it holds, computed seed by seed; it *holds* where the whole 95 % interval over the
seeds (Student's t, n = 3; of correlations by Fisher's z) is above zero, *does not hold* where it is below, and is
*undecided* otherwise. *Not testable* is what these rows cannot tell, for the reason given beside it. With three seeds
an interval is more than four standard errors wide either way: undecided is the common case. Where nothing is there to
be found, one interval in twenty misses zero by chance, one in forty on either side; intervals are not corrected for
how many there are, and those of one setting share their runs. "Does not hold" is a statement about this setting.
"""


def figure(rows: Sequence[Row], name: str) -> list[str]:
    """A figure on the page: the command and its file, the picture, what it shows and how to read it."""
    from flowprune.report.figures import FIGURES

    comparison, path = shown(rows, name)
    drawn = None if comparison is None else FIGURES[name].of(comparison.rows)
    if drawn is None:
        return []
    return [
        f"### {SHOWN[name]}",
        "",
        f"`flowprune report results/{SMALL} --figure {name}` writes it to {path}.",
        "",
        f"![{SHOWN[name]}](images/reproduction-{name}.png)",
        "",
        "\n\n".join([drawn.sentence, f"*{drawn.caption}*", *drawn.notes]),
        "",
    ]


def shown(rows: Sequence[Row], name: str) -> tuple[Comparison | None, str]:
    """The comparison that a figure of the page is of, and the file that the command writes it to."""
    from flowprune.report.figures.writing import places

    for comparison, path in places(rows, name, f"{name}.svg"):
        if (comparison.model, comparison.dataset) == ("vgg13", "cifar10") and comparison.granularity != "weights":
            return comparison, path.name
    return None, ""


def reproduction_images() -> None:
    """The figures of docs/reproduction.md."""
    from flowprune.report import write_figure

    rows = rows_of(SMALL)
    for name in SHOWN if rows else ():
        comparison, _ = shown(rows, name)
        if comparison is not None:
            write_figure(comparison.rows, name, IMAGES / f"reproduction-{name}.png")


def structural() -> str:
    """docs/structural.md: removal on every model beside torch-pruning, its cost and the speed after it."""
    return structural_page.page(lambda name: lines(BENCHMARKS / f"{name}.jsonl"))


def initialization() -> str:
    """docs/initialization.md: recipes, what they come to in small, ablations, collapse, depth and costs."""
    return initialization_page.page(evidence_of, lambda name: lines(BENCHMARKS / f"{name}.jsonl"), errors_of)


def initialization_images() -> None:
    """The figure of docs/initialization.md."""
    from flowprune.report.figures.writing import write_figures

    rows = rows_of("depth")
    if len({row["sparsity"] for row in rows if row["measure"] != "dense"}) > 1:
        write_figures(rows, "depth", IMAGES / "depth.png")


def loss_models() -> str:
    """docs/loss_models.md: what pruning costs of the loss, and accuracy after training again; empty without rows."""
    return loss_models_page.page(evidence_of, errors_of)


def loss_models_images() -> None:
    """The figures of docs/loss_models.md, one for each study that is stored."""
    from flowprune.report import write_figure

    for name in loss_models_page.SMALL:
        rows = rows_of(name)
        if any(row.get("kind") == "pruned" for row in rows):
            write_figure(rows, "preservation", ROOT / "docs" / loss_models_page.picture(name))


def replaced(text: str, name: str, content: str) -> str:
    """The text with what stands between the markers of this name replaced."""
    pattern = rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)"
    return re.sub(pattern, lambda m: m[1] + content + m[2], text, flags=re.DOTALL)


def readme(text: str) -> str:
    """The README with its generated sections as the stored rows have them."""
    return replaced(replaced(text, "demo", demo()), "costs", costs())


def main() -> None:
    """Write everything."""
    from flowprune.report import write_figure

    IMAGES.mkdir(parents=True, exist_ok=True)
    if rows_of("demo"):
        write_figure(rows_of("demo"), "accuracy", IMAGES / "demo.png")
    reproduction_images()
    if text := reproduction():
        (ROOT / "docs" / "reproduction.md").write_text(text)
    initialization_images()
    (ROOT / "docs" / "initialization.md").write_text(initialization())
    loss_models_images()
    if text := loss_models():
        (ROOT / "docs" / "loss_models.md").write_text(text)
    if text := structural():
        (ROOT / "docs" / "structural.md").write_text(text)
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text()))


if __name__ == "__main__":
    main()
