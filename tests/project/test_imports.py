"""What importing costs: nothing heavy before it is needed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import flowprune

HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "duckdb", "torchvision"}


def loaded_after(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import flowprune",
        "import flowprune as fp; fp.MEASURES, *fp.MODELS, *fp.DATASETS, *fp.PRESETS",
        "import flowprune.experiments",
        "import flowprune.schedules",
        "from flowprune.data import Download, download",
        "from flowprune.experiments import PRESETS; PRESETS['demo']",
        "import flowprune.experiments.sweeping, flowprune.experiments.store, flowprune.experiments.folder",
        "import flowprune.cli.main",
    ],
)
def test_imports_are_light(statement):
    assert loaded_after(statement).isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list", "models"], ["list", "measures"]])
def test_the_command_line_loads_nothing_heavy(arguments):
    run = f"import sys; sys.argv = ['flowprune', *{arguments!r}]\nfrom flowprune.cli.main import main"
    loaded = loaded_after(f"{run}\ntry:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code")
    assert loaded.isdisjoint(HEAVY | {"rich", "jinja2"})


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flowprune", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == flowprune.__version__
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "flowprune.cli.main" in imported
    assert imported.isdisjoint(HEAVY | {"rich", "jinja2"})


def test_help_answers_at_once():
    """At most nine times a bare interpreter (which takes about 10 ms), the best of five of each."""

    def best(arguments: list[str]) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(["-m", "flowprune.cli", "--help"]) < 9 * best(["-c", "pass"]) + 0.05
