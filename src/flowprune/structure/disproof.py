"""Is a size in the model's code a number, or computed from the tensors? Cut one unit and see.

An exported graph holds sizes, not the code that made them: ``x.view(n, c, -1)`` with ``c = x.shape[1]`` and with
``c = 64`` look alike. Where the walk met a size of a dimension that shrinks, a copy of the model loses one unit per
group, and must still compute what the masked copy computes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from flowprune.core.units import Layout
from flowprune.structure.atoms import Ints
from flowprune.structure.call import where
from flowprune.structure.capture import Deadline, user_line
from flowprune.structure.cut import cut_
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups
from flowprune.structure.ledger import Ledger
from flowprune.structure.masked import zero_units_
from flowprune.structure.verify import compare

REASON = "a size in the code is a number that does not shrink with the channels"
Suspect = tuple[Node, Ints]


def disprove(twin: nn.Module, example: Example, layout: Layout, ledger: Ledger, deadline: Deadline) -> bool:
    """Refuse the suspects that a cut disproves, and say whether there were any."""
    suspects = _live(ledger, ledger.suspects)
    if not suspects or not layout:
        return False
    error = _attempt(twin, example, layout)
    if error is None:
        return False
    guilty = _named(suspects, error)
    if not guilty:
        for suspect in suspects:
            deadline.check()
            if _alone(twin, example, ledger, suspects, suspect) is not None:
                guilty.append(suspect)
    for node, atoms in guilty or suspects:
        ledger.refuse(node, REASON, [atoms])
    return True


def _attempt(twin: nn.Module, example: Example, layout: Layout) -> Exception | None:
    """Cut the last unit of every group of a copy; ``None`` where it still computes the same."""
    masks = {name: torch.arange(group.size) < group.size - 1 for name, group in layout.items()}
    masked, small = copy.deepcopy(twin), copy.deepcopy(twin)
    zero_units_(masked, layout, masks)
    try:
        cut_(small, layout, masks)
        compare(masked, small, example, modes=("eval",))
    except Exception as error:
        return error
    return None


def _alone(
    twin: nn.Module, example: Example, ledger: Ledger, suspects: Sequence[Suspect], suspect: Suspect
) -> Exception | None:
    """The same with every other suspect's channels left whole."""
    label = ledger.atoms.labels()
    mine = set(label[suspect[1]].tolist())
    others = [a for _, a in suspects if not mine.intersection(label[a].tolist())]
    layout = groups(ledger, besides=others)
    return _attempt(twin, example, layout) if layout else None


def _named(suspects: Sequence[Suspect], error: Exception) -> list[Suspect]:
    """The suspects on the line of the model's code that raised."""
    cause = error.__cause__ or error
    line = user_line(cause).removeprefix(" at ")
    return [suspect for suspect in suspects if line and where(suspect[0]) == line]


def _live(ledger: Ledger, suspects: Sequence[Suspect]) -> list[Suspect]:
    """The suspects whose channels are not left whole anyway."""
    label = ledger.atoms.labels()
    stopped = label[ledger.stopped()]
    return [(node, atoms) for node, atoms in suspects if not np.isin(label[atoms], stopped).all()]
