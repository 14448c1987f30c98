"""A selection never keeps what a measure did not reach."""

import pytest
import torch

from flowprune.core.errors import PruningError
from flowprune.core.units import rows
from flowprune.masks import Scores, reached_units, select

SCORES = {"a": torch.tensor([1.0, 0.0, 0.0]), "b": torch.tensor([0.5, 0.25, 0.0])}
REACHED = {"a": torch.tensor([True, False, False]), "b": torch.tensor([True, True, False])}


def test_what_was_reached_can_be_kept():
    masks = select(Scores(SCORES, reached=REACHED), 0.5)
    assert masks["a"].tolist() == [True, False, False]
    assert masks["b"].tolist() == [True, True, False]


@pytest.mark.parametrize(
    "options",
    [{"sparsity": 1 / 3}, {"sparsity": 1 / 3, "scope": "local"}, {"sparsity": 0.5, "min_keep": {"a": 2}},
     {"sparsity": 1 / 3, "protect": ("a",)}],
)  # fmt: skip
def test_more_is_refused(options):
    assert select(SCORES, **options).kept >= 3
    with pytest.raises(PruningError, match=r"must rank every unit that is kept; . of the . kept .* first in 'a'"):
        select(Scores(SCORES, reached=REACHED), **options)


def test_a_unit_is_reached_by_any_of_its_weights():
    reached = {"w": torch.tensor([[True, False], [False, False], [True, True]])}
    assert reached_units(reached, {"w": rows("w", 3)})["w"].tolist() == [True, False, True]
    assert reached_units(None, None) is None
    assert reached_units(reached, None) == reached
