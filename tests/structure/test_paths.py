"""Walks from inputs to outputs: how a model is read, where steps lead, and what walks visit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune import models
from flowprune.core.errors import PruningError
from flowprune.structure.paths import PathGraph, WeightLayer, Wire, path_graph, visit
from flowprune.structure.paths import walks as walks_file
from flowprune.structure.paths.steps import Layer, Table
from tests.reference.walks import literal_order, literal_walks
from tests.structure.networks import DenseNet, VisionTransformer, example

IMAGES = torch.zeros(2, 3, 16, 16)


def parameters(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: param.detach() for name, param in model.named_parameters()}


def chain(*widths: int, seed: int = 0) -> tuple[PathGraph, dict[str, torch.Tensor]]:
    """A perceptron, by hand."""
    g = torch.Generator().manual_seed(seed)
    layers = range(len(widths) - 1)
    weights = {f"{i}": torch.randn(widths[i + 1], widths[i], generator=g, dtype=torch.float64) for i in layers}
    edges = tuple(WeightLayer(i, i + 1, f"{i}") for i in layers)
    return PathGraph(tuple(widths), edges, (0,), (len(widths) - 1,)), weights


def order_of(visits, names) -> list[tuple[str, int]]:
    """The weights by the moment of their first visit."""
    found = [
        (int(visits.first[n].flatten()[i]), n, int(i))
        for n in names
        for i in visits.visited[n].flatten().nonzero()[:, 0]
    ]
    return [(name, i) for _, name, i in sorted(found)]


# --- reading


def test_a_perceptron_is_read_with_its_pixels():
    graph = path_graph(models.build("mlp", in_features=12, widths=(5,), num_classes=2), torch.zeros(2, 3, 2, 2))
    assert graph.sizes == (3, 12, 5, 2)
    assert graph.edges[0] == Wire(0, 1, 3, spread=4)
    assert [type(edge) for edge in graph.edges[1:]] == [WeightLayer] * 2


@pytest.mark.parametrize("name", ["vgg13", "resnet20", "preact_resnet18", "mobilenet_v1"])
def test_every_weight_of_the_models_is_on_the_graph(name):
    model = models.build(name, width=0.125)
    graph = path_graph(model, torch.zeros(2, 3, 32, 32))
    assert set(graph.weights) == {n for n, p in model.named_parameters() if p.dim() > 1}
    assert all(edge.source < edge.target for edge in graph.edges)
    for layer in graph.layers:
        weight = model.get_parameter(layer.weight)
        assert graph.sizes[layer.source] == weight.shape[1] * layer.groups
        assert graph.sizes[layer.target] == weight.shape[0]


def test_a_sum_has_a_wire_for_each_summand_and_a_concatenation_has_offsets():
    resnet = path_graph(models.build("resnet20", width=0.25), IMAGES)
    wires = [edge for edge in resnet.edges if isinstance(edge, Wire)]
    assert len(wires) == 2 * 9
    assert all(wire.offset == 0 and wire.spread == 1 for wire in wires)
    dense = path_graph(DenseNet(), example(DenseNet))
    last = [edge for edge in dense.edges if isinstance(edge, Wire)][-4:]
    assert [(wire.offset, wire.units) for wire in last] == [(0, 8), (8, 4), (12, 4), (16, 4)]


class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.a(x)
        return self.b(x.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2))


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.a(x)
        return self.b(functional.scaled_dot_product_attention(x, x, x))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x):
        return self.a(x) * self.b(x).sigmoid()


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (VisionTransformer(), example(VisionTransformer), r"what PHEW walks; got aten\.cat .*or joins constants"),
        (Attentive(), torch.zeros(2, 5, 4), r"got aten\.scaled_dot_product_attention .*something else with units"),
        (Shuffled(), IMAGES, r"what PHEW walks; got aten\.view .*takes units apart"),
        (Gated(), torch.zeros(2, 3), r"got aten\.mul .*multiplies or mixes two values"),
        (nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 2)), torch.zeros(2, 4, 3), r"got aten\.lstm.*something else"),
        (nn.ReLU(), torch.zeros(2, 3), "no layer of weights leads from an input to an output"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), torch.zeros(2, 3), "a weight that is computed"),
    ],
    ids=["tokens", "attention", "shuffle", "gate", "recurrent", "empty", "computed"],
)
def test_what_cannot_be_walked_is_named(model, inputs, said):
    with pytest.raises(PruningError, match=said):
        path_graph(model, inputs)


def test_reading_changes_nothing():
    model = models.build("resnet20", width=0.25)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    state, mode = torch.get_rng_state(), model.training
    path_graph(model, IMAGES)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training == mode
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


# --- steps


def test_a_table_draws_in_proportion_and_uniformly_where_all_is_zero():
    sums = torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    table = Table.of(sums, torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    assert table.open.tolist() == [True, True, False]
    rows = torch.arange(2).repeat_interleave(40_000)
    drawn = table.draw(rows, torch.Generator().manual_seed(0))
    for row, wanted in ((0, [0.25, 0.0, 0.75]), (1, [0.5, 0.5, 0.0])):
        shares = torch.bincount(drawn[rows == row], minlength=3) / 40_000
        torch.testing.assert_close(shares, torch.tensor(wanted), atol=0.01, rtol=0)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("forward", [True, False])
def test_a_step_through_a_grouped_convolution_stays_in_its_group(groups, forward):
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(8, 4 // groups, 3, 2, generator=g)
    layer = Layer.of(weight, groups=groups)
    starts = torch.arange(4 if forward else 8).repeat(20_000)
    ends, entries = layer.step(starts, forward=forward, generator=g)
    inputs, outputs = (starts, ends) if forward else (ends, starts)
    assert torch.equal(inputs // (4 // groups), outputs // (8 // groups))
    kernel = outputs * (4 // groups) + inputs % (4 // groups)
    assert torch.equal(entries // 6, kernel)
    # frequency of each weight, given where one starts: |w| over the sum of |w| that one may choose from
    owner = torch.arange(8).view(8, 1, 1, 1) // (8 // groups)
    reach = weight.abs().double()
    if forward:
        sums = torch.zeros(groups, 4 // groups, dtype=torch.float64).index_add_(0, owner.flatten(), reach.sum((2, 3)))
        wanted = reach / sums[owner.flatten()][:, :, None, None]
    else:
        wanted = reach / reach.sum((1, 2, 3), keepdim=True)
    shares = torch.bincount(entries, minlength=weight.numel()).view(weight.shape).double() / 20_000
    torch.testing.assert_close(shares, wanted, atol=0.015, rtol=0)


def test_a_kernel_of_zeros_is_uniform_over_what_is_kept():
    mask = torch.tensor([[[True, False, True]]])
    layer = Layer.of(torch.zeros(1, 1, 3), mask)
    _, entries = layer.step(torch.zeros(10_000, dtype=torch.int64), forward=True, generator=torch.Generator())
    assert torch.bincount(entries, minlength=3)[1] == 0
    assert 4_700 < int((entries == 0).sum()) < 5_300


# --- walks


def test_walks_visit_as_one_walk_after_another_does(monkeypatch):
    """How often each weight has been visited by the time that 12 were, over 300 seeds, beside the literal version."""
    graph, weights = chain(3, 5, 4, 2)
    names, count = list(weights), 300
    monkeypatch.setattr(walks_file, "SMALLEST", 64)
    ours, theirs = torch.zeros(43), torch.zeros(43)
    starts = {"0": 0, "1": 15, "2": 35}
    for seed in range(count):
        for name, i in order_of(visit(graph, weights, 12, seed=seed), names)[:12]:
            ours[starts[name] + i] += 1
        for place, out, into in literal_order(literal_walks(list(weights.values()), 200, seed))[:12]:
            theirs[starts[f"{place}"] + out * weights[f"{place}"].shape[1] + into] += 1
    # two shares of 300 draws differ by a standard deviation of at most 0.041
    assert float((ours - theirs).abs().max()) / count < 4 * 0.041
    assert float((ours - theirs).square().mean().sqrt()) / count < 0.041


def test_an_order_is_one_of_whole_walks_from_alternating_ends():
    """Between cuts, weights come in threes: one of each layer, joined at their units."""
    graph, weights = chain(4, 50, 50, 3)
    order = order_of(visit(graph, weights, 500), weights)
    (a, i), (b, j), (c, k) = order[:3]
    assert (a, b, c) == ("0", "1", "2")
    assert i % 4 == 0  # the first walk starts at input 0
    assert j % 50 == i // 4
    assert k % 50 == j // 50
    assert order[5][0] == "2"
    assert order[5][1] // 50 == 0  # the second starts at output 0


def test_each_input_and_output_starts_as_many_walks_as_any_other(monkeypatch):
    seen = {}
    run = walks_file._Walk.run

    def counted(walk, numbers):
        run(walk, numbers)
        _, places, entries = walk.steps[0]
        unit = entries % 7 if walk.forward else entries // 6
        seen.setdefault(walk.forward, []).append(unit[places.argsort()])

    monkeypatch.setattr(walks_file._Walk, "run", counted)
    graph, weights = chain(7, 6, 5)
    visit(graph, weights, 60, walks=100_000)
    for forward, units in ((True, 7), (False, 5)):
        starts = torch.cat(seen[forward])
        for stop in (10, 333, len(starts)):
            hits = torch.bincount(starts[:stop], minlength=units)
            assert int(hits.max() - hits.min()) <= 1


@pytest.mark.parametrize("size", [2.0, 0.25])
def test_equal_sizes_give_the_uniform_walk(size):
    graph, weights = chain(4, 6, 6, 3)
    ones = {name: torch.ones_like(w) for name, w in weights.items()}
    signs = {name: size * torch.sign(w) for name, w in weights.items()}
    uniform = {name: torch.zeros_like(w) for name, w in weights.items()}  # the step among all that are kept
    orders = [order_of(visit(graph, each, 50), weights) for each in (ones, signs, uniform)]
    assert orders[0] == orders[1] == orders[2]


def test_walks_depend_on_the_seed_alone(monkeypatch):
    graph, weights = chain(4, 30, 30, 3)
    state = torch.get_rng_state()
    few, many = visit(graph, weights, 50, seed=3), visit(graph, weights, 900, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert many.walks > few.walks
    first, later = order_of(few, weights), order_of(many, weights)
    assert first == [weight for weight in later if many.first[weight[0]].flatten()[weight[1]] < few.walks * 3]
    assert order_of(visit(graph, weights, 50, seed=4), weights) != first


def test_a_walk_that_breaks_off_does_not_count():
    """Unit 1 of the middle reads both inputs and nothing reads it; unit 0 is on the only path."""
    graph, weights = chain(2, 2, 1)
    masks = {"1": torch.tensor([[True, False]])}
    found = visit(graph, weights, 3, masks=masks)
    assert found.visited["0"].tolist() == [[True, True], [False, False]]
    assert found.visited["1"].tolist() == [[True, False]]


def test_masked_weights_are_never_walked_and_zeros_only_where_all_are():
    graph, weights = chain(3, 8, 8, 3)
    g = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(w.shape, generator=g) < 0.5 for name, w in weights.items()}
    weights["1"][2] = 0.0  # all that unit 2 reads, so backwards it is a uniform step
    weights["1"][4, :4] = 0.0
    found = visit(graph, weights, 10_000, masks=masks, walks=20_000)
    for name, mask in masks.items():
        assert not bool((found.visited[name] & ~mask).any())
    assert bool(found.visited["1"][2].any())
    assert not bool(found.visited["1"][4, :4].any())
    literal = literal_walks(list(weights.values()), 20_000, 0, list(masks.values()))
    for place, name in enumerate(weights):
        seen = {(o, i) for walk in literal for p, o, i in walk if p == place}
        assert seen == {tuple(index.tolist()) for index in found.visited[name].nonzero()}


def test_walks_that_find_nothing_new_come_to_an_end(monkeypatch):
    monkeypatch.setattr(walks_file, "FRUITLESS", 5_000)
    graph, weights = chain(2, 2)
    found = visit(graph, weights, 5)
    assert found.count == 4
    assert 5_000 <= found.walks < 50_000
    assert visit(graph, weights, 5, walks=10).walks == 10


class Joined(nn.Module):
    """Two branches, of which the first reads more: summed, then beside the input, then a head."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(10, 2)

    def forward(self, x):
        return self.head(torch.cat([functional.relu(self.a(x) + self.b(x)), x], 1))


def test_summands_and_consumers_are_chosen_evenly():
    model = Joined()
    nn.init.constant_(model.a.weight, 100.0)
    graph = path_graph(model, torch.zeros(2, 4))
    layers = {(e.weight, e.groups): Layer.of(parameters(model)[e.weight], groups=e.groups) for e in graph.layers}
    shares = {}
    for forward in (True, False):
        walk = walks_file._Walk(graph, layers, forward, torch.Generator().manual_seed(0))
        walk.run(torch.arange(30_000))
        assert bool(walk.arrived.all())
        shares[forward] = {edge.weight: len(places) / 30_000 for edge, places, _ in walk.steps}
    for name in ("a.weight", "b.weight"):
        assert abs(shares[True][name] - 1 / 3) < 0.01  # the input has three consumers: a, b, and the head beside them
    share = parameters(model)["head.weight"].abs()
    through = float((share[:, :6].sum(1) / share.sum(1)).mean())
    assert abs(shares[False]["a.weight"] - through / 2) < 0.01
    assert abs(shares[False]["b.weight"] - through / 2) < 0.01
