"""Exact sums, also of tensors of a device that has no float64, and what is finite."""

from __future__ import annotations

import pytest
import torch

from flowprune.analysis import correlation, flow
from flowprune.analysis.components.average import by_component
from flowprune.analysis.training_flow import predicted_step
from flowprune.core.tensors import dot, has_float64, require_finite, squared_norm, wide
from flowprune.measures.predicted import predicted_step_change
from flowprune.signals import Signals
from flowprune.structure.verify import same_function
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
    assert predicted_step_change(signals, {"w": theta}) == 3.0 + 1e8
    change = predicted_step([theta], [g], [None], rate=0.5, momentum=0.0, weight_decay=0.0)
    assert change.flow == -(3.0 + 1e8)
    assert by_component({"w": theta}, {"all": ["w"]})["all"].sum == 1.0 + 1e8


def test_a_loss_is_added_up_in_the_widest_type_its_device_has():
    forward = Forward(torch.nn.Identity(), (torch.eye(2), torch.tensor([0, 0])))
    forward(torch.eye(2))
    tally = Tally().add(single(0.5), forward).add(single(1.5), forward)
    assert tally.loss == 1.0


def test_outputs_are_compared_on_a_device_without_float64():
    same_function(single([1.0, 2.0]), single([1.0, 2.0]))
    with pytest.raises(RuntimeError, match="differs"):
        same_function(single([1.0, 2.0]), single([1.0, 3.0]))


def test_scores_are_compared_on_a_device_without_float64():
    assert correlation({"w": single([1.0, 2.0, 3.0])}, {"w": single([2.0, 4.0, 6.0])}).spearman == 1.0


def test_finite_numbers_whose_sum_overflows_are_finite() -> None:
    large = {"w": torch.full((4,), 3e38), "v": torch.full((4,), 60000.0, dtype=torch.float16)}
    assert not any(torch.isfinite(value.sum()) for value in large.values())  # or nothing would be tried here
    require_finite("here", large)  # raises where it is wrong
    require_finite("here", {"empty": torch.zeros(0), "ints": torch.ones(3, dtype=torch.int64)})


@pytest.mark.parametrize("bad", [[float("nan")], [float("inf"), -float("inf")], [-float("inf"), 1.0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_not_finite_is_counted(bad: list[float], dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, *bad], dtype=dtype)
    count = int((~torch.isfinite(values)).sum())
    with pytest.raises(ValueError, match=f"here must be finite everywhere; got \"{count} of .* 'w' NaN or infinite"):
        require_finite("here", {"v": torch.ones(2), "w": values})


def test_what_has_no_values_is_named() -> None:
    with pytest.raises(ValueError, match="here must be of values; got \"'w' on the meta device\""):
        require_finite("here", {"w": torch.ones(2, device="meta")})
