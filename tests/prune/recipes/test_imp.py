"""Lottery tickets: counts, nesting, rewinding to the bit, and zeros that stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.seeds import stream
from flowprune.models import mlp, reinitialize_
from flowprune.prune.recipes.imp import imp
from flowprune.prune.recipes.rewinding import redrawn

X = torch.randn(128, 8, generator=stream(0, "inputs"))
Y = (X[:, 0] * X[:, 1] > 0).long() + 2 * (X[:, 2] > 0).long()
OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01, weight_decay=1e-2),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=1e-1),
}


def network(seed=0):
    return mlp(8, (32, 16), 4, seed=seed)


def trained(model, name="sgd", steps=20):
    """The loss at the end; full batches, so that nothing is random."""
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X), Y)
        loss.backward()
        optimizer.step()
    return loss.item()


def weights(model):
    return {name: param.detach().clone() for name, param in model.named_parameters()}


def test_each_level_keeps_four_fifths_to_the_weight_and_is_nested():
    """RT-2, RT-15: of all weights with two axes, biases not counted."""
    tickets = imp(network(), trained, levels=6)
    total = 8 * 32 + 32 * 16 + 16 * 4
    assert [level.masks.kept for level in tickets.levels] == [round(0.8**k * total) for k in range(1, 7)]
    assert all(level.masks.total == total for level in tickets.levels)
    assert tickets.densities == pytest.approx([0.8**k for k in range(1, 7)], abs=1 / total)
    for before, after in zip(tickets.levels, tickets.levels[1:], strict=False):
        assert not any(bool((after.masks[name] & ~before.masks[name]).any()) for name in after.masks)
    assert tickets.masks is tickets.levels[-1].masks


def test_survivors_are_what_they_were_and_the_rest_is_zero():
    """RT-8: a field's library lost its rewinding for three years."""
    model = network()
    start = weights(model)
    tickets = imp(model, trained, levels=3)
    for name, param in tickets.model.named_parameters():
        keep = tickets.masks.get(name, torch.ones_like(param, dtype=torch.bool))
        assert torch.equal(param[keep], start[name][keep])
        assert not bool(param[~keep].any())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_outlive_every_optimizer(name):
    """RT-8: at every step of every level, and of the training after it."""
    seen = []

    def train(model):
        loss = trained(model, name)
        fp.check_zeros(model)
        seen.append({n: int((p == 0).sum()) for n, p in model.named_parameters() if p.dim() > 1})
        return loss

    tickets = imp(network(), train, levels=3)
    train(tickets.model)
    cut = [
        dict.fromkeys(seen[0], 0),
        *({n: c.total - c.kept for n, c in m.per_layer().items()} for m in masks_of(tickets)),
    ]
    assert seen == cut


def masks_of(tickets):
    return [level.masks for level in tickets.levels]


def literal(model, levels, steps=20):
    """The paper's loop with a mask that is multiplied in by hand, and one sort of what remains."""
    start = weights(model)
    masks = {name: torch.ones_like(p) for name, p in start.items() if p.dim() > 1}
    total = sum(mask.numel() for mask in masks.values())
    for level in range(1, levels + 1):
        model.load_state_dict(start)
        params = dict(model.named_parameters())
        velocity = {name: torch.zeros_like(p) for name, p in params.items()}
        for name, mask in masks.items():
            params[name].data.mul_(mask)
        for _ in range(steps):
            grads = torch.autograd.grad(nn.functional.cross_entropy(model(X), Y), list(params.values()))
            for (name, param), grad in zip(params.items(), grads, strict=True):
                mask = masks.get(name, torch.ones_like(param))
                step = (grad + 1e-2 * param.data) * mask
                velocity[name] = 0.9 * velocity[name] + step
                param.data.sub_(0.1 * (step + 0.9 * velocity[name])).mul_(mask)
        alive = torch.cat([params[n].detach().abs()[mask == 1] for n, mask in masks.items()])
        threshold = alive.sort(descending=True).values[round(0.8**level * total) - 1]
        masks = {n: mask * (params[n].detach().abs() >= threshold) for n, mask in masks.items()}
    return masks


def test_it_is_the_papers_loop():
    expected = literal(network(), 4)
    found = imp(network(), trained, levels=4).masks
    assert sum(int(mask.sum()) for mask in expected.values()) == found.kept
    assert all(torch.equal(mask.bool(), found[name]) for name, mask in expected.items())


