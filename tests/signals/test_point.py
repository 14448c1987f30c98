"""The fingerprint of parameter values."""

import copy
import time

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.objectives import cross_entropy, synaptic_flow
from flowprune.signals.point import point_of


def params() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"a": torch.randn(70, 90), "b": torch.randn(3), "c": torch.randn(5, 2, 3, 3)}


def test_equal_values_have_one_point_wherever_they_lie() -> None:
    one = params()
    point = point_of(one)
    assert point_of({name: one[name].clone() for name in reversed(one)}) == point
    there = {**one, "c": one["c"].to(memory_format=torch.channels_last), "b": torch.randn(9)[1:4].copy_(one["b"])}
    assert point_of(there) == point
    assert point_of({"w": torch.ones(2, device="meta")}) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (33, 65), (70, 90)])
def test_every_change_of_a_value_is_seen(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    value = torch.randn(shape).to(dtype) + 2
    seen = {point_of({"w": value}), point_of({"v": value}), point_of({"w": value.flatten()[None]})}
    for place in {0, value.numel() // 2, value.numel() - 1}:
        for change in (lambda v: -v, lambda v: v * 1.01, lambda v: v * 0):
            other = value.clone().flatten()
            other[place] = change(other[place])
            seen.add(point_of({"w": other.view(shape)}))
    assert len(seen) == 3 + 3 * len({0, value.numel() // 2, value.numel() - 1})


def test_weights_that_change_places_are_seen() -> None:
    one = torch.randn(64, 4096)
    seen = {point_of({"w": other}) for other in (one, one.flip(0), one.flip(1), one.roll(1, 0), one.roll(2, 1), -one)}
    assert len(seen) == 6
    assert point_of({"a": one, "b": one + 1}) != point_of({"b": one, "a": one + 1})


def test_it_is_that_of_the_model_and_costs_little() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    data = [(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))]
    of_all = {fp.gather(model, None, (), needs=()).point, fp.gather(model, cross_entropy(), data).point}
    of_all.add(fp.gather(model, synaptic_flow(), data).point)  # which runs a copy in float64
    assert of_all == {point_of(dict(model.named_parameters()))}
    assert fp.gather(model, cross_entropy(), data, copies=False).point is None
    assert fp.gather(copy.deepcopy(model), None, (), needs=()).point in of_all
    assert fp.Signals(params={"w": torch.ones(1)}).point is None
    large = {"w": torch.randn(1000, 10_000)}
    point_of(large)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        point_of(large)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.1  # 0.006 s where nothing else runs


def test_scores_and_masks_carry_it_and_files_do_not(tmp_path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    signals = fp.gather(model, None, (), needs=())
    scores = fp.score("magnitude", signals)
    masks = fp.select(scores, 0.5)
    assert scores.point == masks.point == signals.point
    assert fp.select(fp.masks.ablations.invert(scores), 0.5).point == signals.point
    assert fp.Masks.load(masks.save(tmp_path / "masks.safetensors")).point is None
    free = masks.at_any_weights()
    assert (free.point, free.fingerprint, free.layout) == (None, masks.fingerprint, masks.layout)
    assert all(torch.equal(free[name], mask) for name, mask in masks.items())
