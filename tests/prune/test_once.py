"""fp.prune: one call, a pruned copy, the original untouched."""

import copy

import pytest
import torch
from torch import nn

import flowprune as fp
from tests.prune.networks import batches, convnet, residual


@pytest.mark.parametrize("name", ["magnitude", "loss_preservation", "fisher", "norm_acceleration", "random"])
@pytest.mark.parametrize("granularity", [fp.Weights(), fp.Channels(example_inputs=batches(1)[0][0])], ids=["w", "c"])
def test_a_pruned_copy_and_the_original_as_it_was(name: str, granularity) -> None:
    model = residual()
    state = copy.deepcopy(model.state_dict())
    result = fp.prune(
        model,
        measure=name,
        sparsity=0.5,
        granularity=granularity,
        objective=fp.objectives.cross_entropy(),
        batches=batches(),
        schedule=fp.schedules.exponential(rounds=3),
    )
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in state.items())
    n = result.masks.total
    assert n - result.masks.kept == round(0.5 * n)
    assert "exact sparsity" in result.checks
    assert result.cost.after.nonzeros < result.cost.before.nonzeros
    x = batches(1)[0][0]
    masked = fp.apply(copy.deepcopy(model), result.masks)
    torch.testing.assert_close(result.model.eval()(x), masked.eval()(x), rtol=1e-4, atol=1e-5)


def test_magnitude_needs_no_data() -> None:
    result = fp.prune(convnet(), measure="magnitude", sparsity=0.9)
    assert result.masks.total - result.masks.kept == round(0.9 * result.masks.total)


def test_scores_are_of_the_very_weights_that_are_pruned() -> None:
    """RT-9: no second draw of the weights between scoring and pruning."""
    model = convnet()
    result = fp.prune(model, measure="magnitude", sparsity=0.5)
    weights = {n: p.detach().abs() for n, p in model.named_parameters() if p.dim() > 1}
    expected = fp.select(weights, 0.5)
    assert all(torch.equal(expected[n], result.masks[n]) for n in expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 1.0}, r"\[0, 1\)"),
        ({"measure": "loss_preservation"}, r"prune\(objective=\) must be given"),
        ({"schedule": fp.schedules.rounds(2, sparsity=0.3)}, "the schedule's own 0.3"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fp.prune(convnet(), **{"measure": "magnitude", "sparsity": 0.5, **change})


def test_an_emptied_layer_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[2].weight.mul_(1e-6)
    with pytest.raises(fp.PruningError, match=r"'2\.weight' would be emptied"):
        fp.prune(model, measure="magnitude", sparsity=0.5)
    kept = fp.prune(model, measure="magnitude", sparsity=0.5, floor=0.0)
    assert kept.masks.per_layer()["2.weight"].kept == 1


def test_a_model_that_is_masked_already_stays_masked() -> None:
    first = fp.prune(convnet(), measure="magnitude", sparsity=0.5)
    second = fp.prune(first.model, measure="random", sparsity=0.7)
    assert all(not (second.masks[n] & ~first.masks[n]).any() for n in first.masks)
    assert second.masks.total - second.masks.kept == round(0.7 * second.masks.total)


def test_rounds_keep_numbers_and_no_tensors() -> None:
    result = fp.prune(convnet(), measure="magnitude", sparsity=0.5, schedule=fp.schedules.linear(4))
    assert [cut.round for cut in result.cuts] == [1, 2, 3, 4]
    assert not hasattr(result.cuts[0], "masks")


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"given its own arguments \(scope, floor, protect.*min_keep"):
        fp.prune(convnet(), measure="magnitude", sparsity=0.5, min_keep=1)


def test_the_cost_is_measured_at_the_batch_sizes_asked_for() -> None:
    model, x = convnet(), batches(1)[0][0]
    units = fp.Channels(example_inputs=x)
    sizes = fp.prune(
        model, measure="magnitude", sparsity=0.5, granularity=units, batch_sizes=(1, 3), channels_last=True
    )
    assert [each.speed.batch for each in sizes.cost.measured] == [1, 3]
    assert sizes.cost.channels_last
    few = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=units).cost
    assert [each.speed.batch for each in few.measured] == [4]


def test_inputs_that_all_examples_share_stay_whole() -> None:
    """Positions have no axis of examples."""

    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.places = nn.Linear(6, 8), nn.Linear(8, 3), nn.Embedding(7, 6)

        def forward(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return self.down(torch.relu(self.up(x + self.places(places))))

    units = fp.Channels(example_inputs=(torch.randn(5, 7, 6), torch.arange(7)))
    result = fp.prune(Placed(), measure="magnitude", sparsity=0.5, granularity=units)
    assert result.model.up.out_features == 4
    assert result.cost.before.multiply_adds == 7 * (6 * 8 + 8 * 3)


def test_zeros_are_called_what_they_are() -> None:
    for granularity, said in ((fp.Weights(), "unstructured zeros"), (fp.NM(1, 2), "zeros of 1:2 weights")):
        sparsity = 0.5
        found = fp.prune(nn.Linear(8, 4), measure="magnitude", sparsity=sparsity, granularity=granularity)
        assert found.cost.verdict.startswith(said)
