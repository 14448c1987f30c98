"""What gather returns: closed forms, weights, batch forms, and errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import PruningError
from flowprune.objectives import Objective, cross_entropy, mean_squared_error
from flowprune.signals import NEEDS, Signals, gather
from tests.signals.networks import Attention, convolutional, flat, images, perceptron, points, sentences, whole


def plain_gradient(model, objective, batch):
    grads = torch.autograd.grad(objective(model, batch), list(model.parameters()))
    return {name: g for (name, _), g in zip(model.named_parameters(), grads, strict=True)}


@pytest.mark.parametrize("temperature", [1.0, 5.0, 200.0])
def test_the_gradient_is_that_of_the_mean_over_all_examples(temperature):
    # The batches are of sizes 4, 4, 3: an unweighted mean over batches would be another vector.
    model, batches, objective = convolutional().eval(), images(), cross_entropy(temperature)
    signals = gather(model, objective, batches)
    torch.testing.assert_close(signals.gradient, plain_gradient(model, objective, whole(batches)))
    assert signals.loss == pytest.approx(objective(model, whole(batches)).item())
    assert signals.samples == 11
    unweighted = sum(flat(plain_gradient(model, objective, batch)) for batch in batches) / 3
    assert not torch.allclose(flat(signals.gradient), unweighted)


def test_one_batch_gives_the_very_gradient_of_autograd():
    model, batches = convolutional(torch.float32).eval(), images((5,), torch.float32)
    found, expected = gather(model, cross_entropy(), batches), plain_gradient(model, cross_entropy(), batches[0])
    assert all(torch.equal(found.gradient[name], expected[name]) for name in expected)


def test_no_needs_runs_nothing():
    model = convolutional()
    signals = gather(model, None, None, needs=())
    assert signals.gradient is None
    assert signals.samples is None
    assert set(signals.params) == set(dict(model.named_parameters()))
    with torch.no_grad():
        model[0].weight.zero_()
    assert signals.params["0.weight"].abs().sum() > 0  # a copy


def test_the_gathered_record_knows_its_model():
    model, batches = convolutional(), images()
    signals = gather(model, cross_entropy(), batches)
    assert signals.model is model
    assert signals.mode == "eval"
    assert signals.prunable == {"0.weight", "3.weight", "8.weight"}
    assert len(signals.fingerprint) == 12
    torch.testing.assert_close(signals.example_inputs, batches[0][0][:2])
    assert not signals.params["0.weight"].requires_grad


@pytest.mark.parametrize("need", NEEDS)
def test_only_what_is_asked_for_is_there(need):
    signals = gather(convolutional(), cross_entropy(), images((3,)), needs=need)
    assert getattr(signals, need) is not None
    free = {"hessian_gradient": {"gradient"}, "minibatch_fisher": {"gradient"}, "absolute_gradient": {"gradient"}}.get(
        need, set()
    )
    assert {name for name in NEEDS if getattr(signals, name) is not None} == {need} | free


def test_everything_at_once_equals_each_alone():
    model, batches, objective = convolutional(), images(), cross_entropy()
    together = gather(model, objective, iter(batches), needs=NEEDS)
    for need in ("gradient", "hessian_gradient", "fisher", "minibatch_fisher", "absolute_gradient"):
        alone = gather(model, objective, batches, needs=(need,))
        torch.testing.assert_close(getattr(together, need), getattr(alone, need))
        assert alone.loss == pytest.approx(together.loss)


def test_the_minibatch_fisher_squares_batch_means():
    model, batches, objective = convolutional().eval(), images(), cross_entropy()
    found = gather(model, objective, batches, needs=("minibatch_fisher",)).minibatch_fisher
    expected = sum(len(b[1]) * flat(plain_gradient(model, objective, b)).square() for b in batches) / 11
    torch.testing.assert_close(flat(found), expected)


def test_signs_of_batches_do_not_cancel_in_the_absolute_gradient():
    model, batches, objective = convolutional().eval(), images(), cross_entropy()
    found = gather(model, objective, batches, needs=("absolute_gradient",)).absolute_gradient
    expected = sum(len(b[1]) * flat(plain_gradient(model, objective, b)).abs() for b in batches) / 11
    torch.testing.assert_close(flat(found), expected)


def test_a_seed_is_of_the_dropout_in_train_mode_and_of_nothing_after():
    model, batches = (
        nn.Sequential(nn.Linear(3, 8), nn.Dropout(), nn.Linear(8, 2)),
        [(torch.randn(4, 3), torch.ones(4).long())],
    )
    before = torch.get_rng_state()
    one, same, other = (gather(model, cross_entropy(), batches, mode="train", seed=s).loss for s in (0, 0, 1))
    assert one == same != other
    assert torch.equal(before, torch.get_rng_state())


def test_losses_beyond_float32_are_finite():
    model, batch = nn.Linear(1, 1, bias=False).double(), (torch.full((1, 1), 1e30).double(), torch.zeros(1, 1).double())
    assert gather(model, mean_squared_error(), [batch]).loss == pytest.approx(1e60 * model.weight.item() ** 2)


def test_mappings_are_batches_and_examples_keep_their_keys():
    torch.manual_seed(0)
    model, batches = Attention().double().eval(), sentences()
    signals = gather(model, cross_entropy(), batches, needs=("hessian_gradient", "fisher"))
    joined = (torch.cat([b["ids"] for b in batches]), torch.cat([b["labels"] for b in batches]))
    torch.testing.assert_close(signals.gradient, plain_gradient(model, cross_entropy(), joined))
    assert signals.example_inputs["ids"].shape == (2, 5)
    assert "labels" not in signals.example_inputs


def test_a_plain_callable_is_an_objective():
    model, batches = convolutional().eval(), images()

    def objective(forward, batch):
        return functional.cross_entropy(forward(batch[0]), batch[1])

    expected = gather(model, cross_entropy(), batches, needs=("hessian_gradient",))
    found = gather(model, objective, batches, needs=("hessian_gradient",))
    torch.testing.assert_close(found.hessian_gradient, expected.hessian_gradient)
    with pytest.raises(ValueError, match="per_example"):
        gather(model, objective, batches, needs=("fisher",))


def test_a_batch_of_one_tensor_suits_an_objective_without_targets():
    def total(forward, batch):
        return forward(batch).sum()

    signals = gather(nn.Linear(3, 2, bias=False), total, [torch.ones(1, 3)])
    assert torch.equal(signals.gradient["weight"], torch.ones(2, 3))
    assert signals.example_inputs.shape == (1, 3)


@pytest.mark.parametrize("needs", [("gradient",), ("hessian_gradient",), NEEDS])
def test_one_shot_iterators_serve_one_call_and_their_exhaustion_is_noticed(needs):
    # RT-11, RT-19
    model, batches = convolutional(), images()
    once = iter(batches)
    signals = gather(model, cross_entropy(), once, needs=needs)
    assert signals.samples == 11
    with pytest.raises(ValueError, match="at least one batch; got 'none'"):
        gather(model, cross_entropy(), once, needs=needs)


def test_a_data_loader_gives_the_same_every_time():
    x, y = whole(images())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    first, second = (gather(convolutional(), cross_entropy(), loader) for _ in range(2))
    torch.testing.assert_close(first.gradient, second.gradient)


def test_frozen_parameters_have_no_derivatives():
    model = convolutional()
    model[0].weight.requires_grad_(False)
    signals = gather(model, cross_entropy(), images(), needs=("hessian_gradient", "fisher"))
    expected = gather(convolutional(), cross_entropy(), images(), needs=("gradient", "fisher"))
    assert set(signals.params) - set(signals.gradient) == {"0.weight"}
    assert signals.gradient.keys() == signals.hessian_gradient.keys() == signals.fisher.keys()
    torch.testing.assert_close(signals.fisher["3.weight"], expected.fisher["3.weight"])
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="a model with trainable parameters; got '8 frozen ones'"):
        gather(model, cross_entropy(), images())


def test_unused_parameters_get_zeros():
    model = perceptron(4, 6, 3)
    model.register_parameter("spare", nn.Parameter(torch.ones(2, 2)))
    signals = gather(model, cross_entropy(), points(), needs=NEEDS)
    for need in ("gradient", "hessian_gradient", "fisher", "minibatch_fisher", "absolute_gradient"):
        assert torch.equal(getattr(signals, need)["spare"], torch.zeros(2, 2))


def test_double_precision_and_single_precision_agree():
    double = gather(convolutional(), cross_entropy(), images(), needs=("hessian_gradient", "fisher"))
    single = gather(
        convolutional(torch.float32), cross_entropy(), images(dtype=torch.float32), needs=("hessian_gradient", "fisher")
    )
    for need in ("gradient", "hessian_gradient", "fisher"):
        exact, rounded = flat(getattr(double, need)), flat(getattr(single, need))
        assert rounded.dtype == torch.float32
        assert (rounded - exact).norm() <= 1e-4 * exact.norm()


def test_half_precision_is_averaged_in_single():
    model = perceptron(4, 6, 3, dtype=torch.bfloat16)
    batches = points((4,) * 64, dtype=torch.bfloat16)
    found = gather(model, cross_entropy(), batches).gradient
    assert found["0.weight"].dtype == torch.bfloat16
    mean = sum(flat(plain_gradient(model, cross_entropy(), batch)).double() for batch in batches) / 64
    assert (flat(found).double() - mean).norm() <= 0.004 * mean.norm()  # one rounding to bfloat16


def test_it_works_where_gradients_are_switched_off():
    expected = gather(convolutional(), cross_entropy(), images(), needs=("hessian_gradient",))
    with torch.no_grad():
        found = gather(convolutional(), cross_entropy(), images(), needs=("hessian_gradient",))
    torch.testing.assert_close(found.hessian_gradient, expected.hessian_gradient)
    with torch.inference_mode():
        torch.testing.assert_close(gather(convolutional(), cross_entropy(), [], needs=()).params, expected.params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"needs": ("gradients",)}, r"drawn from gradient, hessian_gradient, .*; got \['gradients'\]"),
        ({"mode": "test"}, r"gather\(mode=\) must be 'eval' or 'train'"),
        ({"micro_batch": 0}, r"gather\(micro_batch=\) must be a whole number >= 1"),
        ({"micro_batch": "64"}, r"gather\(micro_batch=\) must be a whole number >= 1, or None; got '64'"),
        ({"needs": None}, r"gather\(needs=\) must be drawn from .*; got \[None\]"),
        ({"needs": "gradients"}, r"gather\(needs=\) must be drawn from .*; got \['gradients'\]"),
        ({"needs": (1, "grad", [])}, r"gather\(needs=\) must be drawn from .*; got \[1, 'grad', \[\]\]"),
        ({"objective": None}, r"gather\(objective=\) must be a callable .*; got None"),
        ({"objective": "cross_entropy"}, r"gather\(objective=\) must be a callable"),
        ({"batches": None}, r"gather\(batches=\) must be an iterable of batches; got None"),
        ({"batches": 5}, r"gather\(batches=\) must be an iterable of batches; got 5"),
        ({"model": convolutional}, r"gather\(model=\) must be an nn.Module; got 'function'"),
        ({"model": nn.Linear}, r"gather\(model=\) must be an nn.Module; got 'Linear'"),
        ({"model": nn.LazyLinear(2)}, r"gather\(model=\) must be initialised; got 'lazy weight, bias'"),
        ({"batches": []}, "at least one batch"),
        ({"batches": images()[0]}, r"To use one batch, pass \[batch\]"),
        ({"batches": {"inputs": torch.ones(2), "targets": torch.ones(2)}}, r"To use one batch, pass \[batch\]"),
        ({"batches": images((2, 0))}, "at least one example each"),
        ({"batches": [("text", "more")]}, "at least one example each"),
        ({"objective": lambda forward, b: forward(b[0])}, r"a scalar tensor; got 'a tensor of shape \(4, 5\)'"),
        ({"objective": lambda forward, b: 1.0}, "a scalar tensor; got 'float'"),
        ({"objective": lambda forward, b: torch.tensor(1.0)}, "depends on the model's parameters"),
        ({"objective": lambda forward, b: forward(b[0]).sum() * float("nan")}, "finite; got 'nan in batch 0'"),
        ({"objective": Objective("bad", lambda f, b: f(b[0])), "needs": ("fisher",)}, "one loss per example"),
    ],
)
def test_misuse_is_answered_in_the_house_form(arguments, message):
    given = {"model": convolutional(), "objective": cross_entropy(), "batches": images(), **arguments}
    with pytest.raises(ValueError, match=message):
        gather(**given)


def test_a_gradient_that_is_not_finite_names_its_parameter():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def objective(forward, batch):
        return forward(batch).abs().sqrt().sum()  # finite at zero, its slope is not

    with pytest.raises(ValueError, match=r"gather\(\): gradient must be finite everywhere.*'weight'"):
        gather(model, objective, [torch.ones(1, 1)])


def test_a_loss_that_overflows_in_one_batch_names_it():
    batches = [*images((2, 2)), (torch.full((2, 3, 6, 6), float("inf"), dtype=torch.float64), torch.zeros(2).long())]
    for needs in (("gradient",), ("fisher",), ("activations",)):
        with pytest.raises(ValueError, match="finite; got 'nan in batch 2'"):
            gather(convolutional(), cross_entropy(), batches, needs=needs)


class Counting(nn.Module):
    """Keeps state outside buffers, so that it never computes one function twice."""

    def __init__(self):
        super().__init__()
        self.inner = perceptron(4, 6, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) * (1 + 0.1 * self.calls)


def test_a_forward_that_changes_between_the_passes_is_named():
    with pytest.raises(PruningError, match=r"batch 0 .*differed: .* The forward is random or keeps state"):
        gather(Counting(), cross_entropy(), points(), needs=("hessian_gradient",))
    assert isinstance(gather(Counting(), cross_entropy(), points()), Signals)  # one pass has nothing to compare


def test_noise_of_a_private_generator_is_named():
    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 3, generator=self.generator, dtype=x.dtype)

    model = Noisy(*perceptron(4, 6, 3))
    model.generator = torch.Generator().manual_seed(0)
    with pytest.raises(PruningError, match="The forward is random"):
        gather(model, cross_entropy(), points(), needs=("hessian_gradient",))


def test_noise_of_the_global_generator_is_the_same_in_both_passes():
    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 3, dtype=x.dtype)

    signals = gather(Noisy(*perceptron(4, 6, 3)), cross_entropy(), points(), needs=("hessian_gradient",))
    assert signals.hessian_gradient is not None


def test_dropout_in_train_mode_agrees_between_the_passes():
    model = nn.Sequential(perceptron(4, 16), nn.Dropout(0.5), perceptron(16, 3))
    drawn = torch.utils.data.DataLoader(list(zip(*whole(points((9, 8))), strict=True)), batch_size=4, shuffle=True)
    signals = gather(model, cross_entropy(), drawn, needs=("hessian_gradient",), mode="train")
    assert signals.mode == "train"
    assert not torch.allclose(
        signals.gradient["0.0.weight"], gather(model, cross_entropy(), drawn).gradient["0.0.weight"]
    )


def test_train_mode_norms_are_suspected_first():
    class Shifting(Counting):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3).double()

        def forward(self, x):
            return self.norm(super().forward(x)) * self.calls

    with pytest.raises(PruningError, match=r"In train mode: norm \(BatchNorm1d\). Use mode=\"eval\""):
        gather(Shifting(), cross_entropy(), points(), needs=("hessian_gradient",), mode="train")


def test_regression_works_with_mean_squared_error():
    model = perceptron(4, 3, 1, activation=nn.Tanh)
    batches = [(x, torch.ones(len(x), 1, dtype=x.dtype)) for x, _ in points()]
    signals = gather(model, mean_squared_error(), batches)
    torch.testing.assert_close(signals.gradient, plain_gradient(model, mean_squared_error(), whole(batches)))


@pytest.mark.parametrize("needs", [("gradient",), NEEDS])
def test_batches_made_in_inference_mode_are_copied(needs):
    with torch.inference_mode():
        made = images()
    expected = gather(convolutional(), cross_entropy(), images(), needs=needs)
    torch.testing.assert_close(gather(convolutional(), cross_entropy(), made, needs=needs).gradient, expected.gradient)


def test_the_example_inputs_do_not_keep_the_batch():
    x = torch.randn(64, 3, 6, 6, dtype=torch.float64)
    example = gather(convolutional(), cross_entropy(), [(x, torch.zeros(64).long())]).example_inputs
    assert torch.equal(example, x[:2])
    assert example.untyped_storage().nbytes() == example.numel() * 8
    assert not example.is_inference()


def test_example_inputs_are_none_where_targets_may_be_among_them():
    def total(forward, batch):
        return forward(batch[0]).sum()

    signals = gather(nn.Linear(3, 2), total, [(torch.ones(1, 3), torch.ones(1), torch.ones(1))])
    assert signals.example_inputs is None
