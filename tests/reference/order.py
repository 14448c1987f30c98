"""The measured order of an error: the slope in a log-log plot."""

import math
from collections.abc import Sequence


def log_log_slope(steps: Sequence[float], errors: Sequence[float]) -> float:
    x, y = [math.log(s) for s in steps], [math.log(e) for e in errors]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
