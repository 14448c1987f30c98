"""The public calls, as the design promises them."""

import copy
import math

import pytest
import torch

import flowprune as fp


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model = fp.models.build("vgg13", num_classes=10)
    x, y = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
    objective = fp.objectives.cross_entropy(temperature=1.0)
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]
    signals = fp.gather(model, objective, batches, needs=("gradient", "hessian_gradient"))
    return model, x, objective, batches, signals


def test_signals_and_flow(case) -> None:
    model, _, _, _, signals = case
    names = [n for n, _ in model.named_parameters()]
    for field in (signals.params, signals.gradient, signals.hessian_gradient):
        assert list(field) == names
    flow = fp.flow(signals)
    for value in (flow.norm2, flow.velocity, flow.acceleration, flow.loss, flow.loss_velocity):
        assert isinstance(value, float)
        assert math.isfinite(value)


def test_score_select_apply_remove(case) -> None:
    model, x, _, _, signals = case
    state = copy.deepcopy(model.state_dict())
    weights = fp.score("loss_preservation", signals, fp.Weights())
    assert all(weights[n].shape == signals.params[n].shape for n in weights)
    scores = fp.score("gradient_norm_preservation", signals, fp.Channels(example_inputs=x))
    assert {n: s.shape for n, s in scores.items()} == {
        n: (p.shape[0],) for n, p in signals.params.items() if p.dim() == 4
    }
    masks = fp.select(scores, sparsity=0.5, scope="global", min_keep=1)
    assert masks.total - masks.kept == round(0.5 * masks.total)
    assert masks.sparsity + masks.density == 1
    assert list(masks.per_layer()) == list(scores)
    masked = fp.apply(copy.deepcopy(model), masks)
    small = fp.remove(model, masks, example_inputs=x)
    assert type(small) is type(model)
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in state.items())
    torch.testing.assert_close(small.eval()(x), masked.eval()(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(small.train()(x), masked.train()(x), rtol=1e-3, atol=1e-4)


def test_prune_predicts_and_measures() -> None:
    model, objective = fp.models.build("digits_convnet", widths=(8, 12, 12, 16)), fp.objectives.cross_entropy()
    batches = [(torch.randn(8, 1, 8, 8), torch.randint(0, 10, (8,)))]
    signals = fp.gather(model, objective, batches)
    result = fp.prune(
        model,
        measure="magnitude",
        sparsity=0.9,
        granularity=fp.Weights(),
        objective=objective,
        batches=batches,
        schedule=fp.schedules.exponential(rounds=100),
    )
    assert result.masks.total - result.masks.kept == round(0.9 * result.masks.total)
    assert result.scores
    assert result.checks
    assert result.cost.after.nonzeros < result.cost.before.nonzeros
    assert isinstance(fp.predicted_change(signals, result.masks, order=1), float)
    assert isinstance(fp.measured_change(model, objective, batches, result.masks), float)


def test_pruner_in_a_users_own_loop(case) -> None:
    model, x, objective, batches, _ = case
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pruner = fp.Pruner(
        model,
        optimizer,
        measure="loss_preservation",
        granularity=fp.Channels(example_inputs=x),
        objective=objective,
        schedule=fp.schedules.rounds(2, sparsity=0.75),
    )
    before = sum(p.numel() for p in model.parameters())
    for _ in range(3):
        for batch in batches:
            optimizer.zero_grad()
            objective(model, batch).backward()
            optimizer.step()
        pruner.step(batches)
    assert sum(p.numel() for p in model.parameters()) < before / 4


def test_indices_list_what_there_is() -> None:
    for index in (fp.MEASURES, fp.MODELS, fp.DATASETS, fp.PRESETS):
        assert len(index) > 0
    measure = fp.MEASURES["magnitude"]
    assert (measure.order, measure.needs, measure.reduce) == (0, (), "l2")
    assert measure.source.year == 2021
    with pytest.raises(KeyError, match="Known: "):
        fp.MODELS["vgg31"]


def test_signals_by_hand_need_no_model() -> None:
    signals = fp.Signals(params={"w": torch.tensor([1.0, -2.0])}, gradient={"w": torch.tensor([3.0, 0.5])})
    assert fp.score("loss_preservation", signals, fp.Weights())["w"].tolist() == [3.0, 1.0]
    assert fp.flow(signals).velocity == -2 * (3.0 - 1.0)
    assert fp.select({"w": torch.tensor([3.0, 1.0])}, sparsity=0.5)["w"].tolist() == [True, False]


def test_gather_without_needs_gives_parameters_alone(case) -> None:
    model, _, objective, batches, _ = case
    signals = fp.gather(model, objective, batches, needs=())
    assert signals.gradient is None
    assert signals.loss is None
    assert set(signals.params) == {n for n, _ in model.named_parameters()}


def test_prune_is_the_function_whatever_was_imported_first() -> None:
    import flowprune.prune.pruner

    assert callable(fp.prune)
    assert fp.Pruner is flowprune.prune.pruner.Pruner if hasattr(flowprune.prune, "pruner") else True
