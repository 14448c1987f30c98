"""Blocks and N:M patterns through fp.prune and fp.Pruner: masked, never removed, exact in every round."""

import copy
import warnings

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.core.granularities import units_in_words
from flowprune.masks import expand
from tests.prune.networks import batches, convnet, train

CROSS_ENTROPY = fp.objectives.cross_entropy()
FIT = ("3.weight", "8.weight", "10.weight")
UNITS = {"2:4": fp.NM(2, 4, skip=("0.weight",)), "4x1": fp.Blocks(4, 1), "3x5": fp.Blocks(3, 5)}
ENDS = {"2:4": 0.5, "4x1": 0.6, "3x5": 0.6}


def pruner_of(model, optimizer, units, *, rounds=3, **rule) -> fp.Pruner:
    return fp.Pruner(
        model,
        optimizer,
        measure=rule.pop("measure", "loss_preservation"),
        granularity=UNITS[units],
        objective=CROSS_ENTROPY,
        schedule=fp.schedules.linear(rounds, sparsity=ENDS[units]),
        **rule,
    )


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: param.detach() == 0 for name, param in model.named_parameters() if param.dim() > 1}


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("units", UNITS)
def test_rounds_in_a_loop_are_exact_nested_and_stay_zero(units: str, scope: str) -> None:
    model = convnet()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pruner = pruner_of(model, optimizer, units, scope=scope)
    before = zeros(model)
    for target in pruner.targets:
        train(model, optimizer, batches())
        cut = pruner.step(batches())
        pools = [cut.masks.total] if scope == "global" else [mask.numel() for mask in cut.masks.values()]
        assert cut.units_total - cut.units_after == sum(round(target * n) for n in pools)
        assert {"exact sparsity", "zeros"} <= set(cut.checks)
        train(model, optimizer, batches(seed=1))
        now = zeros(model)
        assert all(not bool((before[n] & ~now[n]).any()) for n in now)
        before = now
    assert {name: p.shape for name, p in model.named_parameters()} == shapes
    kept = expand(dict(model.named_parameters()), pruner.masks)
    assert all(torch.equal(~before[n], kept[n].expand(shapes[n])) for n in kept)
    if units == "2:4":
        assert all(fp.is_n_m(model.get_parameter(n) != 0, 2, 4) for n in FIT)


@pytest.mark.parametrize("units", UNITS)
def test_a_pruned_copy_says_that_it_is_masked(units: str) -> None:
    model = convnet()
    state = copy.deepcopy(model.state_dict())
    result = fp.prune(
        model,
        measure="gradient_norm_increase",
        sparsity=ENDS[units],
        granularity=UNITS[units],
        objective=CROSS_ENTROPY,
        batches=batches(),
        schedule=fp.schedules.exponential(2),
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert result.masks.total - result.masks.kept == round(ENDS[units] * result.masks.total)
    assert result.cost.verdict.startswith(f"zeros of {units_in_words(UNITS[units].name)}: ")
    assert result.cost.after.nonzeros < result.cost.before.nonzeros
    x = batches(1)[0][0]
    masked = fp.apply(copy.deepcopy(model), result.masks)
    assert torch.equal(result.model.eval()(x), masked.eval()(x))
    signals = fp.gather(model, CROSS_ENTROPY, batches())
    expected = -sum(
        float((signals.params[n] * signals.gradient[n])[~keep].double().sum())
        for n, keep in expand(signals.params, result.masks).items()
    )
    assert fp.predicted_change(signals, result.masks) == pytest.approx(expected)


def test_the_sparsity_of_a_pattern_is_left_out_or_its_own() -> None:
    model, units = convnet(), UNITS["2:4"]
    plain = fp.prune(model, measure="magnitude", granularity=units)
    again = fp.prune(model, measure="magnitude", granularity=units, sparsity=0.5, scope="local")
    assert all(torch.equal(plain.masks[n], again.masks[n]) for n in FIT)
    with pytest.raises(ValueError, match=r"prune\(sparsity=\) must be of the sparsity 0\.5 that nm:2:4 has; got 0\.75"):
        fp.prune(model, measure="magnitude", granularity=units, sparsity=0.75)
    with pytest.raises(ValueError, match=r"prune\(sparsity=\) must be given"):
        fp.prune(model, measure="magnitude", granularity=fp.Blocks(4, 1))
    short = {"measure": "magnitude", "objective": None}
    with pytest.raises(ValueError, match=r"Pruner\(schedule=\) must be of the sparsity 0\.5 that nm:2:4 has; got 0\.9"):
        fp.Pruner(model, granularity=units, schedule=fp.schedules.rounds(2, sparsity=0.9), **short)
    assert fp.Pruner(model, granularity=units, schedule=fp.schedules.linear(2), **short).targets == (0.25, 0.5)


@pytest.mark.parametrize("scope", ["isomorphic", [["3.*"], ["8.*", "10.*"]], {"3.*": 0.5}])
def test_pools_of_a_pattern_are_cut_apart_on_the_way_and_end_at_it(scope) -> None:
    model, units = convnet(), UNITS["2:4"]
    short = {"measure": "magnitude", "granularity": units, "objective": None, "scope": scope}
    pruner = fp.Pruner(model, schedule=fp.schedules.linear(3), **short)
    plain = fp.select(fp.score("magnitude", fp.gather(model, None, (), needs=()), units))
    for target in pruner.targets:
        masks = pruner.step().masks
        first = masks["3.weight"].numel()
        gone = first - int(masks["3.weight"].sum())
        assert gone == round(target * first)
        assert masks.total - masks.kept - gone == pytest.approx(target * (masks.total - first), abs=2)
    assert all(torch.equal(masks[n], plain[n]) for n in FIT)


def test_a_scope_that_names_another_sparsity_than_the_pattern_is_refused() -> None:
    model, units = convnet(), UNITS["2:4"]
    before = copy.deepcopy(model.state_dict())
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), units)
    with pytest.raises(ValueError, match=r"select\(scope=\) must be 0\.5, the sparsity of 2:4 weights; got 0\.25"):
        fp.select(scores, scope={"3.*": 0.25})
    every = {"3.*": 0.5, "8.*": 0.5, "10.*": 0.5}
    assert all(torch.equal(fp.select(scores, scope=every)[n], fp.select(scores)[n]) for n in FIT)
    with pytest.raises(ValueError, match=r"^prune\(scope=\) must be 0\.5, the sparsity of 2:4 weights; got 0\.25"):
        fp.prune(model, measure="magnitude", granularity=units, scope={"3.*": 0.25})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert fp.prune(model, measure="magnitude", granularity=units, scope=every).masks.sparsity == 0.5


