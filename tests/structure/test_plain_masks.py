"""Masks without a layout name weights, not units; and masks of other models are refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError, UnknownNameError
from flowprune.core.fingerprint import fingerprint
from flowprune.core.units import rows
from flowprune.structure import cut_, remove, trace
from tests.structure.comparing import UnitMasks, assert_same, images, randomised
from tests.structure.removable import (
    Autoencoder,
    Dense,
    Grouped,
    Perceptron,
    Plain,
    PreActivation,
    Residual,
    Separable,
    Upsampled,
    every,
)


def zero(model, **rows):
    """A copy with rows of some parameters at zero; dots in names are written __."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, gone in rows.items():
            model.get_parameter(name.replace("__", "."))[gone] = 0
    return model


def test_a_weight_that_feeds_a_stream_with_others_is_zeroed_in_place():
    model, x = randomised(Residual), images()
    keep = torch.tensor([True, False, True, True, False, True])
    small = remove(model, {"stem.weight": keep}, example_inputs=x)
    assert small.stem.out_channels == 6
    gone = (~keep).nonzero().flatten()
    masked = zero(model, stem__weight=gone, bn__weight=gone, bn__bias=gone)
    assert_same(masked, small, x)
    assert torch.equal(small.layers[0].bn2.weight, model.layers[0].bn2.weight)


def test_a_unit_goes_when_all_its_weights_are_named():
    model, x = randomised(Residual), images()
    names = ("stem", "layers.0.conv2", "layers.1.conv2")
    masks = {f"{name}.weight": torch.ones(6, dtype=torch.bool) for name in names}
    masks["stem.weight"][[1, 2]] = masks["layers.0.conv2.weight"][[1, 3]] = masks["layers.1.conv2.weight"][1] = False
    small = remove(model, masks, example_inputs=x)
    assert small.stem.out_channels == small.layers[1].conv2.out_channels == 5  # channel 1 is gone from all of them
    masked = zero(
        model,
        **{key: [1, 2] for key in ("stem__weight", "bn__weight", "bn__bias")},
        **{f"layers__0__{key}": [1, 3] for key in ("conv2__weight", "bn2__weight", "bn2__bias")},
        **{f"layers__1__{key}": [1] for key in ("conv2__weight", "bn2__weight", "bn2__bias")},
    )
    assert_same(masked, small, x)
    assert int((small.stem.weight.flatten(1).abs().sum(1) == 0).sum()) == 1  # channel 2, zeroed and still there


def test_an_ordinary_layer_is_removed():
    model, x = randomised(Plain), images()
    small = remove(model, {"0.weight": torch.arange(6) > 1}, example_inputs=x)
    assert (small[0].out_channels, small[1].num_features, small[3].in_channels) == (4, 4, 4)


def test_a_depthwise_filter_by_itself_is_zeroed():
    model, x = randomised(Separable), images()
    small = remove(model, {"dw.weight": torch.arange(6) > 1}, example_inputs=x)
    assert small.dw.groups == 6
    assert_same(zero(model, **{n: [0, 1] for n in ("dw__weight", "dw__bias", "bn1__weight", "bn1__bias")}), small, x)


def test_a_filter_of_a_coupled_unit_is_zeroed():
    """In a grouped convolution a unit has one filter per group; one of them alone cannot be removed."""
    model, x = randomised(Grouped), images()
    keep = torch.ones(12, dtype=torch.bool)
    keep[[0, 1, 4, 7, 10]] = False  # filters 1, 4, 7, 10 are one unit
    small = remove(model, {"b.weight": keep}, example_inputs=x)
    assert small.b.out_channels == 8
    gone = [0, 1, 4, 7, 10]
    assert_same(zero(model, b__weight=gone, b__bias=gone, bn__weight=gone, bn__bias=gone), small, x)


def test_the_norm_of_a_concatenation_is_zeroed_where_it_is_the_weights_own():
    """The classifier's row stays: its channel is an output of the model."""
    model, x = randomised(Dense), images()
    small = remove(model, {"head.weight": torch.tensor([True, False, True, True])}, example_inputs=x)
    assert_same(zero(model, head__weight=[1], head__bias=[1]), small, x)
    owned = {item.name: item.positions.tolist() for item in trace(model, x).owned["b.weight"]}
    assert owned["bn.weight"] == [-1] * 5 + [0, 1, 2, 3]


def test_plain_rows_as_a_layout_name_weights_too():
    """What ``Channels`` gives for signals without a model."""
    model, x = randomised(Residual), images()
    masks = UnitMasks({"stem.weight": torch.arange(6) > 0}, {"stem.weight": rows("stem.weight", 6)})
    assert remove(model, masks, example_inputs=x).stem.out_channels == 6


