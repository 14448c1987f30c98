"""Exact sums, also of tensors of a device that has no float64."""

from __future__ import annotations

import pytest
import torch

from flowprune.analysis import correlation, flow
from flowprune.analysis.components.average import by_component
from flowprune.analysis.loss_change import _cut_sum
from flowprune.analysis.training_flow import predicted_step
from flowprune.core.tensors import dot, has_float64, squared_norm, wide
from flowprune.signals import Signals
from flowprune.structure.verify import _same_tensor
from flowprune.train.forward import Forward
from flowprune.train.tally import Tally
from tests.core.single import single


def test_the_stand_in_refuses_what_the_device_refuses():
    x = single([1.0, 2.0])
    assert x.device.type == "mps"
    assert (x + 1).device.type == "mps"
    for refused in (x.double, lambda: x.to(torch.float64), lambda: x.sum(dtype=torch.float64)):
        with pytest.raises(TypeError, match="float64"):
            refused()
    assert x.cpu().double().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("make", [torch.tensor, single])
def test_wide_is_float64_wherever_the_tensor_is(make):
    found = wide(make([0.5, 1.5]))
    assert found.dtype == torch.float64
    assert found.tolist() == [0.5, 1.5]
    assert not has_float64(torch.device("mps"))
    assert has_float64(torch.device("cpu"))


@pytest.mark.parametrize("make", [torch.tensor, single])
def test_sums_are_exact_on_a_device_without_float64(make):
    theta, g = make([1.0, 1e8]), make([3.0, 1.0])
    assert squared_norm([theta]) == 1.0 + 1e16
    assert dot({"w": theta}, {"w": g}) == 3.0 + 1e8
    signals = Signals(params={"w": theta}, gradient={"w": g}, hessian_gradient={"w": g})
    assert flow(signals).velocity == -2 * (3.0 + 1e8)
    assert _cut_sum(torch.tensor([False, True]), theta * g) == 1e8
    change = predicted_step([theta], [g], [None], rate=0.5, momentum=0.0, weight_decay=0.0)
    assert change.flow == -(3.0 + 1e8)
    assert by_component({"w": theta}, {"all": ["w"]})["all"].sum == 1.0 + 1e8


def test_a_loss_is_added_up_in_the_widest_type_its_device_has():
    forward = Forward(torch.nn.Identity(), (torch.eye(2), torch.tensor([0, 0])))
    forward(torch.eye(2))
    tally = Tally().add(single(0.5), forward).add(single(1.5), forward)
    assert tally.loss == 1.0


def test_outputs_are_compared_on_a_device_without_float64():
    _same_tensor(single([1.0, 2.0]), single([1.0, 2.0]), None, where="", name="output")
    with pytest.raises(RuntimeError, match="differs"):
        _same_tensor(single([1.0, 2.0]), single([1.0, 3.0]), None, where="", name="output")


def test_scores_are_compared_on_a_device_without_float64():
    assert correlation({"w": single([1.0, 2.0, 3.0])}, {"w": single([2.0, 4.0, 6.0])}).spearman == 1.0