def test_a_schedule_that_has_the_sparsity_is_enough_for_one_call() -> None:
    result = fp.prune(convnet(), measure="magnitude", schedule=fp.schedules.one_shot(0.5))
    assert result.masks.sparsity == 0.5


@pytest.mark.parametrize("units", UNITS)
def test_a_pruner_goes_on_where_another_stopped(units: str) -> None:
    model, other = convnet(), convnet()
    first, second = (pruner_of(each, None, units, measure="magnitude") for each in (model, other))
    first.step()
    second.resume(first.masks, rounds=1)
    fp.check_zeros(other)
    first.step()
    second.step()
    assert all(torch.equal(second.masks[n], mask) for n, mask in first.masks.items())
    assert all(torch.equal(other.get_parameter(n), p) for n, p in model.named_parameters())


def test_blocks_that_hold_weights_cut_before_do_not_free_them() -> None:
    """A model that is masked already stays so: a block that is kept keeps its zeros, an empty one counts as cut."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 4, bias=False)
    held = torch.ones(4, 4, dtype=torch.bool)
    held[0, 0] = held[2, 2] = False
    held[2:, :2] = False  # one whole block
    fp.apply(layer, {"weight": held})
    with torch.no_grad():
        layer.weight.copy_(torch.ones(4, 4) * held)
    result = fp.prune(layer, measure="magnitude", sparsity=0.5, granularity=fp.Blocks(2, 2))
    assert result.masks["weight"].int().tolist() == [[1, 1], [0, 0]]  # of two equal ones the first stays
    kept = expand({"weight": layer.weight}, result.masks)["weight"] & held
    assert torch.equal(result.model.weight != 0, kept)
    optimizer = torch.optim.SGD(result.model.parameters(), lr=0.1)
    result.model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(result.model.weight != 0, kept)


def test_a_layer_that_would_be_emptied_is_an_error_and_nothing_is_changed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.mul_(1e-6)
    before = copy.deepcopy(model.state_dict())
    rule = {"measure": "magnitude", "granularity": fp.Blocks(2, 2), "objective": None}
    pruner = fp.Pruner(model, schedule=fp.schedules.one_shot(0.5), **rule)
    with pytest.raises(PruningError, match=r"'0\.weight' would be emptied"):
        pruner.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert fp.Pruner(model, schedule=fp.schedules.one_shot(0.5), floor=0.0, **rule).step().floor_hits == ("0.weight",)


def test_the_published_ranking_is_of_channels() -> None:
    with pytest.raises(ValueError, match=r"reference_compat=\) must be False with a granularity of blocks:4x1"):
        pruner_of(convnet(), None, "4x1", reference_compat=True)


@pytest.mark.parametrize("event", [fp.schedules.early_bird(), fp.schedules.early_crop()], ids=["bird", "crop"])
@pytest.mark.parametrize("units", UNITS)
def test_an_event_waits_for_what_is_masked_as_for_weights(units: str, event) -> None:
    model = convnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    event = fp.schedules.at_latest(event, 3)
    pruner = pruner_of(model, optimizer, units, rounds=1, measure="magnitude", when=event)
    looks = 0
    while pruner.step(batches()) is None:
        train(model, optimizer, batches(1))
        looks += 1
        assert looks < 5
    assert pruner.masks.total - pruner.masks.kept == round(ENDS[units] * pruner.masks.total)


def warned(model, units):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            fp.prune(model, measure="magnitude", granularity=units)
        except fp.PruningError as error:
            return [str(each.message) for each in found], str(error)
    return [str(each.message) for each in found], None


def test_what_does_not_fit_is_told_once():
    said, error = warned(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), fp.NM(2, 4))
    assert error is None
    assert [("'0.weight'" in each, "'2.weight'" in each) for each in said] == [(True, False)]


def test_a_pattern_that_fits_no_weight_is_told_once_and_the_error_says_why():
    said, error = warned(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), fp.NM(2, 4))
    assert len(said) == 1
    assert "nm:2:4 offered none. It fits no weight: '0.weight' (3 inputs are no multiple of 4); '2.weight' (5" in error
    assert "fp.trace" not in error
    _, error = warned(nn.Sequential(*(nn.Linear(3, 3) for _ in range(9))), fp.NM(2, 4))
    assert "and 5 more" in error
    _, error = warned(nn.Linear(4, 4), fp.NM(2, 4, skip=("*",)))
    assert "Every weight was skipped" in error
