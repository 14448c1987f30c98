"""Half precision, memory layout and compilation change how a step is computed, and not what."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from flowprune.core.errors import UnknownNameError
from flowprune.data import gaussians, training_batches
from flowprune.models import digits_convnet
from flowprune.objectives import cross_entropy
from flowprune.train import Execution, State, fit
from flowprune.train.loss_scale import INITIAL, LossScale

OBJECTIVE = cross_entropy(temperature=2.0)
DATA = training_batches(gaussians(samples=200, num_classes=3, shape=(1, 8, 8)), batch=50, seed=0)


def trained(execution: Execution, epochs: str = "2ep") -> tuple[nn.Module, State]:
    model = execution.prepare(digits_convnet(3, widths=(8, 8, 12, 12)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    objective = execution.objective(OBJECTIVE, model, optimizer)
    return model, fit(model, optimizer, DATA.at, objective=objective, epochs=epochs)


def apart(a: nn.Module, b: nn.Module) -> float:
    """Relative distance of two models' parameters."""
    left, right = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (a, b))
    return float((left - right).norm() / left.norm())


def test_the_defaults_are_the_plain_objective():
    model = nn.Linear(2, 2)
    assert Execution().objective(OBJECTIVE, model) is OBJECTIVE
    assert Execution(memory_format="channels_last").objective(OBJECTIVE, model) is OBJECTIVE


@pytest.mark.parametrize("execution", [Execution(memory_format="channels_last"), Execution(compiled="default")])
def test_layout_and_compilation_agree_to_rounding(execution):
    plain, end = trained(Execution())
    other, last = trained(execution)
    assert apart(plain, other) < 1e-4
    assert last.loss == pytest.approx(end.loss, rel=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_float32_weights_to_nearly_the_same(precision):
    plain, end = trained(Execution())
    model, last = trained(Execution(precision=precision, memory_format="channels_last"))
    assert all(param.dtype == torch.float32 for param in model.parameters())
    assert 0 < apart(plain, model) < 0.05
    assert last.loss == pytest.approx(end.loss, rel=0.05)
    assert last.accuracy is not None


def test_the_loss_of_a_half_precision_step_is_single():
    seen = []

    def objective(forward, batch):
        logits = forward(batch[0])
        seen.append(logits.dtype)
        return OBJECTIVE(lambda _: logits, batch)

    model = digits_convnet(3)
    wrapped = Execution(precision="bfloat16").objective(objective, model)
    assert wrapped(model, next(iter(DATA))).dtype == torch.float32
    assert seen == [torch.float32]


def test_channels_last_weights_stay_so_through_a_cut():
    from flowprune.masks import Masks
    from flowprune.structure import remove, trace

    model = Execution(memory_format="channels_last").prepare(digits_convnet(3, widths=(8, 8, 12, 12)))
    x = next(iter(DATA))[0][:2]
    layout = trace(model, x).groups
    name = next(n for n, g in layout.items() if g.size == 12)
    small = remove(model, Masks({name: torch.arange(12) > 3}, layout=layout), example_inputs=x)
    weights = [p for p in small.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_a_compiled_step_follows_a_cut():
    from flowprune.prune import Pruner
    from flowprune.schedules import rounds
    from flowprune.structure import Channels

    model = digits_convnet(3, widths=(8, 8, 12, 12))
    plain = copy.deepcopy(model)
    losses = {}
    for name, each in (("compiled", model), ("plain", plain)):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.05, momentum=0.9)
        execution = Execution(compiled="default" if name == "compiled" else "none")
        objective = execution.objective(OBJECTIVE, each, optimizer)
        granularity = Channels(example_inputs=next(iter(DATA))[0][:2])
        pruner = Pruner(
            each, optimizer, measure="magnitude", granularity=granularity, objective=None,
            schedule=rounds(1, sparsity=0.5),
        )  # fmt: skip
        start = fit(each, optimizer, DATA.at, objective=objective, epochs="1ep")
        pruner.step(())
        losses[name] = fit(each, optimizer, DATA.at, objective=objective, epochs="2ep", start=start.step).loss
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-3)
    assert apart(model, plain) < 1e-3


def test_an_overflow_skips_the_step_and_halves_the_scale():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.1)
    scale = LossScale(optimizer)
    scale((weight * 1e38).sum()).backward()
    optimizer.step()
    assert weight.item() == 1.0
    assert scale.scale == INITIAL / 2
    assert weight not in optimizer.state
    optimizer.zero_grad()
    scale((weight * 2).sum()).backward()
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 - 0.1 * (2.0 + 0.1))
    assert scale.good == 1


@pytest.mark.parametrize("setting", [{"precision": "half"}, {"memory_format": "nhwc"}, {"compiled": "yes"}])
def test_an_unknown_setting_lists_the_known_ones(setting):
    with pytest.raises(UnknownNameError, match="Known: "):
        Execution(**setting)
