"""Layer collapse is told before training."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.prune.collapse import LayerCollapse, collapse
from tests.signals.networks import assert_same, snapshot


@dataclass
class Critical:
    layer: str
    sparsity: float


def perceptron():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def whole(model):
    return {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters() if p.dim() > 1}


def test_a_network_whose_counts_are_known():
    model = perceptron()
    masks = whole(model)
    masks["0.weight"][2:] = False  # two of four units read nothing
    masks["4.weight"][:, 0] = False  # one of five is not read
    before = snapshot(model)
    found = collapse(model, masks, example_inputs=torch.ones(2, 3))
    assert_same(before, snapshot(model))
    assert found.layers == (
        LayerCollapse("0.weight", 6, 12, 6, 0, 2, 3, 4),
        LayerCollapse("2.weight", 20, 20, 8, 2, 1, 4, 5),
        LayerCollapse("4.weight", 8, 10, 8, 1, 0, 5, 2),
    )
    assert found.sparsity == 8 / 42
    assert found.effective_sparsity == 20 / 42
    assert found.compression == 42 / 34
    assert found.warnings == ("35.3 % of the kept weights are on no path from input to output. Prune in more rounds.",)
    assert str(found).splitlines() == [
        "density 0.809524, sparsity 0.190476, compression 1.235x: 34 of 42 weights in 3 layers",
        "effective: density 0.52381, sparsity 0.47619, compression 1.909x; 35.3 % of the kept weights are on no path",
        "layer     kept  of  density  effective  dead inputs  dead outputs",
        "0.weight     6  12      0.5          6       0 of 3        2 of 4",
        "2.weight    20  20        1          8       2 of 4        1 of 5",
        "4.weight     8  10      0.8          8       1 of 5        0 of 2",
        f"warning: {found.warnings[0]}",
    ]
    with pytest.raises(FrozenInstanceError):
        found.sparsity = 0.0


def test_an_emptied_layer_is_told():
    model = perceptron()
    masks = whole(model)
    masks["2.weight"].fill_(False)
    found = collapse(model, masks, example_inputs=torch.ones(2, 3))
    assert found.effective_sparsity == 1.0
    assert found.warnings[0] == (
        "the output does not depend on the input: 2.weight kept nothing. Ask for less, or prune in more rounds."
    )
    assert "compression infinite" in str(found)


def test_layers_that_do_not_meet_are_told():
    model = perceptron()
    masks = whole(model)
    masks["0.weight"][1:] = False
    masks["2.weight"][:, 0] = False
    found = collapse(model, masks, example_inputs=torch.ones(2, 3))
    assert found.effective_sparsity == 1.0
    assert found.warnings[0].startswith(
        "the output does not depend on the input: the kept weights of its layers do not"
    )


def test_an_empty_branch_is_run_around():
    model = fp.models.resnet([(4, 1)], num_classes=2)
    masks = whole(model)
    masks["stages.0.0.conv1.weight"].fill_(False)
    found = collapse(model, masks, example_inputs=torch.ones(1, 3, 4, 4))
    assert found.warnings[0] == ("stages.0.0.conv1.weight kept nothing. Ask for less, or select with scope='local'.")
    assert found.warnings[1] == ("no kept weight of stages.0.0.conv2.weight is on a path; the network runs around it.")


def test_a_last_weight_and_a_thin_layer_are_told():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 2))
    masks = whole(model)
    masks["0.weight"].fill_(False)
    masks["0.weight"][3, 4] = True
    found = collapse(model, masks, example_inputs=torch.ones(1, 20))
    thin, last, idle = found.warnings
    assert thin.startswith("fewer than 0.924 % of the weights are on a path in 0.weight (1 of 600).")
    assert last == "the last weight is all that is kept of 0.weight; the next cut may empty it."
    assert idle.startswith("95.1 % of the kept weights are on no path")


def test_the_largest_safe_sparsity_is_told_and_warned_of():
    model = perceptron()
    masks = whole(model)
    masks["2.weight"][:, 0] = False
    found = collapse(model, masks, example_inputs=torch.ones(1, 3), critical=Critical("2.weight", 0.5))
    assert "largest safe sparsity for this model and measure: 0.5 (2.weight dies first)" in str(found)
    assert not any("largest safe" in said for said in found.warnings)
    found = collapse(model, masks, example_inputs=torch.ones(1, 3), critical=Critical("2.weight", 0.1))
    assert found.warnings[-1] == (
        "sparsity 0.119048 is above 0.1, the largest safe one for this model and measure (2.weight dies first). "
        "Ask for less, or prune in more rounds."
    )


def test_conservation_is_told():
    model = perceptron()
    contributions = {"0.weight": torch.ones(4, 3), "2.weight": torch.full((4, 3), 2.0), "4.weight": torch.ones(4, 3)}
    found = collapse(model, whole(model), example_inputs=None, contributions=contributions)
    assert found.conservation == {"0.weight": 0.0, "2.weight": 0.5, "4.weight": 0.0}
    assert "conservation: 2.weight carries 0.5 of the flow less than the others: paths go around it" in str(found)
    assert found.effective_sparsity is None
    assert "effective" not in str(found)


@pytest.mark.parametrize(
    ("module", "inputs", "cut", "expected"),
    [
        (nn.Conv2d(4, 6, 1, groups=2), torch.ones(1, 4, 2, 2), slice(3), (2, 3, 4, 6)),
        (nn.ConvTranspose2d(4, 6, 1, groups=2), torch.ones(1, 4, 2, 2), slice(2), (2, 3, 4, 6)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), torch.ones(1, 4, 3, 3), slice(1), (1, 1, 4, 4)),
        (nn.Embedding(5, 3), torch.zeros(1, 2, dtype=torch.long), slice(1), (1, 0, 5, 3)),
    ],
)
def test_dead_inputs_and_outputs_follow_the_layer(module, inputs, cut, expected):
    mask = torch.ones_like(module.weight, dtype=torch.bool)
    mask[cut] = False
    found = collapse(nn.Sequential(module), {"0.weight": mask}, example_inputs=inputs).layers[0]
    assert (found.dead_inputs, found.dead_outputs, found.inputs, found.outputs) == expected


def test_channels_are_expanded_and_of_a_smaller_model_only_counted():
    model, x = fp.models.resnet([(4, 1), (8, 1)], num_classes=2), torch.ones(2, 3, 8, 8)
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(example_inputs=x))
    masks = fp.select(scores, sparsity=0.5)
    found = collapse(model, masks, example_inputs=x, critical=Critical("a", 0.6))
    small = fp.remove(model, masks, example_inputs=x)
    left = sum(p.numel() for n, p in small.named_parameters() if p.dim() > 1 and n in {y.name for y in found.layers})
    trunk = [layer.effective for layer in found.layers]
    assert sum(trunk) <= left
    assert found.warnings == ()  # what reads a cut channel goes with it
    counted = collapse(small, masks, example_inputs=x)
    assert counted.unit == "units"
    assert [(layer.kept, layer.total, layer.effective) for layer in counted.layers] == [
        (count.kept, count.total, None) for count in masks.per_layer().values()
    ]
    assert counted.sparsity == masks.sparsity
    assert "units in" in str(counted)


def test_masks_of_weights_by_a_measure_and_applied_to_the_model():
    torch.manual_seed(0)
    model = fp.models.vgg13(width=1 / 16)
    signals = fp.gather(model, fp.objectives.synaptic_flow(), [(torch.ones(1, 3, 32, 32), None)])
    masks = fp.select(fp.score("synflow", signals, fp.Weights()), sparsity=0.9, min_keep=1)
    found = collapse(model, masks, example_inputs=torch.ones(1, 3, 32, 32))
    fp.apply(model, masks)
    assert collapse(model, masks, example_inputs=torch.ones(1, 3, 32, 32)) == found
    assert found.sparsity == masks.sparsity
    assert found.effective_sparsity >= found.sparsity
    assert [layer.name for layer in found.layers] == list(masks)


def test_a_long_table_shows_the_thinnest_layers():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(15)))
    masks = whole(model)
    masks["14.weight"][0, 0] = False
    lines = str(collapse(model, masks, example_inputs=torch.ones(1, 4))).splitlines()
    assert lines[-1] == "and 3 denser layers"
    assert any(line.startswith("14.weight") for line in lines)
    assert len({len(line) for line in lines[2:-1]}) == 1


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({}, r"collapse\(masks=\) must be of one weight or more; got \[\]"),
        ({"0.bias": torch.ones(4, dtype=torch.bool)}, r"collapse\(masks=\) must be of one weight or more"),
        ([], r"collapse\(masks=\) must be a mapping"),
        ({"no.weight": torch.ones(4, dtype=torch.bool)}, "has no 'no.weight'"),
    ],
)
def test_bad_masks_are_refused(masks, said):
    with pytest.raises(ValueError, match=said):
        collapse(perceptron(), masks, example_inputs=torch.ones(1, 3))


def test_bad_inputs_are_refused():
    with pytest.raises(ValueError, match=r"collapse\(example_inputs=\) must be a tensor"):
        collapse(perceptron(), whole(perceptron()), example_inputs=3)
    with pytest.raises(ValueError, match=r"collapse\(model=\) must be an nn\.Module"):
        collapse(None, {}, example_inputs=None)
