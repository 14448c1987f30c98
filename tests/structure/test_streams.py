"""Three ways to offer the channels of a residual stream."""

import copy

import pytest
import torch

import flowprune as fp
from flowprune.core.errors import UnknownNameError
from flowprune.masks import Masks, apply
from flowprune.structure import Channels, cut_, remove
from flowprune.structure.streams import writers
from tests.structure.comparing import assert_same, drawn, images, randomised, zeroed
from tests.structure.removable import Residual


def layout_of(form, model, x):
    signals = fp.gather(model, fp.objectives.cross_entropy(), (), needs=())
    return Channels(example_inputs=x, residual=form).layout(signals)


def test_each_form_offers_what_it_says():
    model, x = randomised(Residual), images()
    sizes = {form: {n: g.size for n, g in layout_of(form, model, x).items()} for form in ("coupled", "inner", "masked")}
    streams = {"stem.weight": 6, "layers.2.conv2.weight": 8}
    first = {f"layers.{i}.conv1.weight" for i in range(5)}
    assert set(sizes["inner"]) == first
    assert set(sizes["coupled"]) == first | set(streams)
    writing = {"stem.weight", *(f"layers.{i}.conv2.weight" for i in range(5)), "layers.2.shortcut.0.weight"}
    assert set(sizes["masked"]) == first | writing
    assert sizes["masked"]["layers.0.conv2.weight"] == 6
    inside = [f"layers.{i}.conv{j}.weight" for i in (0, 1) for j in (1, 2)]
    assert list(sizes["masked"])[:5] == ["stem.weight", *inside]  # in order of execution
    assert sizes["masked"]["layers.2.shortcut.0.weight"] == 8


def test_resnet_56_has_the_filters_that_the_paper_counts():
    model, x = fp.models.build("resnet56"), torch.zeros(2, 3, 32, 32)
    masked, inside = layout_of("masked", model, x), layout_of("inner", model, x)
    assert sum(group.size for group in masked.values()) == 2128
    assert sum(group.size for group in inside.values()) == 1008
    assert sum(group.size for group in masked.values() if not group.removable) == 1104 + 16


def test_a_masked_branch_is_zero_with_its_bias_and_norm():
    model, x = randomised(Residual), images()
    layout = layout_of("masked", model, x)
    masks = drawn(layout, density=0.6)
    expected = zeroed(model, layout, masks)
    branch = layout["layers.1.conv2.weight"]
    assert {m.name for m in branch.members} == {f"layers.1.{n}" for n in ("conv2.weight", "bn2.weight", "bn2.bias")}
    small = remove(model, Masks(dict(masks), layout=layout), example_inputs=x)
    assert_same(expected, small, x)
    applied = apply(copy.deepcopy(model), Masks(dict(masks), layout=layout))
    assert_same(expected, applied, x)
    assert small.layers[0].conv1.out_channels < 6 or bool(masks["layers.0.conv1.weight"].all())


def test_a_branch_that_is_no_whole_weight_keeps_its_other_channels():
    model, x = randomised(Residual), images()
    layout = layout_of("masked", model, x)
    mask = torch.ones(6, dtype=torch.bool)
    mask[2] = False
    small = remove(model, Masks({"layers.0.conv2.weight": mask}, layout=layout), example_inputs=x)
    assert small.layers[0].conv2.weight.shape == model.layers[0].conv2.weight.shape
    assert small.layers[0].conv2.weight[2].abs().sum() == 0
    assert small.layers[0].bn2.bias[2] == 0


def test_one_branch_cannot_be_cut_out():
    model, x = randomised(Residual), images()
    layout = layout_of("masked", model, x)
    with pytest.raises(ValueError, match="one branch of a residual stream"):
        cut_(model, layout, {"layers.0.conv2.weight": torch.tensor([False] + [True] * 5)})


def test_an_unknown_form_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="coupled, inner, masked"):
        Channels(residual="pruned")


def test_masks_remember_that_a_branch_stays(tmp_path):
    model, x = randomised(Residual), images()
    layout = layout_of("masked", model, x)
    masks = Masks(dict(drawn(layout)), layout=layout)
    loaded = Masks.load(masks.save(tmp_path / "masks.safetensors"))
    assert {n: g.removable for n, g in loaded.layout.items()} == {n: g.removable for n, g in layout.items()}
    assert len(writers(layout_of("coupled", model, x)["stem.weight"])) == 3
