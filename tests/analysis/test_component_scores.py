"""Scores of components: split by name, and selected and removed like those of a measure."""

import copy

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import COMPONENT_METRICS, ComponentImportance
from flowprune.analysis.components.assign import SHARED
from tests.analysis.components import LAPLACE, PARTS, autoencoder, reconstruction, tracked


def test_weight_scores_split_by_component_and_select_exactly() -> None:
    model = autoencoder()
    tracker = tracked(model)
    whole, parts = tracker.scores(reduce="sum_abs"), tracker.scores_by_component(fp.Weights(), reduce="sum_abs")
    assert list(parts) == ["encoder", "decoder"]
    assert [name for part in parts.values() for name in part] == list(whole)
    for name, score in whole.items():
        assert torch.equal(score, tracker.values()[name])
    masks = {n: m for c, s in (("encoder", 0.25), ("decoder", 0.6)) for n, m in fp.select(parts[c], s).items()}
    assert sum(int((~masks[n]).sum()) for n in parts["encoder"]) == round(0.25 * 45)
    assert sum(int((~masks[n]).sum()) for n in parts["decoder"]) == round(0.6 * 45)
    fp.apply(model, masks)


@pytest.mark.parametrize("reduce", ["sum", "l2"])
def test_channel_scores_are_reduced_as_asked_and_can_be_removed(reduce: str) -> None:
    model = autoencoder()
    tracker, x = tracked(model), reconstruction(1)[0][0]
    parts = tracker.scores_by_component(fp.Channels(example_inputs=x), reduce=reduce)
    assert {c: list(s) for c, s in parts.items()} == {
        "encoder": ["encoder.0.weight", "encoder.2.weight"],
        "decoder": ["decoder.0.weight"],
    }
    value = tracker.values()["decoder.0.weight"]
    expected = value.sum(1) if reduce == "sum" else value.square().sum(1).sqrt()
    torch.testing.assert_close(parts["decoder"]["decoder.0.weight"], expected)
    masks = fp.select(parts["encoder"], 0.5)
    small = fp.remove(model, masks, example_inputs=x)
    assert sum(m.out_features for m in (small.encoder[0], small.encoder[2])) == 4
    assert small.decoder[0].out_features == 5


class Stream(nn.Module):
    """A stem and a block that write to one stream, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        return self.head(torch.relu(h + self.block(torch.relu(h))))


def test_units_that_several_components_produce_are_told_apart() -> None:
    torch.manual_seed(0)
    model, x = Stream(), reconstruction(1)[0][0]
    channels = fp.Channels(example_inputs=x)
    apart = tracked(model, {"stem": "stem", "block": "block"}).scores_by_component(channels, reduce="sum")
    assert {name: list(part) for name, part in apart.items()} == {SHARED: ["stem.weight"]}
    together = tracked(model, {"trunk": ("stem", "block")}).scores_by_component(channels, reduce="sum")
    assert list(together) == ["trunk"]


@pytest.mark.parametrize("metric", COMPONENT_METRICS)
def test_scores_leave_the_model_and_the_tracker_alone_and_repeat(metric: str) -> None:
    model, objective = autoencoder(), fp.objectives.mean_squared_error()
    tracker = ComponentImportance(model, components=PARTS, metric=metric, **LAPLACE[metric])
    tracker.update_from(fp.gather(model, objective, reconstruction(), (COMPONENT_METRICS[metric].reads,)))
    tracker.record()
    state, numbers = copy.deepcopy(model.state_dict()), tracker.numbers()
    first, second = (tracker.scores(reduce="sum") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all((score >= 0).all() for score in first.values())
    assert tracker.numbers() == numbers
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert all(param.grad is None for param in model.parameters())
