"""Files that are not what they should be: what they must hold, what they do, and how to get a good copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flowprune.core.errors import invalid


def damaged(path: Path, rule: str, got: object, remedy: str) -> ValueError:
    """An error about a file.

    Example:
        >>> print(damaged(Path("a.bin"), "of 3 bytes", 2, "Delete it."))
        the file a.bin must be of 3 bytes; got 2. Delete it.
    """
    return invalid(f"the file {path}", rule, got, remedy)


def require_labels(path: Path, labels: np.ndarray, classes: int, remedy: str) -> np.ndarray:
    """The labels as int64, if all are of the classes.

    Shapes: integers (n,) -> int64 (n,).

    Raises:
        ValueError: a label is negative or too great; the message names the file, the first one and their number.

    Example:
        >>> require_labels(Path("labels"), np.array([0, 10, 3, 11]), 10, "Delete it.")
        Traceback (most recent call last):
        ValueError: the file labels must be of labels 0 to 9; got '10, and 1 more outside, of 4 labels'. Delete it.
    """
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        more = f", and {len(outside) - 1} more outside" if len(outside) > 1 else ""
        got = f"{int(outside[0])}{more}, of {len(labels)} labels"
        raise damaged(path, f"of labels 0 to {classes - 1}", got, remedy)
    return labels.astype(np.int64)
