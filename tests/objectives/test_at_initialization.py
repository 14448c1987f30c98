"""The objectives of pruning at initialisation against closed forms, literal references and finite differences."""

from __future__ import annotations

import itertools
import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import flowprune as fp
from flowprune.core.errors import PruningError, UnknownNameError
from flowprune.objectives import (
    after_training,
    cross_entropy,
    mean_squared_error,
    synaptic_flow,
    tangent_kernel,
)
from flowprune.objectives.tangent_kernel import _statistics


def linear(*weights: float) -> nn.Linear:
    layer = nn.Linear(len(weights), 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def chain(*weights: float) -> nn.Sequential:
    return nn.Sequential(*(linear(weight) for weight in weights))


def mlp(*widths: int, bias: bool = False, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def classes(n: int = 12, features: int = 4, count: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(n, features), torch.arange(n) % count


class TestSynapticFlow:
    def test_all_scores_of_a_chain_are_the_product(self) -> None:
        signals = fp.gather(chain(2.0, -3.0, 0.5), synaptic_flow(), [(torch.zeros(1, 1), None)])
        scores = fp.score("synflow", signals)
        assert [value.item() for value in scores.values()] == [3.0, 3.0, 3.0]

    def test_flow_into_a_unit_is_the_flow_out_of_it(self) -> None:
        signals = fp.gather(mlp(4, 5, 3, 2), synaptic_flow(), [(torch.zeros(1, 4), None)])
        first, second, third = fp.score("synflow", signals).values()
        assert torch.allclose(first.sum(1), second.sum(0), rtol=1e-13)
        assert torch.allclose(second.sum(1), third.sum(0), rtol=1e-13)
        assert all(math.isclose(s.sum().item(), signals.loss or 0, rel_tol=1e-14) for s in (first, second, third))

    def test_it_is_taken_in_float64_of_a_model_in_float32(self) -> None:
        model = mlp(4, 3)
        signals = fp.gather(model, synaptic_flow(), [(torch.zeros(1, 4), None)])
        assert signals.params["0.weight"].dtype == torch.float64
        assert model[0].weight.dtype == torch.float32
        assert signals.model is model

    @pytest.mark.parametrize("depth", [150, 300])
    def test_deep_networks_have_no_ties(self, depth: int) -> None:
        """RT-2: in float32 the flow through 150 layers of these weights is exactly zero."""
        model = mlp(*[8] * (depth + 1))
        scores = fp.score("synflow", fp.gather(model, synaptic_flow(), [(torch.zeros(1, 8), None)]))
        flat = torch.cat([score.flatten() for score in scores.values()])
        assert (flat > 0).all()
        assert flat.unique().numel() == flat.numel()
        assert all(
            math.isclose(score.sum().item(), scores["0.weight"].sum().item(), rel_tol=1e-9) for score in scores.values()
        )

    def test_flow_that_underflows_float64_is_an_error(self) -> None:
        model = mlp(*[4] * 401)
        for layer in model[::2]:
            nn.init.constant_(layer.weight, 0.01)  # 400 layers of 0.04: 1e-559
        with pytest.raises(PruningError, match="must find a positive flow"):
            fp.gather(model, synaptic_flow(), [(torch.zeros(1, 4), None)])

    def test_shifts_break_conservation_and_are_left_out(self) -> None:
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        for _ in range(3):
            model(torch.randn(8, 2, 4, 4) + 2)  # running means that are not zero
        batch = [(torch.zeros(1, 2, 4, 4), None)]
        found = fp.score("synflow", fp.gather(model, synaptic_flow(), batch))
        totals = [score.sum().item() for score in found.values()]
        assert math.isclose(*totals, rel_tol=1e-12)
        shifted = fp.score("synflow", fp.gather(model, synaptic_flow(shifts=True), batch))
        assert not math.isclose(*(score.sum().item() for score in shifted.values()), rel_tol=1e-3)

    def test_of_a_prepared_copy_it_is_the_same(self) -> None:
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        batch, objective = (torch.zeros(1, 3), None), synaptic_flow()
        copy = deepcopy(model)
        of_copy = objective.prepare_(copy)
        assert torch.equal(of_copy(copy, batch), objective(model, batch))
        assert torch.equal(of_copy(copy, batch), objective(copy, batch))
        assert bool((model[0].weight < 0).any())

    def test_data_do_not_matter(self) -> None:
        model = mlp(4, 5, 3)
        one, other = (fp.gather(model, synaptic_flow(), [(torch.randn(n, 4), torch.zeros(n))]) for n in (1, 7))
        assert all(torch.equal(one.gradient[n], g) for n, g in (other.gradient or {}).items() if one.gradient)

    def test_one_batch_is_read_of_many(self) -> None:
        read: list[int] = []

        def batches():
            for index in range(5):
                read.append(index)
                yield torch.zeros(2, 4), None

        fp.gather(mlp(4, 3), synaptic_flow(), batches())
        assert read == [0]

    def test_tokens_are_refused(self) -> None:
        model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
        with pytest.raises(ValueError, match=r"synaptic_flow\(\): the input must be one tensor of floating point"):
            fp.gather(model, synaptic_flow(), [(torch.zeros(2, 3, dtype=torch.long), None)])

    @pytest.mark.parametrize(
        ("norm", "shape"),
        [(nn.LayerNorm(6), (1, 4)), (nn.GroupNorm(2, 6), (1, 4)), (nn.InstanceNorm1d(6), (1, 6, 4))],
        ids=lambda value: type(value).__name__,
    )
    def test_a_norm_that_subtracts_the_mean_is_named_as_the_cause(self, norm, shape) -> None:
        layer = nn.Linear(4, 6)
        nn.init.ones_(layer.weight)  # all features alike, so that nothing is left of them
        name = type(norm).__name__
        with pytest.raises(PruningError, match=rf"it is -?[\d.e-]+ in torch.float64. 1 \({name}\) subtracts the mean"):
            fp.gather(nn.Sequential(layer, norm), synaptic_flow(), [(torch.zeros(*shape), None)])

    @pytest.mark.parametrize("seed", range(6))
    def test_a_flow_that_is_rounding_alone_is_none(self, seed: int) -> None:
        """The sum behind a last layer norm is zero but for its last digits, above or below."""
        torch.manual_seed(seed)
        with pytest.raises(PruningError, match=r"1 \(LayerNorm\) subtracts the mean"):
            fp.gather(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)), synaptic_flow(), [(torch.zeros(1, 4), None)])

    def test_of_a_flow_without_a_path_no_norm_is_blamed(self) -> None:
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
        nn.init.zeros_(model[2].weight)
        with pytest.raises(PruningError, match="Either no path is left"):
            fp.gather(model, synaptic_flow(), [(torch.zeros(1, 4), None)])

    def test_the_measure_refuses_another_objective(self) -> None:
        signals = fp.gather(mlp(4, 3), cross_entropy(), [classes()])
        with pytest.raises(ValueError, match=r"score\('synflow', signals=\) must be of the objective 'synaptic_flow'"):
            fp.score("synflow", signals)


class TestTangentKernel:
    def test_of_a_linear_network_all_weights_count_alike(self) -> None:
        """E[m ∂R/∂m] = 2 ε² m, as E x² = E Δ² = 1."""
        model, epsilon = linear(3.0, -1.0, 0.2, 5.0), 0.1
        batch = [(torch.zeros(20000, 4).double(), None)]
        objective = tangent_kernel(epsilon=epsilon, draws=40)
        scores = fp.score("ntk_sap", fp.gather(model, objective, batch, seed=0))["weight"]
        # Δ is one draw for a batch: Δ² has a standard deviation of √2, over 40 draws 22 %.
        assert torch.allclose(scores / (2 * epsilon**2), torch.ones(4).double(), atol=1.0)
        means = [fp.score("ntk_sap", fp.gather(model, objective, batch, seed=s))["weight"] for s in range(12)]
        assert torch.allclose(torch.stack(means).mean(0) / (2 * epsilon**2), torch.ones(4).double(), atol=0.25)

    def test_a_tenfold_step_gives_hundredfold_scores(self) -> None:
        model, batch = mlp(4, 3).double(), [(torch.zeros(9, 4).double(), None)]
        small, large = (
            fp.score("ntk_sap", fp.gather(model, tangent_kernel(epsilon=e), batch, seed=3))["0.weight"]
            for e in (0.01, 0.1)
        )
        assert torch.allclose(large, 100 * small, rtol=1e-9)

    def test_masked_weights_score_nothing_and_are_no_part_of_it(self) -> None:
        model = fp.apply(linear(1.0, 2.0), {"weight": torch.tensor([[True, False]])})
        scores = fp.score("ntk_sap", fp.gather(model, tangent_kernel(), [(torch.zeros(50, 2).double(), None)], seed=0))
        assert scores["weight"][0, 0] > 0
        assert scores["weight"][0, 1] == 0

    def test_it_is_the_derivative_by_the_mask(self) -> None:
        """Against a literal mask that multiplies the same draws."""
        model, x = mlp(3, 5, 2).double(), torch.zeros(6, 3).double()
        signals = fp.gather(model, tangent_kernel(epsilon=0.3, weights="own"), [(x, None)], seed=5)
        found = fp.score("ntk_sap", signals)
        torch.manual_seed(5)
        noise = torch.randn_like(x)
        theta = {name: param.detach() for name, param in model.named_parameters()}
        moved = {name: value + 0.3 * torch.randn_like(value) for name, value in theta.items()}
        masks = {name: torch.ones_like(value, requires_grad=True) for name, value in theta.items()}
        outputs = [functional_call(model, {n: masks[n] * v[n] for n in masks}, (noise,)) for v in (theta, moved)]
        (outputs[0] - outputs[1]).square().sum(1).mean().backward()
        for name, mask in masks.items():
            assert mask.grad is not None
            assert torch.allclose(found[name], mask.grad.abs(), rtol=1e-9)

    def test_the_model_and_its_batch_norms_are_left_alone(self) -> None:
        model = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=0.3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
        )
        before = {name: value.clone() for name, value in model.state_dict().items()}
        random = torch.get_rng_state()
        fp.gather(model, tangent_kernel(), [(torch.zeros(4, 1, 4, 4), None)], seed=1)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert model.training
        assert model[1].training
        assert model[1].momentum == 0.3
        assert torch.equal(random, torch.get_rng_state())

    def test_norms_use_the_statistics_of_the_drawn_inputs(self) -> None:
        """Those of one pass in train mode with a momentum of one, whatever the momentum of the model is."""
        model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, momentum=0.2)).double()
        model(torch.randn(30, 4).double() + 5)  # statistics that must not matter
        x = torch.randn(64, 4).double()
        found = _statistics(model, dict(model.named_parameters()), x)
        hidden = model[0](x)
        assert torch.allclose(found["1.running_mean"], hidden.mean(0), rtol=1e-12)
        assert torch.allclose(found["1.running_var"], hidden.var(0), rtol=1e-12)

    @pytest.mark.parametrize("momentum", [0.0, None, 0.1, 1.0])
    def test_the_momentum_of_norms_does_not_matter(self, momentum) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.1), nn.ReLU(), nn.Linear(6, 2)).double()
        batch = [(torch.zeros(9, 4).double(), None)]
        expected = fp.score("ntk_sap", fp.gather(model, tangent_kernel(), batch, seed=1))
        model[1].momentum = momentum
        found = fp.score("ntk_sap", fp.gather(model, tangent_kernel(), batch, seed=1))
        assert all(torch.allclose(found[name], expected[name], rtol=1e-12) for name in expected)
        assert model[1].momentum == momentum

    def test_momentum_and_mode_come_back_after_an_error(self) -> None:
        model = nn.Sequential(nn.BatchNorm1d(4, momentum=0.3), nn.Linear(5, 2)).eval()
        with pytest.raises(RuntimeError):
            tangent_kernel()(model, (torch.zeros(3, 4), None))
        assert (model[0].momentum, model[0].training) == (0.3, False)

    def test_input_features_in_another_order_give_the_scores_in_that_order(self, monkeypatch) -> None:
        """Exactly, where inputs, weights and steps are drawn in that order too; their distributions have none."""
        order, drawn = torch.tensor([2, 0, 3, 1]), torch.randn_like
        model, twin = mlp(4, 5, 2).double(), mlp(4, 5, 2).double()
        with torch.no_grad():
            twin[0].weight.copy_(model[0].weight[:, order])
        batch = [(torch.zeros(6, 4).double(), None)]
        found = fp.score("ntk_sap", fp.gather(model, tangent_kernel(epsilon=0.3), batch, seed=2))

        def reordered(like: Tensor) -> Tensor:
            value = drawn(like)
            return value[:, order] if value.shape[-1] == 4 else value

        monkeypatch.setattr(torch, "randn_like", reordered)
        other = fp.score("ntk_sap", fp.gather(twin, tangent_kernel(epsilon=0.3), batch, seed=2))
        assert torch.allclose(other["0.weight"], found["0.weight"][:, order], rtol=1e-9)
        assert torch.allclose(other["2.weight"], found["2.weight"], rtol=1e-9)
        assert not torch.allclose(other["0.weight"], found["0.weight"], rtol=1e-2)

    @pytest.mark.parametrize("tiny", [0.0, 1e-39, -1e-45])
    def test_a_weight_below_the_smallest_normal_number_has_no_gate(self, tiny) -> None:
        model = mlp(3, 4, 2)
        with torch.no_grad():
            model[0].weight[1, 2] = tiny
        batch = [(torch.zeros(5, 3), None)]
        with pytest.raises(
            PruningError, match=r"masks; 1 of '0\.weight' are\. .*: fp\.Weights\(skip=\('0\.weight',\)\)\."
        ):
            fp.gather(model, tangent_kernel(), batch)
        model[0].weight.requires_grad_(False)  # as the message says
        scores = fp.score("ntk_sap", fp.gather(model, tangent_kernel(), batch), fp.Weights(skip=("0.weight",)))
        assert list(scores) == ["2.weight"]
        assert bool(scores["2.weight"].isfinite().all())

    def test_the_smallest_normal_number_has_a_gate(self) -> None:
        model = mlp(3, 4, 2)
        with torch.no_grad():
            model[0].weight[1, 2] = torch.finfo(torch.float32).tiny
        scores = fp.score("ntk_sap", fp.gather(model, tangent_kernel(), [(torch.zeros(5, 3), None)], seed=0))
        assert bool(scores["0.weight"].isfinite().all())

    def test_other_seeds_draw_others_and_the_same_seed_the_same(self) -> None:
        model, batch = mlp(4, 3), [(torch.zeros(9, 4), None)]
        a, b, c = (fp.gather(model, tangent_kernel(), batch, seed=s).loss for s in (0, 0, 1))
        assert a == b != c

    def test_a_weight_at_zero_that_nothing_masks_has_no_gate(self) -> None:
        with pytest.raises(PruningError, match="no weight at zero that nothing masks; 1 of 'weight'"):
            fp.gather(linear(1.0, 0.0), tangent_kernel(), [(torch.zeros(2, 2).double(), None)])

    def test_bad_arguments_are_named(self) -> None:
        with pytest.raises(ValueError, match=r"tangent_kernel\(epsilon=\) must be above 0"):
            tangent_kernel(epsilon=0)
        with pytest.raises(UnknownNameError, match="kaiming"):
            tangent_kernel(weights="xavier")  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="floating point numbers"):
            fp.gather(mlp(4, 3), tangent_kernel(), [(torch.zeros(2, 4, dtype=torch.long), None)])


