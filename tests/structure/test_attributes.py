"""Attributes that count a part of a layer's channels: the part is not emptied, and it is told who would."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.masks import select
from flowprune.measures import score
from flowprune.signals import gather
from flowprune.structure import Channels, remove, trace


class Partial(nn.Module):
    """A convolution over the first few channels alone."""

    def __init__(self):
        super().__init__()
        self.few = 4
        self.a, self.part = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.b, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        few, rest = torch.split(y := self.a(x).relu(), [self.few, y.shape[1] - self.few], 1)
        return self.head(self.b(torch.cat([self.part(few), rest], 1)).relu())


@pytest.fixture
def partial():
    torch.manual_seed(0)
    model = Partial().double()
    with torch.no_grad():
        model.a.weight[:4] *= torch.tensor([0.1, 0.2, 0.1, 0.1]).view(4, 1, 1, 1)
    return model


X = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_who_empties_a_counted_part_is_told(partial):
    assert "few" in {member.name for member in trace(partial, X).groups["a.weight"].members}
    with pytest.raises(PruningError, match="at least one of the channels that 'few' counts; the masks cut all 4"):
        remove(partial, {"a.weight": torch.arange(16) > 3}, example_inputs=X)


@pytest.mark.parametrize("scope", ["global", "local"])
def test_the_best_of_a_counted_part_is_chosen_to_stay(partial, scope):
    scores = score("magnitude", gather(partial, None, (), needs=()), Channels(example_inputs=X))
    masks = select(scores, 0.75, scope=scope)
    assert masks["a.weight"][:4].tolist() == [False, True, False, False]
    small = remove(partial, masks, example_inputs=X)
    assert (small.few, small.part.in_channels) == (1, 1)
    assert sum(int(mask.sum()) for mask in masks.values()) == 7
