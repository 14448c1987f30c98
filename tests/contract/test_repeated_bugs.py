"""The field's repeated bugs, each tried through the public calls (the numbers are the bug classes' names)."""

import copy

import pytest
import torch
from torch import nn

import flowprune as fp
from tests.prune.networks import batches, convnet, train

OBJECTIVE = fp.objectives.cross_entropy()


def test_rt_1_sparsity_is_what_goes_in_every_schedule() -> None:
    for name in ("rounds", "exponential", "linear", "cubic"):
        targets = getattr(fp.schedules, name)(5).targets(0.9)
        assert targets[-1] == 0.9
        assert list(targets) == sorted(targets)
        assert targets[0] < 0.9


def test_rt_2_underflowing_scores_do_not_prune_everything() -> None:
    scores = {"a": torch.zeros(50), "b": torch.cat([torch.zeros(40), torch.ones(10)])}
    assert fp.select(scores, 0.7).kept == 30


def test_rt_3_grasp_keeps_the_units_whose_removal_lowers_the_gradient_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4)).double()
    data = [(torch.randn(64, 6).double(), torch.randint(0, 4, (64,)))]
    signals = fp.gather(model, OBJECTIVE, data, needs=("hessian_gradient",))
    before = fp.flow(signals).gradient_norm2
    masks = fp.select(fp.score("gradient_norm_increase", signals), 0.02)
    after = fp.gather(fp.apply(copy.deepcopy(model), masks), OBJECTIVE, data)
    assert fp.flow(after).gradient_norm2 > before


def test_rt_5_the_objective_takes_logits() -> None:
    logits, targets = torch.randn(8, 4), torch.randint(0, 4, (8,))
    loss = OBJECTIVE(lambda x: x, (logits, targets))
    assert float(loss) == pytest.approx(float(-logits.log_softmax(1)[range(8), targets].mean()))


def test_rt_8_nothing_regrows_in_a_saved_checkpoint() -> None:
    model = convnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    train(model, optimizer, batches())
    signals = fp.gather(model, OBJECTIVE, batches())
    masks = fp.select(fp.score("loss_preservation", signals), 0.9, min_keep=1)
    fp.apply(model, masks)
    train(model, optimizer, batches())
    saved = model.state_dict()
    assert all(torch.count_nonzero(saved[name][~mask]) == 0 for name, mask in masks.items())


def test_rt_10_fisher_is_not_the_square_of_a_mean_gradient() -> None:
    model = convnet().eval()
    signals = fp.gather(model, OBJECTIVE, batches(1), needs=("gradient", "fisher"))
    x, y = batches(1)[0]
    params = [p for p in model.parameters() if p.dim() > 1]
    loss = nn.functional.cross_entropy
    each = [torch.autograd.grad(loss(model(x[i : i + 1]), y[i : i + 1]), params) for i in range(len(x))]
    for k, name in enumerate(n for n, p in model.named_parameters() if p.dim() > 1):
        expected = torch.stack([g[k].square() for g in each]).mean(0)
        torch.testing.assert_close(signals.fisher[name], expected, rtol=1e-3, atol=1e-9)
        assert not torch.allclose(signals.fisher[name], signals.gradient[name].square(), rtol=0.1)


def test_rt_11_an_exhausted_iterator_is_told_and_all_batches_count() -> None:
    model, data = convnet(), batches(3)
    once = iter(data)
    whole = fp.gather(model, OBJECTIVE, once)
    assert whole.samples == 48
    with pytest.raises(ValueError, match="at least one batch"):
        fp.gather(model, OBJECTIVE, once)
    x, y = (torch.cat([b[i] for b in data]) for i in (0, 1))
    joined = fp.gather(model, OBJECTIVE, [(x, y)])
    for name, g in whole.gradient.items():
        torch.testing.assert_close(g, joined.gradient[name], rtol=1e-4, atol=1e-6)


