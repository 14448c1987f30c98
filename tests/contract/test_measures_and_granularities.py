"""Every measure with every granularity: finite scores of the units' shape, the same twice, and an exact cut."""

import copy
import functools

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.core.granularities import GRANULARITIES, build_granularity
from flowprune.objectives import OBJECTIVES
from flowprune.signals import Signals

NAMES = {
    "channels": ["channels"],
    "heads": ["heads"],
    "depth": ["depth"],
    "weights": ["weights"],
    "nm": ["nm:2:4", "nm:1:2"],
    "blocks": ["blocks:4x1", "blocks:3x5"],
}
EVERY = [name for names in NAMES.values() for name in names]


class Residual(nn.Module):
    """x + W2 relu(W1 norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.BatchNorm1d(16), nn.Linear(16, 12), nn.Linear(12, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Attention(nn.Module):
    """Eight heads of four channels over tokens of eight, their queries, keys and values normed over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm, self.out = nn.Linear(8, 96), nn.BatchNorm1d(96), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.qkv(x.flatten(2).mT)
        q, k, v = self.norm(x.mT).mT.reshape(*x.shape[:2], 3, -1, 4).permute(2, 0, 3, 1, 4)
        read = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out(read).mean(1)


@functools.cache
def case_of(name: str) -> tuple[nn.Module, torch.Tensor, Signals]:
    torch.manual_seed(0)
    blocks = [Residual() for _ in range(6)] if name == "depth" else []
    attention = nn.Sequential(nn.Conv2d(4, 8, 3), Attention(), nn.ReLU(), nn.Linear(8, 4))
    model = attention if name == "heads" else nn.Sequential(
        nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(72, 16), nn.BatchNorm1d(16), nn.ReLU(), *blocks, nn.Linear(16, 4),
    )  # fmt: skip
    x, y = torch.randn(8, 4, 5, 5), torch.randint(0, 4, (8,))
    needs = ("gradient", "hessian_gradient", "fisher", "minibatch_fisher", "absolute_gradient")
    signals = fp.gather(model, fp.objectives.cross_entropy(), [(x[:4], y[:4]), (x[4:], y[4:])], needs=needs)
    curved = {f: getattr(signals, f) for f in Signals.__dataclass_fields__} | {"curvature": signals.fisher}
    return model, x, Signals(**curved)


def test_every_granularity_is_tried() -> None:
    assert NAMES.keys() == GRANULARITIES.keys()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("measure", list(fp.MEASURES))
def test_a_measure_scores_every_kind_of_unit(measure: str, name: str) -> None:
    model, x, signals = case_of(name)
    units = build_granularity("here", name, {"example_inputs": x})
    objective = fp.MEASURES[measure].objective
    if objective is not None:
        y = torch.zeros(len(x), dtype=torch.long)
        signals = fp.gather(model, OBJECTIVES[objective](), [(x, y)], seed=0)
    options = {"density": 0.95} if measure == "phew" else {}
    if measure == "phew" and name == "heads":
        with pytest.raises(PruningError, match="walks"):
            fp.score(measure, signals, units)
        return
    before = {n: p.clone() for n, p in signals.params.items()}
    if fp.MEASURES[measure].on == "norm" and not units.removes:
        with pytest.raises(ValueError, match=f"granularity of channels, whose norms it reads; got '{name}'"):
            fp.score(measure, signals, units)
        return
    scores, again = (fp.score(measure, signals, units, **options) for _ in range(2))
    for layer, found in scores.items():
        shape = scores.layout[layer].shape if scores.layout else signals.params[layer].shape
        assert found.shape == shape
        assert bool(torch.isfinite(found).all())
        assert torch.equal(found, again[layer])
    assert all(torch.equal(p, signals.params[n]) for n, p in before.items())
    for scope in ("global", "local"):
        masks = fp.select(scores, 0.5, scope=scope, min_keep=1)
        counts = [mask.numel() for mask in masks.values()]
        asked = round(0.5 * sum(counts)) if scope == "global" else sum(round(0.5 * n) for n in counts)
        assert masks.total - masks.kept == asked


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("schedule", ["one_shot", "exponential", "cubic"])
def test_one_call_prunes_every_kind_of_unit_on_every_schedule(schedule: str, name: str) -> None:
    model, x, _ = case_of(name)
    units = build_granularity("here", name, {"example_inputs": x})
    planned = fp.schedules.build(schedule, rounds=1 if schedule == "one_shot" else 3)
    result = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=units, schedule=planned, floor=0.0)
    assert result.masks.total - result.masks.kept == round(0.5 * result.masks.total)
    fewer = result.cost.after.parameters < result.cost.before.parameters
    assert fewer == units.removes
    masked = fp.apply(copy.deepcopy(model), result.masks).eval()
    torch.testing.assert_close(result.model.eval()(x), masked(x), rtol=1e-5, atol=1e-5)
