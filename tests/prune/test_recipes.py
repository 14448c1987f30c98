"""Recipes against literal references, closed forms and laws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.masks import masks_of
from flowprune.prune import RECIPES
from flowprune.schedules import exponential, one_shot
from tests.prune.small import examples, mlp, same
from tests.reference import at_initialization as literal

PLAIN = [name for name in RECIPES if not RECIPES[name].stable]


@pytest.mark.parametrize("name", PLAIN)
class TestEveryRecipe:
    def run(self, name: str, model: nn.Module, sparsity: float = 0.5, **options: object) -> fp.PruneResult:
        return fp.prune(model, recipe=name, sparsity=sparsity, batches=[examples()], **options)  # pyright: ignore

    def test_exactly_the_asked_number_goes_and_the_model_is_left_as_it_was(self, name: str) -> None:
        model = mlp(6, 12, 9, 3)
        before, random = {n: v.clone() for n, v in model.state_dict().items()}, torch.get_rng_state()
        result = self.run(name, model)
        assert result.masks.total - result.masks.kept == round(0.5 * 207)
        assert result.recipe == name
        assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
        assert not masks_of(model)
        assert model.training
        assert torch.equal(random, torch.get_rng_state())
        zeros = sum(int((p == 0).sum()) for n, p in result.model.named_parameters() if n in result.masks)
        assert zeros == round(0.5 * 207)
        assert all(p.dtype == torch.float32 for p in result.model.parameters())

    def test_kept_weights_keep_their_values(self, name: str) -> None:
        model = mlp(6, 12, 9, 3)
        result, own = self.run(name, model), dict(model.named_parameters())
        factors = {n: (p[result.masks[n]] / own[n][result.masks[n]]) for n, p in result.model.named_parameters()}
        expected = RECIPES[name].rescale is None
        assert all(torch.equal(f, torch.ones_like(f)) for f in factors.values()) == expected
        assert all(torch.allclose(f, f[0], rtol=1e-5) for f in factors.values())

    def test_two_runs_are_one(self, name: str) -> None:
        one, two = self.run(name, mlp(6, 12, 9, 3)), self.run(name, mlp(6, 12, 9, 3))
        assert same(one.masks, dict(two.masks))

    def test_it_cites_a_paper_and_says_where_it_departs(self, name: str) -> None:
        recipe = RECIPES[name]
        assert recipe.name == name
        assert recipe.source.arxiv
        assert recipe.deviations
        assert all(said.endswith((".", ")", "'")) for said in recipe.deviations)
        assert recipe.measure in fp.MEASURES


class TestSnip:
    def test_it_is_the_absolute_of_weight_times_gradient(self) -> None:
        model, batch = mlp(6, 12, 3), examples()
        expected = literal.progressive(
            model, lambda m: functional.cross_entropy(m(batch[0]), batch[1]), [0.3], revival=False
        )
        assert same(fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch]).masks, expected[0])

    def test_six_and_four_tenths(self) -> None:
        """f = w·x with x = (1, 2), w = (3, -1), L = f²/2: g = (1, 2), θ·g = (3, -2)."""
        layer = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[3.0, -1.0]]))
        half_square = fp.objectives.Objective("half", lambda forward, batch: forward(batch[0]).square().sum(1) / 2)
        signals = fp.gather(layer, half_square, [(torch.tensor([[1.0, 2.0]]), None)])
        scores = fp.score("loss_preservation", signals)["weight"]
        assert (scores / scores.sum()).flatten().tolist() == pytest.approx([0.6, 0.4])

    def test_scaling_a_layer_and_back_changes_no_score(self) -> None:
        model, batch = mlp(6, 12, 3), examples()
        before = fp.score("loss_preservation", fp.gather(model, fp.objectives.cross_entropy(), [batch]))
        with torch.no_grad():
            model[0].weight.mul_(4.0)
            model[2].weight.div_(4.0)
        after = fp.score("loss_preservation", fp.gather(model, fp.objectives.cross_entropy(), [batch]))
        assert all(torch.allclose(before[name], after[name], rtol=1e-5) for name in before)

    def test_signed_scores_are_conserved_from_layer_to_layer_and_from_unit_to_unit(self) -> None:
        model, batch = mlp(6, 12, 9, 3).double(), examples()
        signals = fp.gather(model, fp.objectives.cross_entropy(), [(batch[0].double(), batch[1])])
        first, second, third = (p * (signals.gradient or {})[n] for n, p in signals.params.items())
        assert torch.allclose(first.sum(1), second.sum(0), rtol=1e-10, atol=1e-14)
        assert torch.allclose(second.sum(1), third.sum(0), rtol=1e-10, atol=1e-14)
        assert math.isclose(first.sum().item(), third.sum().item(), rel_tol=1e-10)

    def test_before_a_batch_norm_in_train_mode_signed_scores_sum_to_zero(self) -> None:
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
        )
        batch = (torch.randn(9, 1, 4, 4).double(), torch.arange(9) % 3)
        signals = fp.gather(model.double(), fp.objectives.cross_entropy(), [batch], mode="train")
        sums = (signals.params["0.weight"] * (signals.gradient or {})["0.weight"]).flatten(1).sum(1)
        assert sums.abs().max() < 1e-4 * (signals.gradient or {})["0.weight"].abs().max()

    def test_of_each_batch_the_absolute_value(self) -> None:
        """Two batches of opposite gradients: their mean says nothing, the mean of absolute values does."""
        layer = nn.Linear(1, 1, bias=False)
        ones = [(torch.ones(1, 1), None), (-torch.ones(1, 1), None)]
        objective = fp.objectives.Objective("sum", lambda forward, batch: forward(batch[0]).sum(1))
        signals = fp.gather(layer, objective, ones, needs=("gradient", "absolute_gradient"))
        assert fp.score("loss_preservation", signals)["weight"].item() == 0
        assert fp.score("snip_per_batch", signals)["weight"].item() == pytest.approx(abs(layer.weight.item()))

    def test_scored_on_a_fresh_draw(self) -> None:
        """RT-9: by default the weights that are scored are those that are pruned."""
        model, batch = mlp(6, 30, 3), examples()
        own = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch])
        fresh = fp.prune(model, recipe="snip", sparsity=0.7, batches=[batch], score_on="fresh_draw")
        kept = own.model.get_parameter("0.weight")[own.masks["0.weight"]]
        assert torch.equal(kept, model[0].weight[own.masks["0.weight"]])
        assert not same(own.masks, dict(fresh.masks))
        kept = fresh.model.get_parameter("0.weight")[fresh.masks["0.weight"]]
        assert torch.equal(kept, model[0].weight[fresh.masks["0.weight"]])
        magnitude = model[0].weight.abs()
        share = [magnitude[masks["0.weight"]].mean() / magnitude.mean() for masks in (own.masks, fresh.masks)]
        assert share[0] > 1.15 > share[1]  # scores of other weights know nothing of these


class TestGrasp:
    def test_the_temperature_is_two_hundred(self) -> None:
        objective = RECIPES["grasp"].objective
        assert objective is not None
        assert objective().temperature == 200.0

    def test_on_a_parabola(self) -> None:
        """L = (θ - θ*)ᵀA(θ - θ*)/2: θ·Hg = θ ⊙ A²(θ - θ*), kept where it is largest."""
        torch.manual_seed(0)
        root = torch.randn(6, 6).double()
        matrix, target = root @ root.T, torch.randn(6).double()

        def loss(forward: object, batch: object) -> Tensor:
            apart = model.weight.flatten() - target
            return apart @ matrix @ apart / 2

        model = nn.Linear(6, 1, bias=False).double()
        signals = fp.gather(model, loss, [(torch.zeros(1, 6), None)], needs=("hessian_gradient",))
        theta = model.weight.detach().flatten()
        expected = theta * (matrix @ matrix @ (theta - target))
        assert torch.allclose(fp.score("gradient_norm_increase", signals)["weight"].flatten(), expected, rtol=1e-9)
        masks = fp.select(fp.score("gradient_norm_increase", signals), 0.5)
        assert masks["weight"].flatten().tolist() == (expected >= expected.sort().values[3]).tolist()


class TestSynflow:
    def test_a_hundred_rounds_against_the_literal_loop(self) -> None:
        model = mlp(8, 40, 30, 5)
        found = fp.prune(model, recipe="synflow", sparsity=0.95, batches=[(torch.zeros(1, 8), None)])
        assert len(found.cuts) == 100
        assert same(found.masks, literal.synflow(model, (8,), 0.95, 100))

    def test_a_convolutional_network_against_the_literal_loop(self) -> None:
        model = fp.models.build("vgg11_plain", width=0.05, hidden=(16,), seed=3)
        for name, param in model.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(param)
        found = fp.prune(
            model, recipe="synflow", sparsity=0.9, batches=[(torch.zeros(1, 3, 32, 32), None)], schedule=exponential(10)
        )
        assert same(found.masks, literal.synflow(model, (3, 32, 32), 0.9, 10))

    def test_the_first_round_keeps_the_hundredth_root_and_all_are_nested(self) -> None:
        """RT-1: a density and not a sparsity is what is raised to 1/T."""
        result = fp.prune(mlp(8, 40, 30, 5), recipe="synflow", sparsity=0.9, batches=[(torch.zeros(1, 8), None)])
        first = result.cuts[0]
        assert first.units_after == first.units_total - round((1 - 0.1**0.01) * first.units_total)
        kept = [cut.units_after for cut in result.cuts]
        assert kept == sorted(kept, reverse=True)

    @pytest.mark.parametrize("more", [2, 5])
    def test_no_layer_dies_before_one_weight_a_layer_is_left(self, more: int) -> None:
        """Maximal critical compression."""
        model = mlp(20, 60, 60, 60, 10)
        total = sum(p.numel() for p in model.parameters())
        sparsity = 1 - more * 4 / total
        result = fp.prune(model, recipe="synflow", sparsity=sparsity, batches=[(torch.zeros(1, 20), None)])
        assert min(count.kept for count in result.masks.per_layer().values()) >= 1
        magnitude = RECIPES["magnitude"].name
        with pytest.raises(PruningError, match="leave at least one unit in every layer"):
            fp.prune(model, recipe=magnitude, sparsity=sparsity)

    def test_survivors_have_a_flow(self) -> None:
        result = fp.prune(mlp(8, 40, 30, 5), recipe="synflow", sparsity=0.98, batches=[(torch.zeros(1, 8), None)])
        scores = fp.score(
            "synflow", fp.gather(result.model, fp.objectives.synaptic_flow(), [(torch.zeros(1, 8), None)])
        )
        assert all((scores[name][mask] > 0).all() for name, mask in result.masks.items())

    def test_channels_too(self) -> None:
        x = torch.randn(2, 8)
        result = fp.prune(
            mlp(8, 40, 30, 5),
            recipe="synflow",
            sparsity=0.5,
            granularity=fp.Channels(example_inputs=x),
            batches=[(x, None)],
            schedule=exponential(10),
        )
        assert result.masks.kept == 35
        assert sum(p.shape[0] for p in result.model.parameters()) == 35 + 5
        assert next(result.model.parameters()).dtype == torch.float32
        assert result.model(x).shape == (2, 5)

    def test_deep_networks_are_pruned_without_ties(self) -> None:
        """In float32 the flow is 0 or infinite, and everything ties."""
        model = mlp(*[6] * 200)
        result = fp.prune(model, recipe="synflow", sparsity=0.5, batches=[(torch.zeros(1, 6), None)])
        assert result.masks.sparsity == pytest.approx(0.5, abs=1e-4)
        assert min(count.kept for count in result.masks.per_layer().values()) >= 6


class TestProgressive:
    @pytest.mark.parametrize(("name", "revival"), [("iter_snip", False), ("force", True)])
    def test_against_the_literal_loop(self, name: str, revival: bool) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        found = fp.prune(model, recipe=name, sparsity=0.9, batches=[batch])
        densities = [1 - s for s in exponential(10).targets(0.9)]
        history = literal.progressive(
            model, lambda m: functional.cross_entropy(m(batch[0]), batch[1]), densities, revival=revival
        )
        assert same(found.masks, history[-1])
        assert [cut.units_after for cut in found.cuts] == [
            sum(int(m.sum()) for m in masks.values()) for masks in history
        ]

    @pytest.mark.parametrize("name", ["iter_snip", "force"])
    def test_one_round_is_snip(self, name: str) -> None:
        model, batch = mlp(6, 20, 3), examples()
        found = fp.prune(model, recipe=name, sparsity=0.8, batches=[batch], schedule=one_shot())
        assert same(found.masks, dict(fp.prune(model, recipe="snip", sparsity=0.8, batches=[batch]).masks))

    def test_with_force_weights_come_back_with_the_values_they_had(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        loss = lambda m: functional.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
        densities = [1 - s for s in exponential(10).targets(0.9)]
        history = literal.progressive(model, loss, densities, revival=True)
        back = [sum(int((now[n] & ~before[n]).sum()) for n in now) for before, now in itertools.pairwise(history)]
        assert sum(back) > 0
        found = fp.prune(model, recipe="force", sparsity=0.9, batches=[batch])
        assert all(
            torch.equal(found.model.get_parameter(n)[m], model.get_parameter(n)[m]) for n, m in found.masks.items()
        )

    def test_in_a_training_loop_what_was_cut_waits_with_its_value(self) -> None:
        model, batch = mlp(6, 20, 3), examples()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        pruner = fp.Pruner(
            model, optimizer, measure="force", granularity=fp.Weights(), objective=fp.objectives.cross_entropy(),
            schedule=exponential(3, sparsity=0.8),
        )  # fmt: skip
        pruner.step([batch])
        first = dict(pruner.masks or {})
        values = {n: p.detach().clone() for n, p in model.named_parameters()}
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(batch[0]), batch[1]).backward()
            optimizer.step()
        assert all((p[~first[n]] == 0).all() for n, p in model.named_parameters())
        trained = {n: p.detach().clone() for n, p in model.named_parameters()}
        pruner.step([batch])
        second = dict(pruner.masks or {})
        for name, param in model.named_parameters():
            still = first[name] & second[name]
            assert torch.equal(param[still], trained[name][still])
            assert not torch.equal(param[still], values[name][still])

    def test_force_keeps_more_saliency_than_snip(self) -> None:
        """What it maximises, at the network it leads to; on average over draws."""
        gains: list[float] = []
        for seed in range(6):
            model, batch = mlp(6, 30, 20, 3, seed=seed), examples(seed=seed)
            totals = []
            for name in ("force", "snip"):
                pruned = fp.prune(model, recipe=name, sparsity=0.95, batches=[batch]).model
                signals = fp.gather(pruned, fp.objectives.cross_entropy(), [batch])
                totals.append(sum(float(s.sum()) for s in fp.score("loss_preservation", signals).values()))
            gains.append(totals[0] - totals[1])
        assert sum(gains) / len(gains) > 0

    def test_channels_cannot_come_back(self) -> None:
        x, _y = examples()
        with pytest.raises(ValueError, match=r"Pruner\(measure=\) must be one whose cuts stay with channels"):
            fp.Pruner(
                mlp(6, 9, 3),
                measure="force",
                granularity=fp.Channels(example_inputs=x),
                objective=fp.objectives.cross_entropy(),
                schedule=exponential(2, sparsity=0.5),
            )

    def test_revival_can_be_switched_off_and_on(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        off = fp.prune(model, recipe="force", sparsity=0.9, batches=[batch], allow_revival=False)
        assert same(off.masks, dict(fp.prune(model, recipe="iter_snip", sparsity=0.9, batches=[batch]).masks))


class TestRandomDensities:
    @pytest.mark.parametrize("name", ["erk", "uniform", "uniform_plus"])
    def test_layers_have_exactly_their_number(self, name: str) -> None:
        model = fp.models.build("digits_convnet")
        result = fp.prune(model, recipe=name, sparsity=0.7)
        shapes = {n: p.shape for n, p in model.named_parameters() if p.ndim >= 2}
        expected = {n: round(s * shapes[n].numel()) for n, s in fp.DENSITIES[name](shapes, 0.3).items()}
        assert {n: count.total - count.kept for n, count in result.masks.per_layer().items()} == expected
        assert result.masks.total - result.masks.kept == round(0.7 * result.masks.total)

    def test_positions_follow_the_seed(self) -> None:
        model = mlp(6, 20, 3)
        one, two = (fp.prune(model, recipe="erk", sparsity=0.7, options={"seed": s}).masks for s in (0, 1))
        assert one.per_layer() == two.per_layer()
        assert not same(one, dict(two))


class TestRobust:
    def test_sbp_sr_wants_a_stable_network_and_keeps_its_factor(self) -> None:
        x, y = torch.randn(20, 3, 8, 8), torch.arange(20) % 10
        stable = fp.models.build("resnet20", width=0.25, stable=True)
        result = fp.prune(stable, recipe="sbp_sr", sparsity=0.8, batches=[(x, y)])
        assert {m.factor for m in result.model.modules() if hasattr(m, "factor")} == {9**-0.5}
        with pytest.raises(ValueError, match=r"must be a Stable ResNet; got 'ResNet'\. Build it with stable=True"):
            fp.prune(fp.models.build("resnet20", width=0.25), recipe="sbp_sr", sparsity=0.8, batches=[(x, y)])

    def test_rescaling_brings_the_variance_back(self) -> None:
        model, batch = mlp(6, 50, 50, 3), examples()
        result = fp.prune(model, recipe="sbp_rescaled", sparsity=0.8, batches=[batch])
        for name, param in result.model.named_parameters():
            assert param.square().mean().item() == pytest.approx(
                model.get_parameter(name).square().mean().item(), rel=1e-5
            )

    def test_rescaling_to_a_named_variance(self) -> None:
        result = fp.prune(mlp(6, 50, 50, 3), measure="magnitude", sparsity=0.8, rescale="layer", sigma_w=2**0.5)
        for param in result.model.parameters():
            assert param.square().mean().item() * param.shape[1] == pytest.approx(2.0, rel=1e-5)
        with pytest.raises(ValueError, match="None where nothing is rescaled"):
            fp.prune(mlp(6, 5, 3), measure="magnitude", sparsity=0.5, sigma_w=1.0)

    def test_rescaling_behind_a_norm_is_told_to_be_void(self) -> None:
        x, y = torch.randn(20, 3, 8, 8), torch.arange(20) % 10
        with pytest.warns(UserWarning, match="rescaling is void"):
            result = fp.prune(
                fp.models.build("resnet20", width=0.25),
                measure="magnitude",
                sparsity=0.5,
                rescale="layer",
                batches=[(x, y)],
            )
        assert result.rescaled.keys() == result.masks.keys()
