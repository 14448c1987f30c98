"""What recipes do not take, told before the model is touched."""

from __future__ import annotations

import pytest

import flowprune as fp
from flowprune.core.errors import PruningError, UnknownNameError
from flowprune.masks import masks_of
from tests.prune.small import examples, mlp


class TestWhatBadInputGets:
    def test_an_unknown_recipe(self) -> None:
        with pytest.raises(UnknownNameError, match="synflow"):
            fp.prune(mlp(6, 5, 3), recipe="synflo", sparsity=0.5)

    def test_neither_measure_nor_recipe(self) -> None:
        with pytest.raises(ValueError, match=r"prune\(measure=\) must be given, or recipe="):
            fp.prune(mlp(6, 5, 3), sparsity=0.5)

    @pytest.mark.parametrize("name", ["magnitude", "random", "erk", "phew"])
    def test_an_objective_that_a_recipe_does_not_use(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"prune\(recipe='{name}', objective=\) must be None"):
            fp.prune(mlp(6, 5, 3), recipe=name, sparsity=0.5, objective=fp.objectives.cross_entropy())

    @pytest.mark.parametrize("name", ["snip", "synflow", "ntk_sap", "phew"])
    def test_data_that_a_recipe_needs(self, name: str) -> None:
        model = mlp(6, 5, 3)
        with pytest.raises((ValueError, PruningError), match="batch"):
            fp.prune(model, recipe=name, sparsity=0.5)
        assert not masks_of(model)

    def test_another_objective_than_the_measure_is_of(self) -> None:
        with pytest.raises(ValueError, match=r"must be of the objective 'synaptic_flow'"):
            fp.prune(
                mlp(6, 5, 3),
                measure="synflow",
                sparsity=0.5,
                objective=fp.objectives.cross_entropy(),
                batches=[examples()],
            )

    @pytest.mark.parametrize("name", ["synflow", "ntk_sap", "prospr"])
    def test_measures_bring_their_objective(self, name: str) -> None:
        by_measure = fp.prune(mlp(6, 9, 3), measure=name, sparsity=0.5, batches=[examples()], seed=0)
        assert by_measure.masks.sparsity == 0.5 or abs(by_measure.masks.sparsity - 0.5) < 0.02

    def test_densities_need_the_sparsity(self) -> None:
        with pytest.raises(ValueError, match="the densities depend on it"):
            fp.prune(mlp(6, 5, 3), recipe="erk")
