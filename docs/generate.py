"""Write the generated parts of the README from stored rows: the demo's table and picture, and the measured costs.

python docs/generate.py collect runs/demo      copy the rows of finished runs to results/demo/
python docs/generate.py                        rewrite README.md and docs/images/ from results/ and benchmarks/results/
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORED = ROOT / "results" / "demo"
IMAGE = ROOT / "docs" / "images" / "demo.png"
BENCHMARKS = ROOT / "benchmarks" / "results"

RESNET = {"model": "resnet56", "batch": 64, "keep_memory": False, "device": "cpu"}
VGG = {**RESNET, "model": "vgg13"}
RATIO = ("ratio", "{:.2f}x")

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
    ("relative error of ‖x‖² over 10⁸ entries", "norm", "squared_norm", {}, ("relative_error", "{:.0e}"), 1e-6),
    ("`flowprune --help`", "cli", "flowprune --help", {}, ("median_ms", "{:.0f} ms"), 90),
]  # fmt: skip


def collect(runs: Path) -> None:
    """Copy rows, specs and environments of finished runs, without their weights."""
    from flowprune.experiments.store import read

    STORED.mkdir(parents=True, exist_ok=True)
    rows = sorted(read(runs), key=lambda row: (str(row["measure"]), row["rounds"], row["seed"]))
    (STORED / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = sorted(path.parent for path in runs.glob("*/DONE"))
    about = [{n: json.loads((f / f"{n}.json").read_text()) for n in ("spec", "environment")} for f in folders]
    stored = [{"run": folder.name, **facts} for folder, facts in zip(folders, about, strict=True)]
    (STORED / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stored))


def lines(path: Path) -> list[dict]:
    """The JSON objects of a file; none where it is missing."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def demo() -> str:
    """The demo's section: one picture and one table."""
    from flowprune.report import markdown
    from flowprune.report.sentences import accuracy as sentence
    from flowprune.report.shapes import accuracy as shape

    rows = lines(STORED / "rows.jsonl")
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
    note = "Signals are multiples of one forward and backward over the same five batches of 64; medians over rounds."
    return "\n".join(text) + f"\n\n{note} One thread. {'; '.join(sorted(processors))}.\n"


def replaced(text: str, name: str, content: str) -> str:
    """The text with what stands between the markers of this name replaced."""
    pattern = rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)"
    return re.sub(pattern, lambda m: m[1] + content + m[2], text, flags=re.DOTALL)


def readme(text: str) -> str:
    """The README with its generated sections as the stored rows have them."""
    return replaced(replaced(text, "demo", demo()), "costs", costs())


def main() -> None:
    """Collect, or write."""
    if len(sys.argv) == 3 and sys.argv[1] == "collect":
        collect(Path(sys.argv[2]))
    rows = lines(STORED / "rows.jsonl")
    if rows:
        from flowprune.report import write_figure

        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        write_figure(rows, "accuracy", IMAGE)
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text()))


if __name__ == "__main__":
    main()
