"""Switches that ask what of a method matters."""

from __future__ import annotations

import pytest
from torch import nn

import flowprune as fp
from tests.prune.small import examples, mlp, same


class TestAblations:
    def test_shuffled_masks_have_the_same_densities_at_other_places(self) -> None:
        """RT-6."""
        model, batch = mlp(6, 20, 10, 3), examples()
        plain = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch])
        shuffled = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch], ablations=("shuffle",), seed=4)
        assert plain.masks.per_layer() == shuffled.masks.per_layer()
        assert not same(plain.masks, dict(shuffled.masks))
        assert all((shuffled.model.get_parameter(n)[~m] == 0).all() for n, m in shuffled.masks.items())
        other = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch], ablations=("shuffle",), seed=5)
        assert not same(other.masks, dict(shuffled.masks))

    def test_inverted_masks_keep_what_would_be_cut_first(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        plain = fp.prune(model, recipe="snip", sparsity=0.5, batches=[batch])
        inverted = fp.prune(model, recipe="snip", sparsity=0.5, batches=[batch], ablations=("invert",))
        both = sum(int((plain.masks[n] & m).sum()) for n, m in inverted.masks.items())
        assert both <= 1 or both == sum(int((plain.scores[n] == 0).sum()) for n in plain.scores)

    def test_reinitialized_weights_have_the_masks_and_other_values(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        plain = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch])
        fresh = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch], ablations=("reinitialize",))
        assert same(plain.masks, dict(fresh.masks))
        for name, mask in fresh.masks.items():
            param = fresh.model.get_parameter(name)
            assert (param[mask] != model.get_parameter(name)[mask]).all()
            assert (param[~mask] == 0).all()

    def test_a_builder_draws_the_weights(self) -> None:
        model, batch = mlp(6, 20, 3), examples()
        seeds: list[int] = []

        def build(seed: int) -> nn.Module:
            seeds.append(seed)
            network = mlp(6, 20, 3)
            for param in network.parameters():
                nn.init.constant_(param, 7.0)
            return network

        result = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch], ablations=("reinitialize",), build=build)
        assert len(seeds) == 1
        assert all((result.model.get_parameter(n)[m] == 7.0).all() for n, m in result.masks.items())
        with pytest.raises(ValueError, match="None where no weights are drawn"):
            fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch], build=build)

    def test_they_can_be_put_together(self) -> None:
        model, batch = mlp(6, 20, 3), examples()
        result = fp.prune(model, recipe="synflow", sparsity=0.7, batches=[batch], ablations=("shuffle", "reinitialize"))
        assert result.masks.sparsity == pytest.approx(0.7, abs=0.01)

    @pytest.mark.parametrize("given", ["shuffle", ("mix",), 3])
    def test_unknown_ones_are_refused(self, given: object) -> None:
        with pytest.raises(ValueError, match=r"prune\(ablations=\)"):
            fp.prune(mlp(6, 5, 3), measure="magnitude", sparsity=0.5, ablations=given)  # pyright: ignore
