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

# Row of the table of costs: (title, benchmark, candidate, settings to match, key, how it is written, target).
COSTS = [
    ("parameters alone, ResNet-56", "signals", "parameters", {"model": "resnet56"}, "ratio", "{:.3f}x", "0"),
    ("gradient, ResNet-56", "signals", "gradient", {"model": "resnet56"}, "ratio", "{:.2f}x", "1.05x"),
    ("gradient, VGG-13", "signals", "gradient", {"model": "vgg13"}, "ratio", "{:.2f}x", "1.05x"),
    ("gradient and H·g, ResNet-56", "signals", "hessian_gradient", {"model": "resnet56"}, "ratio", "{:.2f}x", "4.2x"),
    ("gradient and H·g, VGG-13", "signals", "hessian_gradient", {"model": "vgg13"}, "ratio", "{:.2f}x", "3.9x"),
    ("per-example Fisher, ResNet-56", "signals", "fisher", {"model": "resnet56"}, "ratio", "{:.2f}x", "1.3x"),
    ("per-example Fisher, VGG-13", "signals", "fisher", {"model": "vgg13"}, "ratio", "{:.2f}x", "1.75x"),
    ("all measures at once, ResNet-56", "signals", "all_measures", {"model": "resnet56"}, "ratio", "{:.2f}x", "H·g"),
    ("selection of 10⁸ scores", "selection", "select 90 %", {"n": 10**8}, "ns_per_score", "{:.2f} ns/score", "1.5 ns"),
    ("selection, half tied", "selection", "select 90 %, half tied", {"n": 10**8}, "ns_per_score", "{:.2f} ns/score", "1.5 ns"),
    ("masked step, ResNet-56, batch 128", "masked_step", "masked step", {"model": "resnet56", "batch": 128}, "ratio",
     "{:.2f}x dense", "1.01x"),
    ("masked step, VGG-13, batch 128", "masked_step", "masked step", {"model": "vgg13", "batch": 128}, "ratio",
     "{:.2f}x dense", "1.01x"),
    ("error of a norm of 10⁸ entries", "norm", "squared_norm", {}, "relative_error", "{:.0e}", "1e-6"),
    ("`flowprune --help`", "cli", "flowprune --help", {}, "median_ms", "{:.0f} ms", "90 ms"),
]  # fmt: skip


def collect(runs: Path) -> None:
    """Copy rows, specs and environments of finished runs, without their weights."""
    from flowprune.experiments.store import read

    STORED.mkdir(parents=True, exist_ok=True)
    rows = sorted(read(runs), key=lambda row: (str(row["measure"]), row["rounds"], row["seed"]))
    (STORED / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = sorted(path.parent for path in runs.glob("*/DONE"))
    about = [{n: json.loads((f / f"{n}.json").read_text()) for n in ("spec", "environment")} for f in folders]
    (STORED / "runs.jsonl").write_text("".join(json.dumps({"run": f.name, **a}) + "\n" for f, a in zip(folders, about)))


def lines(path: Path) -> list[dict]:
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


def newest(benchmark: str, candidate: str, setting: dict) -> dict | None:
    found = [
        row
        for row in lines(BENCHMARKS / f"{benchmark}.jsonl")
        if row["candidate"] == candidate and all(row.get(key) == value for key, value in setting.items())
    ]
    return max(found, key=lambda row: row["time"], default=None)


def costs() -> str:
    """The section of measured costs, each beside what was aimed at."""
    text = ["| what | measured | aimed at |", "|---|---|---|"]
    machine: dict = {}
    for title, benchmark, candidate, setting, key, form, target in COSTS:
        row = newest(benchmark, candidate, setting)
        if row is not None:
            machine = row["machine"]
            text.append(f"| {title} | {form.format(abs(row[key]))} | {target} |")
    where = f"Signals are multiples of one forward and backward over the same batches. {machine.get('processor', '')}, "
    return "\n".join(text) + f"\n\n{where}one thread, torch {machine.get('torch', '')}.\n"


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
