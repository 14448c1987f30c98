"""The networks people prune: what is found, and that the smaller model computes what the masked one does."""

from __future__ import annotations

import copy

import pytest
import torch

import flowprune as fp
from flowprune.structure import trace
from tests.structure.comparing import drawn, zeroed
from tests.structure.networks import NETWORKS, GroupedQueries, VisionTransformer, example

every = pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)


def used(kind):
    """In single precision, with norms that have seen data."""
    torch.manual_seed(0)
    model = kind().train()
    with torch.no_grad():
        for param in model.parameters():
            if param.dim() == 1:
                param.copy_(1 + 0.3 * torch.randn_like(param))
        model(example(kind, 8))
    return model.eval()


@every
def test_every_group_is_found(kind):
    found = trace(used(kind), example(kind))
    told = {n: g.size if g.kind == "channels" else f"{g.size} {g.kind}" for n, g in found.groups.items()}
    assert told == NETWORKS[kind][1]


@every
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_small_is_masked_and_trains(kind, scope, sparsity):
    model, x = used(kind), example(kind)
    signals = fp.gather(model, None, (), needs=())
    scores = fp.score("random", signals, fp.Channels(example_inputs=x), seed=1)
    if scope == "local":
        sizes = {name: score.numel() for name, score in scores.items()}
        masks = fp.select(scores, {name: min(round(sparsity * n), n - 1) / n for name, n in sizes.items()})
    else:
        masks = fp.select(scores, sparsity)
    small = fp.remove(model, masks, example_inputs=x)
    masked = copy.deepcopy(model)
    fp.apply(masked, masks)
    fresh = example(kind, 3)
    torch.testing.assert_close(small(fresh), masked(fresh), rtol=1e-5, atol=1e-5)
    small.train()(fresh).sum().backward()
    torch.optim.SGD(small.parameters(), lr=0.01, momentum=0.9).step()
    assert all(p.grad is None or p.grad.shape == p.shape for p in small.parameters())


@every
def test_what_is_left_is_found_again(kind):
    """Idempotence: the smaller model's units are those that were kept."""
    model, x = used(kind), example(kind)
    masks = drawn(trace(model, x).groups, 3, density=0.8)
    small = fp.remove(model, masks, example_inputs=x)
    left = {name: group.size for name, group in trace(small, x).groups.items()}
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    assert {name: left.get(name, 1) for name in kept} == kept  # one unit that is left of a group cannot be cut


@every
def test_a_permutation_of_channels_permutes_the_scores(kind):
    model, x = used(kind), example(kind)
    groups = trace(model, x).groups
    permuted = copy.deepcopy(model)
    tensors = {**dict(permuted.named_parameters()), **dict(permuted.named_buffers())}
    alike = {
        n: all(len(set(torch.bincount(m.units, minlength=g.size).tolist())) == 1 for m in g.members)
        for n, g in groups.items()
    }
    assert sum(alike.values()) >= 1
    orders = {n: torch.randperm(g.size) if alike[n] else torch.arange(g.size) for n, g in groups.items()}
    for name, group in ((name, group) for name, group in groups.items() if alike[name]):
        for member in (member for member in group.members if member.role != "size"):
            order = torch.argsort(member.units, stable=True)
            places = member.positions[order].view(group.size, -1)  # of each unit
            tensor = tensors[member.name].data
            moved = tensor.index_select(member.axis, places[orders[name]].flatten())
            tensor.index_copy_(member.axis, places.flatten(), moved)
    torch.testing.assert_close(permuted(x), model(x), rtol=1e-4, atol=1e-4)
    before, after = (
        fp.score("magnitude", fp.gather(m, None, (), needs=()), fp.Channels(example_inputs=x))
        for m in (model, permuted)
    )
    for name, score in before.items():
        torch.testing.assert_close(after[name], score[orders[name]])


def test_attributes_follow_the_heads():
    model, x = used(VisionTransformer), example(VisionTransformer)
    small = fp.remove(model, drawn(trace(model, x).groups, 1), example_inputs=x)
    kept = small.attention.out.in_features // 3
    assert (small.attention.num_heads, small.attention.head_dim, model.attention.num_heads) == (kept, 3, 4)
    model, x = used(GroupedQueries), example(GroupedQueries)
    masks = {"qkv.weight": torch.tensor([False, True])}
    layout = trace(model, x).groups
    small = fp.remove(model, fp.Masks(masks, layout={"qkv.weight": layout["qkv.weight"]}), example_inputs=x)
    assert (small.heads, small.shared, small.head, small.qkv.out_features) == (3, 1, 4, 20)


def test_a_mask_may_not_split_a_head():
    model, x = used(VisionTransformer), example(VisionTransformer)
    before = copy.deepcopy(model.state_dict())
    rows = torch.ones(36, dtype=torch.bool)
    rows[4] = False  # one channel of the queries of the second head
    with pytest.raises(fp.PruningError, match=r"heads of attention as a whole.*'attention.qkv.weight'.*heads \[1\]"):
        fp.remove(model, {"attention.qkv.weight": rows}, example_inputs=x)
    rows[[*range(3, 6), *range(15, 18), *range(27, 30)]] = False  # all of it
    small = fp.remove(model, {"attention.qkv.weight": rows}, example_inputs=x)
    assert small.attention.num_heads == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_zeroing_is_masking():
    """``fp.apply`` and zeros by hand mean the same units."""
    model, x = used(GroupedQueries), example(GroupedQueries)
    layout = trace(model, x).groups
    masks = drawn(layout, 2)
    masked = copy.deepcopy(model)
    fp.apply(masked, fp.Masks(dict(masks), layout=layout))
    torch.testing.assert_close(masked(x), zeroed(model, layout, masks)(x))