def test_rt_12_scoring_is_in_eval_mode_unless_train_mode_is_asked_for() -> None:
    model = convnet().train()
    eval_mode, train_mode = (fp.gather(model, OBJECTIVE, batches(1), mode=mode) for mode in ("eval", "train"))
    assert (eval_mode.mode, train_mode.mode) == ("eval", "train")
    assert not torch.allclose(eval_mode.gradient["0.weight"], train_mode.gradient["0.weight"], rtol=0.05)


@pytest.mark.parametrize("breaks", [False, True])
def test_rt_14_and_25_scoring_leaves_modes_hooks_gradients_buffers_and_randomness(breaks: bool) -> None:
    model = convnet().train()
    model[3].eval()
    seen = []
    model[2].register_forward_hook(lambda *_: seen.append(1))
    nn.functional.cross_entropy(model(batches(1)[0][0]), batches(1)[0][1]).backward()
    x, y = batches(1)[0]
    before = snapshot(model)
    data = [(x, y), (x[:, :, :1], y)] if breaks else [(x, y)]
    needs = ("gradient", "hessian_gradient", "fisher")
    if breaks:
        with pytest.raises(Exception, match=r".+"):
            fp.gather(model, OBJECTIVE, data, needs=needs)
    else:
        fp.score("fisher", fp.gather(model, OBJECTIVE, data, needs=needs), fp.Channels(example_inputs=x))
    after = snapshot(model)
    assert before["modes"] == after["modes"]
    assert before["hooks"] == after["hooks"]
    for part in ("state", "grads"):
        assert all(torch.equal(v, after[part][n]) for n, v in before[part].items())
    assert torch.equal(before["rng"], after["rng"])


def snapshot(model: nn.Module) -> dict:
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "grads": {n: torch.zeros(()) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "hooks": {
            n: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for n, m in model.named_modules()
        },
        "rng": torch.get_rng_state(),
    }


def test_rt_15_biases_norms_and_the_output_layers_channels_are_no_units() -> None:
    model = convnet()
    signals = fp.gather(model, OBJECTIVE, batches(1))
    assert list(fp.score("magnitude", signals, fp.Weights())) == ["0.weight", "3.weight", "8.weight", "10.weight"]
    channels = fp.score("magnitude", signals, fp.Channels(example_inputs=batches(1)[0][0]))
    assert list(channels) == ["0.weight", "3.weight", "8.weight"]


def test_rt_24_a_wrong_positional_argument_is_refused() -> None:
    with pytest.raises(TypeError):
        fp.models.build("vgg13", 100)
    with pytest.raises(TypeError):
        fp.select({"w": torch.ones(4)}, 0.5, "local")
    with pytest.raises(TypeError):
        fp.score("magnitude", fp.Signals(params={"w": torch.ones(2)}), fp.Weights(), "l2")
    with pytest.raises(TypeError):
        fp.Pruner(convnet(), None, "magnitude")


def test_tied_weights_are_cut_together() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.inner(torch.relu(self.inner(torch.relu(self.first(x)))))))

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(5, 4)
    result = fp.prune(
        model, measure="magnitude", sparsity=0.5, granularity=fp.Channels(example_inputs=x), batches=[(x, None)]
    )
    assert result.model.inner.weight.shape == (3, 3)
    masked = fp.apply(copy.deepcopy(model), result.masks)
    torch.testing.assert_close(result.model(x), masked(x))


def test_rt_16_no_option_is_silently_ignored() -> None:
    model = convnet()
    signals = fp.gather(model, OBJECTIVE, batches())
    ignored = (
        lambda: fp.score("magnitude", signals, temperature=1.0),
        lambda: fp.prune(model, measure="magnitude", sparsity=0.5, options={"step_penalty": 1.0}),
        lambda: fp.score("loss_preservation", signals, seed=1),
        lambda: fp.prune(model, recipe="random", sparsity=0.5, granularity=fp.Weights(), objective=OBJECTIVE),
        lambda: fp.models.build("resnet56", stabel=True),
        lambda: fp.models.build("vgg13", stable=True),
    )
    for ask in ignored:
        with pytest.raises((ValueError, TypeError)):
            ask()