class TestAfterTraining:
    def test_without_steps_it_is_the_objective(self) -> None:
        model, batch = mlp(4, 5, 3), [classes()]
        own = fp.gather(model, cross_entropy(), batch)
        after = fp.gather(model, after_training(steps=0), batch)
        scores = fp.score("prospr", after)
        assert all(torch.equal(scores[n], s) for n, s in fp.score("loss_preservation", own).items())

    def test_one_step_on_a_parabola(self) -> None:
        """L = (w - w*)²: w1 = w - 2η(w - w*), and the score is |2 (w1 - w*)(1 - 2η) w|."""
        w, target, rate = 3.0, 1.0, 0.1
        batch = [(torch.ones(1, 1).double(), torch.full((1, 1), target).double())]
        signals = fp.gather(linear(w), after_training(mean_squared_error(), steps=1, learning_rate=rate), batch)
        w1 = w - 2 * rate * (w - target)
        expected = abs(2 * (w1 - target) * (1 - 2 * rate) * w)
        assert math.isclose(fp.score("prospr", signals)["weight"].item(), expected, rel_tol=1e-12)

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_against_finite_differences_in_the_mask(self, momentum: float) -> None:
        model, batch = mlp(3, 4, 2).double(), (torch.randn(8, 3).double(), torch.arange(8) % 2)
        objective = after_training(steps=3, learning_rate=0.3, momentum=momentum)
        signals = fp.gather(model, objective, [batch])

        def loss(shift: float, at: tuple[int, int]) -> float:
            """Literal training of the masked start, by torch.optim."""
            import copy

            twin = copy.deepcopy(model)
            with torch.no_grad():
                twin[0].weight[at] *= 1 + shift
            optimizer = torch.optim.SGD(twin.parameters(), lr=0.3, momentum=momentum)
            for _ in range(3):
                optimizer.zero_grad()
                nn.functional.cross_entropy(twin(batch[0]), batch[1]).backward()
                optimizer.step()
            return nn.functional.cross_entropy(twin(batch[0]), batch[1]).item()

        assert signals.gradient is not None
        contributions = signals.params["0.weight"] * signals.gradient["0.weight"]
        for at in ((0, 0), (3, 2), (1, 1)):
            measured = (loss(1e-5, at) - loss(-1e-5, at)) / 2e-5
            assert math.isclose(contributions[at].item(), measured, rel_tol=1e-5, abs_tol=1e-9)

    def test_first_order_equals_full_where_the_loss_is_linear(self) -> None:
        def mean_output(forward, batch):
            return forward(batch[0]).mean()

        model, batch = mlp(4, 2).double(), [(torch.randn(5, 4).double(), None)]
        full, first = (fp.gather(model, after_training(mean_output, first_order=f), batch) for f in (False, True))
        assert full.gradient is not None
        assert first.gradient is not None
        assert torch.allclose(full.gradient["0.weight"], first.gradient["0.weight"], rtol=1e-12)
        curved, batch = mlp(4, 3).double(), [(torch.randn(12, 4).double(), torch.arange(12) % 3)]
        full, first = (fp.gather(curved, after_training(first_order=f), batch) for f in (False, True))
        assert full.gradient is not None
        assert first.gradient is not None
        assert not torch.allclose(full.gradient["0.weight"], first.gradient["0.weight"], rtol=1e-3)

    def test_masked_weights_stay_at_zero_through_the_steps(self) -> None:
        model = fp.apply(linear(2.0, 5.0), {"weight": torch.tensor([[True, False]])})
        batch = [(torch.tensor([[1.0, 1.0]]).double(), torch.zeros(1, 1).double())]
        signals = fp.gather(model, after_training(mean_squared_error(), steps=1, learning_rate=0.25), batch)
        assert signals.loss == 1.0  # of the first weight alone: from 2 to 1

    def test_split_batches_show_each_step_other_examples(self) -> None:
        x, y = torch.tensor([[1.0], [10.0]]).double(), torch.zeros(2, 1).double()
        objective = after_training(mean_squared_error(), steps=1, learning_rate=0.25, inner="split")
        assert (
            fp.gather(linear(2.0), objective, [(x, y)]).loss == 100.0
        )  # one step on x = 1, from 2 to 1; then (10 · 1)²
        with pytest.raises(ValueError, match="at least 2 examples"):
            fp.gather(linear(2.0), objective, [(x[:1], y[:1])])

    def test_it_works_in_train_mode_with_batch_norm(self) -> None:
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        signals = fp.gather(model, after_training(), [classes()], mode="train")
        assert signals.loss is not None
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def test_bad_arguments_are_named(self) -> None:
        with pytest.raises(ValueError, match=r"after_training\(steps=\) must be a whole number >= 0"):
            after_training(steps=-1)
        with pytest.raises(ValueError, match=r"after_training\(inner=\) must be 'same' or 'split'"):
            after_training(inner="new")  # pyright: ignore[reportArgumentType]
