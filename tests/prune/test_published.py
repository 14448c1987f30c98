"""What the founding paper's code cuts, beside what is right: the quirks Q2, Q3, Q5 and Q6 of docs/deviations.md."""

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.units import UnitGroup, rows
from flowprune.masks import Scores
from flowprune.prune import Pruner
from flowprune.prune.ledger import Ledger
from flowprune.prune.published import lowest_as_published
from tests.prune.networks import batches, convnet, residual, train

OBJECTIVE = fp.objectives.cross_entropy()


def pruner_of(model, x, *, compat, measure="magnitude", rounds=1, sparsity=0.5, form="coupled", **rule):
    return Pruner(
        model,
        None,
        measure=measure,
        granularity=fp.Channels(example_inputs=x, residual=form),
        objective=OBJECTIVE,
        schedule=fp.schedules.rounds(rounds, sparsity=sparsity),
        reference_compat=compat,
        **rule,
    )


@pytest.mark.parametrize(
    ("asked", "reached"),
    [(60, (60, 62, 68)), (75, (75, 77, 82)), (50, (50, 51, 59)), (90, (91, 91, 98)), (25, (25, 27, 33))],
)
def test_q2_truncated_rounds_overshoot_and_exact_rounds_do_not(asked, reached):
    for n, percent in zip((1, 5, 25), reached, strict=True):
        truncated, exact = (
            fp.schedules.rounds_truncated(n, sparsity=asked / 100),
            fp.schedules.rounds(n, sparsity=asked / 100),
        )
        assert truncated.targets()[-1] == percent / 100
        assert exact.targets()[-1] == asked / 100


def test_q2_a_truncation_to_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one percent"):
        fp.schedules.rounds_truncated(25, sparsity=0.95)


def filters_by_norm(model):
    """Filter i of every layer gets the norm of its index, so the last ones are the best."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                flat = module.weight.flatten(1)
                flat.mul_((torch.arange(len(flat), 0, -1) / flat.norm(dim=1)).unsqueeze(1))
    return model


def test_q3_the_floor_keeps_the_best_channels_and_the_published_one_the_last():
    x = batches(1)[0][0]
    kept = {}
    for compat in (False, True):
        model = filters_by_norm(convnet())  # the first filter is the best, the last the worst
        with torch.no_grad():
            model[0].weight.mul_(1e-3)  # the first layer is cut down to its floor
        pruner = pruner_of(model, x, compat=compat, sparsity=0.5)
        pruner.step(batches())
        kept[compat] = pruner.masks["0.weight"].nonzero().flatten().tolist()
    assert kept == {False: [0], True: [7]}


class Filtered(nn.Module):
    """A pointwise layer whose channels a depthwise layer filters, beside a plain one."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(1, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.depthwise, self.norm1 = nn.Conv2d(10, 10, 3, padding=1, groups=10, bias=False), nn.BatchNorm2d(10)
        self.pointwise, self.norm2 = nn.Conv2d(10, 20, 1, bias=False), nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        x = torch.relu(self.norm1(self.depthwise(torch.relu(self.norm0(self.stem(x))))))
        return self.head(torch.relu(self.norm2(self.pointwise(x))).mean((2, 3)))


def test_q5_a_depthwise_channel_counts_once_and_in_the_published_count_twice():
    """40 published entries: 10 stem channels twice, 20 others once. Half of them: 20 entries, or 15 of 30 units."""
    x = batches(1)[0][0]
    counts = {}
    for compat in (False, True):
        torch.manual_seed(0)
        model = Filtered()
        with torch.no_grad():
            model.stem.weight.mul_(1e-3)  # all stem channels rank lowest
        pruner = pruner_of(model, x, compat=compat, sparsity=0.5)
        cut = pruner.step(batches())
        counts[compat] = (cut.units_total, cut.units_before - cut.units_after)
        assert int(pruner.masks["stem.weight"].sum()) == 1  # the floor's
    assert counts[False] == (30, 15)
    assert counts[True] == (30, 9 + 2)  # 9 stem channels are 18 of the 20 entries, so two others go


def test_q6_dead_filters_stay_dead_and_in_the_published_code_take_the_place_of_live_ones():
    """With signed scores the dead, at zero, rank above live filters of negative score."""
    scores = {"a.weight": torch.tensor([-1.0, -2.0, -3.0, 5.0])}
    stays = UnitGroup("a.weight", 4, rows("a.weight", 4).members, removable=False)
    ledger = Ledger.open(Scores(scores, layout={"a.weight": stays}))
    first = lowest_as_published(scores, ledger, 0.5, protected=())
    assert first["a.weight"].tolist() == [True, False, False, True]
    ledger = ledger.cut(first)
    again = {"a.weight": torch.tensor([-1.0, 0.3, 0.2, 5.0])}  # what the dead score is not looked at: it is zero
    second = lowest_as_published(again, ledger, 0.5, protected=())
    assert second["a.weight"].tolist() == [False, False, True, True]  # 2 came back to "life", 0 died for it


NEGATIVE = fp.Measure(
    "negative_norm",
    None,
    (),
    "sum",
    "-Σ θ²",
    lambda signals: {name: -value.square() for name, value in signals.params.items()},
    fp.Source("nobody", 2026, "every live filter has a negative score"),
)


def test_q6_in_a_network():
    """Over rounds of signed scores the published code revives filters, which never recover; ours never does."""
    data = batches()
    revived = {}
    for compat in (False, True):
        model = residual()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        train(model, optimizer, data)
        pruner = Pruner(
            model,
            optimizer,
            measure=NEGATIVE,
            granularity=fp.Channels(example_inputs=data[0][0], residual="masked"),
            objective=OBJECTIVE,
            schedule=fp.schedules.rounds(4, sparsity=0.5),
            floor=0.0,
            reference_compat=compat,
        )
        dead, came_back = {}, {}
        while pruner.step(data) is not None:
            now = {name: ~pruner.masks[name] for name in ("stem.0.weight", "conv2.weight")}
            for name, gone in now.items():
                back = dead.get(name, torch.zeros(8, dtype=torch.bool)) & ~gone
                came_back[name] = came_back.get(name, torch.zeros(8, dtype=torch.bool)) | back
            dead = now
            train(model, optimizer, data)
        revived[compat] = sum(int(back.sum()) for back in came_back.values())
        for name, back in came_back.items():  # counted as kept, and dead all the same: only the shift moves
            assert int(model.get_parameter(name)[back & ~dead[name]].count_nonzero()) == 0
    assert revived[False] == 0
    assert revived[True] > 0


def test_published_choices_are_of_channels():
    with pytest.raises(ValueError, match="reference_compat"):
        Pruner(
            convnet(),
            None,
            measure="magnitude",
            granularity=fp.Weights(),
            objective=OBJECTIVE,
            schedule=fp.schedules.rounds(1, sparsity=0.5),
            reference_compat=True,
        )


def test_the_published_choice_of_a_plain_network_without_floor_hits_is_the_exact_one():
    """Where no quirk bites, both cut the same: scores of the last channels are the best."""
    x = batches(1)[0][0]
    masks = {}
    for compat in (False, True):
        model = convnet()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    flat = module.weight.flatten(1)
                    flat.mul_((torch.arange(1.0, len(flat) + 1) / len(flat) / flat.norm(dim=1)).unsqueeze(1))
        pruner = pruner_of(model, x, compat=compat, sparsity=0.5)
        pruner.step(batches())
        masks[compat] = pruner.masks
    assert all(torch.equal(masks[True][name], masks[False][name]) for name in masks[True])