def test_to_a_later_state():
    """arXiv 1903.01611: survivors are those of step k, from a state dict or from a model that was trained for k."""
    model = network()
    trained(model, steps=3)
    late = imp(model, trained, levels=2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    other = imp(model, trained, levels=2, rewind=state)
    for name, param in late.model.named_parameters():
        keep = late.masks.get(name, torch.ones_like(param, dtype=torch.bool))
        assert torch.equal(param[keep], state[name][keep])
        assert torch.equal(param, other.model.get_parameter(name))
    elsewhere = imp(network(), trained, levels=1, rewind=state)
    assert torch.equal(elsewhere.model.get_parameter("layers.0.bias"), state["layers.0.bias"])


def test_a_state_is_kept_as_it_is_at_the_call():
    model, handed = network(), network().state_dict()
    start = handed["layers.0.bias"].clone()

    def train(ticket):
        trained(ticket)
        for value in handed.values():
            value.fill_(7.0)

    found = imp(model, train, levels=1, rewind=handed).model
    assert torch.equal(found.get_parameter("layers.0.bias"), start)


def test_norm_statistics_go_back_as_well():
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    found = imp(model, trained, levels=1).model
    assert all(torch.equal(value, buffers[name]) for name, value in found.named_buffers())


def test_in_one_shot_after_training():
    """levels=1 with rewind="none" is magnitude pruning of the trained model, whose weights stay."""
    dense = network()
    trained(dense)
    expected = fp.prune(dense, measure="magnitude", sparsity=0.7)
    found = imp(network(), trained, levels=1, fraction=0.7, rewind="none")
    assert all(torch.equal(mask, found.masks[name]) for name, mask in expected.masks.items())
    assert all(torch.equal(p, found.model.get_parameter(n)) for n, p in expected.model.named_parameters())


def test_reinitialised_in_place_of_rewound():
    model = network()
    start = weights(model)
    tickets = imp(model, trained, levels=2, rewind=redrawn(seed=3))
    again = imp(model, trained, levels=2, rewind=redrawn(seed=3))
    for name, param in tickets.model.named_parameters():
        assert torch.equal(param, again.model.get_parameter(name))
        if name in tickets.masks:
            keep = tickets.masks[name]
            assert not bool((param[keep] == start[name][keep]).any())
            assert not bool(param[~keep].any())
    first = imp(model, trained, levels=2)
    assert all(torch.equal(mask, tickets.levels[0].masks[name]) for name, mask in first.levels[0].masks.items())
    assert not all(torch.equal(mask, tickets.masks[name]) for name, mask in first.masks.items())


def test_a_function_of_the_model_and_the_level():
    seen = []

    def rewind(model, level):
        seen.append((level, int(model.layers[0].weight.count_nonzero())))
        reinitialize_(model, seed=level)

    tickets = imp(network(), trained, levels=2, rewind=rewind)
    assert seen == [(k.level, k.masks.per_layer()["layers.0.weight"].kept) for k in tickets.levels]


def test_the_model_stays_and_what_train_returns_is_kept():
    model = network()
    before, state = weights(model), torch.get_rng_state()
    losses = iter((0.3, 0.2, 0.1))
    tickets = imp(model, lambda ticket: (trained(ticket), next(losses)), levels=3)
    assert all(torch.equal(param, before[name]) for name, param in model.named_parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert [level.trained[1] for level in tickets.levels] == [0.3, 0.2, 0.1]
    assert [level.level for level in tickets.levels] == [1, 2, 3]
    assert tickets.model is not model
    assert all(param.requires_grad for param in tickets.model.parameters())


def test_blocks_and_other_measures():
    tickets = imp(network(), trained, levels=2, granularity=fp.Blocks(4, 1))
    assert tickets.masks.kept == round(0.64 * 208)
    objective = fp.objectives.cross_entropy()
    found = imp(
        network(),
        trained,
        levels=2,
        measure="loss_preservation",
        objective=objective,
        batches=iter([(X, Y)]),
        granularity=fp.Weights(skip=("layers.2.*",)),
        scope="local",
    )
    assert {name: count.kept for name, count in found.masks.per_layer().items()} == {
        "layers.0.weight": round(0.64 * 256),
        "layers.1.weight": round(0.64 * 512),
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"levels": 0}, r"imp\(levels=\) must be a whole number >= 1; got 0"),
        ({"fraction": 1.0}, r"imp\(fraction=\) must be in \(0, 1\).*; got 1.0"),
        ({"fraction": True}, r"imp\(fraction=\)"),
        ({"train": 3}, r"imp\(train=\) must be a function"),
        ({"rewind": None}, r"imp\(rewind=\) must be 'start' or 'none', a state dict or a function; got None"),
        ({"rewind": "strat"}, "Did you mean 'start'"),
        ({"rewind": {}}, r"imp\(rewind=\) must be a state dict of the same names; got \"another 'layers.0.bias'\""),
        ({"rewind": mlp(8, (32, 8), 4).state_dict()}, r"imp\(rewind=\): 'layers.1.weight' must be of shape \(16, 32\)"),
        ({"measure": "fisher"}, r"imp\(objective=\) must be given, because 'fisher' needs signals"),
        ({"measure": "magnitud"}, "Did you mean 'magnitude'"),
        ({"granularity": fp.Channels(example_inputs=X)}, r"imp\(granularity=\) must be one whose units stay in place"),
        ({"granularity": fp.NM(2, 4)}, r"imp\(levels=, fraction=\) must be of the sparsity 0.5 that"),
        ({"levels": 400}, r"imp\(levels=, fraction=\) must be a number in \[0, 1\); got 1.0"),
        ({"levels": 9, "fraction": 0.001}, r"imp\(levels=, fraction=\) must be one of at most 7 rounds"),
        ({"scope": {"layers.*": 0.5}}, r"imp\(scope=\) must be a word, or lists"),
        ({"batches": 3}, r"imp\(batches=\)"),
        ({"floors": 0.1}, "floors"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(given, said):
    def train(model):
        raise AssertionError("trained")

    arguments = {"train": train, "levels": 2, **given}
    with pytest.raises(ValueError, match=said):
        imp(network(), **arguments)


def test_a_masked_model_is_refused():
    with pytest.raises(fp.PruningError, match=r"imp\(model=\) must begin without masks.*'layers.0.weight'"):
        imp(fp.prune(network(), measure="magnitude", sparsity=0.5).model, trained, levels=1)


def test_what_cannot_be_cut_is_refused_before_anything_is_trained():
    def train(model):
        raise AssertionError("trained")

    with pytest.raises(fp.PruningError, match=r"imp\(levels=, fraction=\) must leave what .* at most 829 can be"):
        imp(network(), train, levels=4, fraction=0.9)


def test_training_that_brings_weights_back_is_seen():
    """A course's tickets had 98 % of their weights back: nothing held the masks."""

    def train(model):
        for param in model.parameters():
            param.data.add_(0.1)

    with pytest.raises(fp.PruningError, match="Masked weights must be zero"):
        imp(network(), train, levels=2)
