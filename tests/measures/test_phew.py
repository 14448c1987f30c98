"""PHEW: the first weights that walks visit, nested, exact in number, all of them on paths."""

from __future__ import annotations

import copy
import functools
from math import ceil

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.masks import Scores
from flowprune.measures.phew import PHEW, first_visits
from flowprune.signals import Signals
from flowprune.structure.paths import path_graph, visit
from flowprune.structure.paths import walks as walks_file
from tests.structure.networks import DenseNet, Inception

IMAGES = torch.zeros(2, 3, 32, 32)
MODELS = {
    "mlp": lambda: fp.models.build("mlp", in_features=20, widths=(30, 30), num_classes=5),
    "vgg13": lambda: fp.models.build("vgg13", order="conv_bn_relu", width=0.125),
    "resnet20": lambda: fp.models.build("resnet20", width=0.5),
    "mobilenet_v1": lambda: fp.models.build("mobilenet_v1", width=0.125),
    "densenet": DenseNet,
    "inception": Inception,
}


@functools.cache
def case_of(name: str) -> tuple[nn.Module, Signals]:
    torch.manual_seed(0)
    model = MODELS[name]()
    signals = fp.gather(model, None, (), needs=())
    x = torch.zeros(2, 20) if name == "mlp" else IMAGES
    fields = {field: getattr(signals, field) for field in Signals.__dataclass_fields__}
    return model, Signals(**(fields | {"example_inputs": x}))


def kept(signals: Signals, density: float, **options) -> fp.masks.Masks:
    found = first_visits(signals, density=density, **options)
    total = sum(value.numel() for value in found.values())
    return fp.select(Scores(found, reached=found.reached), 1 - ceil(density * total) / total)


def dead(model: nn.Module, masks, inputs: torch.Tensor) -> int:
    """Kept weights through which nothing flows from ones at the inputs to the sum of the outputs.

    Weights are 1 where kept, images are rings: a map is the same everywhere, so nothing is lost at its borders.
    """
    twin = copy.deepcopy(model).double().eval()
    for module in twin.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "circular"
    weights = dict(twin.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].copy_(mask)
        for module in twin.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
    twin(torch.ones_like(inputs, dtype=torch.float64)).sum().backward()
    return sum(int((mask & ~(weights[name].grad > 0)).sum()) for name, mask in masks.items())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("density", [0.05, 0.15, 0.5])
def test_every_kept_weight_is_on_a_path(name, density):
    model, signals = case_of(name)
    masks = kept(signals, density)
    total = sum(mask.numel() for mask in masks.values())
    assert masks.kept == ceil(density * total)
    graph = path_graph(model, signals.example_inputs)
    found = visit(graph, signals.params, masks.kept, counted=frozenset(masks))
    layers = len(graph.layers)
    moments = torch.cat([found.first[n][mask] for n, mask in masks.items()])
    whole = int(moments.max()) // layers * layers  # the last walk is cut where the number is reached
    assert int((moments >= whole).sum()) <= layers
    assert dead(model, {n: mask & (found.first[n] < whole) for n, mask in masks.items()}, signals.example_inputs) == 0
    assert dead(model, masks, signals.example_inputs) <= int((moments >= whole).sum())


def test_the_check_of_paths_sees_a_dead_weight():
    model, signals = case_of("mlp")
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in signals.params.items() if p.dim() > 1}
    masks["layers.1.weight"][:, 3] = False
    assert dead(model, masks, signals.example_inputs) == 20  # what unit 3 reads


@pytest.mark.parametrize("name", ["mlp", "resnet20"])
def test_a_ladder_is_nested_whatever_was_asked_for(name):
    _, signals = case_of(name)
    scores = first_visits(signals, density=0.7)
    before = None
    for density in (0.01, 0.1, 0.3, 0.7):
        masks = kept(signals, density)
        assert all(torch.equal(mask, fp.select(scores, masks.sparsity)[n]) for n, mask in masks.items())
        assert before is None or not any(bool((old & ~masks[n]).any()) for n, old in before.items())
        before = masks


def test_scores_fall_with_the_first_visit_without_ties():
    _, signals = case_of("vgg13")
    found = first_visits(signals, density=0.3)
    values = torch.cat([found[n][found.reached[n]] for n in found])
    total = sum(value.numel() for value in found.values())
    assert len(values) == len(values.unique()) == ceil(0.3 * total)
    assert float(values.max()) == 1.0
    assert float(values.min()) == pytest.approx(1 / len(values))
    assert all(value.dtype == torch.float64 for value in found.values())
    assert all(not bool(found[n][~found.reached[n]].any()) for n in found)