def test_a_layout_of_another_structure_is_refused():
    model, x = randomised(Residual), images()
    foreign = trace(randomised(Perceptron), images()).groups["1.weight"]
    with pytest.raises(PruningError, match="must be made for the units of this model"):
        remove(model, UnitMasks({"stem.weight": torch.arange(6) > 0}, {"stem.weight": foreign}), example_inputs=x)


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"nothing.weight": torch.ones(6, dtype=torch.bool)}, UnknownNameError, "has no 'nothing.weight'"),
        ({"0.weight": torch.ones(5, dtype=torch.bool)}, ValueError, "boolean of length 6.*length 5"),
        ({"0.weight": torch.ones(6)}, ValueError, "boolean of length 6.*float32"),
        ({"0.weight": torch.ones(6, 3, 3, 3, dtype=torch.bool)}, ValueError, "fp.apply"),
        ({"0.weight": torch.zeros(6, dtype=torch.bool)}, PruningError, "at least one channel.*'0.weight' loses all 6"),
        (UnitMasks({"0.weight": torch.arange(6) > 0}, {}, "0" * 12), ValueError, "fingerprint 000000000000"),
    ],
)
def test_masks_that_cannot_be_meant(masks, error, message):
    model = randomised(Plain)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message):
        remove(model, masks, example_inputs=images())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_right_fingerprint_is_accepted():
    model = randomised(Plain)
    own = fingerprint(dict(model.named_parameters()))
    masks = UnitMasks({"0.weight": torch.arange(6) > 0}, {}, own)
    assert remove(model, masks, example_inputs=images())[0].out_channels == 5


def test_masks_that_leave_no_unit_of_a_stream():
    """No single mask is empty, but together they leave the stream nothing."""
    model, x = randomised(Grouped), images()
    layout = trace(model, x).groups
    with pytest.raises(PruningError, match="at least one"):
        remove(model, UnitMasks({"b.weight": torch.zeros(3, dtype=torch.bool)}, layout), example_inputs=x)


def test_a_norm_of_a_stream_is_no_weights_own():
    """Channel 1 of one writer goes; the norms that read the sum stay as they are."""
    model, x = randomised(PreActivation), images()
    small = remove(model, {"conv2.weight": torch.arange(6) != 1}, example_inputs=x)
    assert_same(zero(model, conv2__weight=[1], conv2__bias=[1]), small, x)
    assert torch.equal(small.bn3.bias, model.bn3.bias)


def test_a_transposed_grouped_convolution_owns_its_bias():
    model, x = randomised(Upsampled), images()
    small = remove(model, {"c.weight": torch.tensor([True, False, True])}, example_inputs=x)
    assert small.c.out_channels == 4
    owned = {item.name: item.positions.tolist() for item in trace(model, x).owned["c.weight"]}
    assert owned["c.bias"] == [0, 1, 2, 0, 1, 2]


def test_a_weight_tied_to_its_own_transpose():
    """The encoder's rows make the code; the decoder makes the other axis, which no mask of the rows speaks of."""
    model, x = randomised(Autoencoder), images()
    small = remove(model, {"code.weight": torch.arange(5) > 1}, example_inputs=x)
    assert small.code.weight.shape == (3, 9)
    inner = remove(model, {"inner.weight": torch.arange(9) > 1}, example_inputs=x)
    assert inner.inner.out_features == 9  # the decoder writes to the same units
    assert_same(zero(model, inner__weight=[0, 1], inner__bias=[0, 1]), inner, x)


@every
def test_any_plain_masks_give_a_smaller_or_an_equal_model(kind):
    model, x = randomised(kind), images()
    draw = torch.Generator().manual_seed(3)
    masks = {}
    for name, axis in trace(model, x).producers.items():
        masks[name] = torch.rand(model.get_parameter(name).shape[axis], generator=draw) < 0.8
        masks[name][0] = True
    small = remove(model, masks, example_inputs=x)
    assert all(p.numel() <= model.get_parameter(name).numel() for name, p in small.named_parameters())


@pytest.mark.parametrize("mask", [[True, False, True], torch.ones(3, dtype=torch.bool).numpy(), None])
def test_what_is_no_tensor_is_no_mask(mask):
    model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(2, 2)
    with pytest.raises(ValueError, match=r"remove\(masks=\): mask of '0.weight' must be a boolean tensor; got"):
        remove(model, {"0.weight": mask}, example_inputs=x)
    with pytest.raises(ValueError, match=r"cut_\(masks=\): mask of '0.weight' must be a boolean tensor; got"):
        cut_(model, trace(model, x), {"0.weight": mask})
    with pytest.raises(ValueError, match=r"remove\(masks=\) must be a mapping"):
        remove(model, mask, example_inputs=x)
