"""How fast the command line answers: wall time of a whole process, beside a bare interpreter.

python benchmarks/cli.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from timing import record


def wall(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main(rounds=15):
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import flowprune": [sys.executable, "-c", "import flowprune"],
        "flowprune --help": [sys.executable, "-m", "flowprune.cli", "--help"],
        "flowprune list measures": [sys.executable, "-m", "flowprune.cli", "list", "measures"],
    }
    times = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            spent = wall(command)
            if number:
                times[name].append(spent)
    results = {}
    for name, spent in times.items():
        ratios = [a / b for a, b in zip(spent, times["python -c pass"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        results[name] = {
            "median_ms": 1e3 * statistics.median(spent),
            "ratio": middle,
            "ratio_low": low,
            "ratio_high": high,
            "rounds": rounds,
        }
    record("cli", results)


if __name__ == "__main__":
    main()