def test_what_was_never_visited_cannot_be_kept():
    _, signals = case_of("mlp")
    found = first_visits(signals, density=0.2)
    scores = Scores(found, reached=found.reached)
    assert fp.select(scores, 0.8).density == pytest.approx(0.2, abs=1e-3)
    for options in ({"sparsity": 0.7}, {"sparsity": 0.8, "scope": "local"}):
        with pytest.raises(PruningError, match=r"must rank every unit that is kept; .* options={'density': 0.95}"):
            fp.select(scores, **options)


def test_it_depends_on_the_seed_alone():
    _, signals = case_of("mlp")
    state = torch.get_rng_state()
    first, again, other = (first_visits(signals, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)


def test_held_masks_are_honoured():
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    masks = fp.select(fp.score("random", fp.gather(model, None, (), needs=())), 0.5)
    fp.apply(model, masks)
    signals = fp.gather(model, fp.objectives.cross_entropy(), [(torch.randn(4, 20), torch.arange(4))])
    found = first_visits(signals, density=0.4)
    assert not any(bool((found.reached[n] & ~mask).any()) for n, mask in masks.items())
    with pytest.raises(PruningError, match=r"0\.6 is \d+ of \d+, and \d+ walks reached \d+\. .* prune more"):
        first_visits(signals, density=0.6, walks=100_000)


def test_layers_that_are_skipped_are_passed_and_not_counted():
    _, signals = case_of("resnet20")
    scores = fp.score(PHEW, signals, fp.Weights(skip=("classifier.*", "stem.*")), density=0.1)
    assert not {"stem.weight", "classifier.weight"} & scores.keys()
    total = sum(score.numel() for score in scores.values())
    assert sum(int((score > 0).sum()) for score in scores.values()) == ceil(0.1 * total)


def test_channels_add_up_the_visits_of_their_weights():
    _, signals = case_of("vgg13")
    single = first_visits(signals, density=0.4)
    scores = fp.score(PHEW, signals, fp.Channels(IMAGES), density=0.4)
    some = next(iter(scores))
    wanted = single[some].sum((1, 2, 3))
    assert scores[some].shape == wanted.shape
    assert float(torch.corrcoef(torch.stack([scores[some], wanted]))[0, 1]) > 0.5  # the classifier counts in one alone


def test_half_precision_and_frozen_weights_are_walked():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).bfloat16().requires_grad_(False)
    signals = fp.gather(model, None, (), needs=())
    scores = fp.score(PHEW, signals, example_inputs=torch.zeros(2, 4, dtype=torch.bfloat16))
    assert sum(int((score > 0).sum()) for score in scores.values()) == 18


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"density": 0}, r"score\('phew', density=\) must be in \(0, 1\]; got 0\. To prune a fraction s"),
        ({"density": 1.5}, r"got 1\.5"),
        ({"density": True}, r"got True"),
        ({"density": "half"}, r"got 'half'"),
        ({"seed": 0.5}, r"seed=\) must be a whole number"),
        ({"walks": 0}, r"walks=\) must be a whole number >= 1; got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        first_visits(case_of("mlp")[1], **options)


def test_signals_without_a_model_or_inputs_say_how_to_get_them():
    model, _ = case_of("mlp")
    with pytest.raises(ValueError, match=r"signals with a model.*Gather them from a model"):
        first_visits(Signals(params={"w": torch.ones(2, 2)}))
    with pytest.raises(ValueError, match=r"with example inputs.*Gather with a batch.*example_inputs=x"):
        first_visits(fp.gather(model, None, (), needs=()))
    with pytest.raises(ValueError, match="NaN or infinite"):
        first_visits(Signals(params={"w": torch.full((1, 1), torch.nan)}, model=model, example_inputs=IMAGES))


def test_weights_on_no_path_are_said_to_be_out_of_reach(monkeypatch):
    monkeypatch.setattr(walks_file, "FRUITLESS", 10_000)
    model, signals = case_of("mlp")
    params = dict(signals.params) | {"layers.1.weight": torch.zeros_like(signals.params["layers.1.weight"])}
    params["layers.1.weight"][0, 0] = 1.0
    masks = {"layers.1.weight": params["layers.1.weight"] > 0}
    reach = Signals(params=params, masks=masks, model=model, example_inputs=signals.example_inputs)
    params.pop("layers.1.bias")
    with pytest.raises(PruningError, match=r"1\d{3} of 1650, and \d+ walks reached 26\. The others lie on no path"):
        first_visits(reach, density=0.9)
