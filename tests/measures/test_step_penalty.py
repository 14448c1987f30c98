"""The step penalty: an option of every measure, added to what a unit costs."""

import functools
import math

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.tensors import wide
from flowprune.measures import MEASURES
from flowprune.measures.normalise import normalised
from flowprune.objectives import OBJECTIVES

NEEDS = ("gradient", "hessian_gradient", "curvature", "fisher", "minibatch_fisher", "absolute_gradient")
MODELS = ("lm", "obd", "qm")
X = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 3


def network() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(6, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 24), nn.BatchNorm1d(24))
    return nn.Sequential(*first, nn.ReLU(), nn.Linear(24, 3)).eval()


@functools.cache
def gathered(objective: str | None = None) -> fp.Signals:
    if objective is not None:
        return fp.gather(network(), OBJECTIVES[objective](), [(X, Y)], seed=0)
    return fp.gather(network(), fp.objectives.cross_entropy(), [(X, Y)], needs=NEEDS)


def units(name: str) -> object:
    return {"weights": fp.Weights(), "channels": fp.Channels(X[:2]), "blocks": fp.Blocks(2, 2), "nm": fp.NM(2, 4)}[name]


def squares(signals: fp.Signals, scores: fp.Scores, on: str = "weight", members: str = "producers") -> dict:
    """Slowly: for every unit the sum of the squares of its weights, by a loop over what a mask of it alone reaches."""
    if not scores.layout:
        return {name: wide(signals.params[name]).square() for name in scores}
    found = {}
    for name, group in scores.layout.items():
        read = group.read(on, members)
        found[name] = group.total({n: wide(signals.params[n]).square() for n in read}, on, members)
    return found


@pytest.mark.filterwarnings("ignore:NM")
@pytest.mark.parametrize("kind", ["weights", "channels", "blocks", "nm"])
@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_every_measure_takes_it(measure: str, kind: str) -> None:
    chosen = MEASURES[measure]
    signals, options = gathered(chosen.objective), {"density": 0.9} if measure == "phew" else {}
    if chosen.on == "norm" and kind != "channels":
        with pytest.raises(ValueError, match="granularity of channels"):
            fp.score(measure, signals, units(kind), step_penalty=2.0)
        return
    plain = fp.score(measure, signals, units(kind), **options)
    found = fp.score(measure, signals, units(kind), step_penalty=3.0, **options)
    assert all(value.dtype == torch.float64 for value in found.values())
    if chosen.on == "norm":
        names = [n for n in signals.params if n.startswith(("1.", "4.")) and (measure != "bn_scale" or "weight" in n)]
        bare = fp.Signals(params={n: p if n in names else p * 0 for n, p in signals.params.items()})
        steps = squares(bare, found, on="norm")
    else:
        steps = squares(signals, found)
    for name, value in found.items():
        torch.testing.assert_close(value, wide(plain[name]) + 1.5 * steps[name], rtol=1e-6, atol=1e-12)


def test_it_is_added_after_the_reducer_over_the_members_that_are_read() -> None:
    signals = gathered()
    for reducer in ("sum", "sum_abs", "abs_sum", "l2"):
        how = {"reduce": reducer, "members": "group"}
        plain = fp.score("loss_preservation", signals, units("channels"), **how)
        found = fp.score("loss_preservation", signals, units("channels"), step_penalty=0.5, **how)
        steps = squares(signals, found, members="group")
        for name, value in found.items():
            torch.testing.assert_close(value, wide(plain[name]) + 0.25 * steps[name], rtol=1e-6, atol=1e-12)


def test_no_penalty_leaves_scores_as_they_are() -> None:
    for name in ("qm", "magnitude"):
        plain, none = (fp.score(name, gathered(), **how) for how in ({}, {"step_penalty": 0.0}))
        for layer, value in plain.items():
            assert value.dtype == none[layer].dtype == torch.float32
            assert torch.equal(value, none[layer])


def test_lm_2_a_large_penalty_is_magnitude() -> None:
    """LM-2, in float32, where 1e6 times a square leaves no digit to a cost of 1e-3."""
    signals = gathered()
    for kind in ("weights", "channels"):
        for sparsity in (0.3, 0.5, 0.9):
            expected = fp.select(fp.score("magnitude", signals, units(kind)), sparsity, min_keep=1)
            for name in MODELS:
                masks = fp.select(fp.score(name, signals, units(kind), step_penalty=1e6), sparsity, min_keep=1)
                assert all(torch.equal(masks[layer], expected[layer]) for layer in expected)


@pytest.mark.parametrize("name", MODELS)
def test_neighbours_in_float32_are_not_tied(name: str) -> None:
    """Between adjacent numbers the order is that of their size, as it is of magnitude."""
    steps = torch.arange(4096, dtype=torch.int32).flip(0)
    theta = (torch.tensor(0.7).view(torch.int32) + steps).view(torch.float32)  # falling, each the next smaller number
    signals = fp.Signals(
        params={"w": theta[None]}, gradient={"w": torch.full_like(theta, 1e-3)[None]},
        curvature={"w": torch.full_like(theta, 1e-3)[None]},
    )  # fmt: skip
    found = fp.score(name, signals, step_penalty=1e6)["w"][0]
    assert bool((found.diff() < 0).all())


def test_the_cost_still_counts_beside_a_large_penalty() -> None:
    """Of equal weights the cheaper goes, whatever the penalty: nothing is absorbed."""
    theta = torch.full((1, 4), 0.7)
    signals = fp.Signals(params={"w": theta}, gradient={"w": torch.tensor([[3.0, 1.0, 4.0, 2.0]]) * 1e-4})
    assert fp.score("lm", signals, step_penalty=1e6)["w"][0].argsort().tolist() == [1, 3, 0, 2]


def test_what_is_normalised_is_the_sum() -> None:
    signals, channels = gathered(), units("channels")
    for how in ("mean", "fan_in"):
        plain = fp.score("lm", signals, channels, step_penalty=0.1)
        found = fp.score("lm", signals, channels, step_penalty=0.1, normalise=how)
        expected = normalised(plain, how, signals.params, plain.layout)
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, True, "1", None])
def test_bad_penalties_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"^score\(step_penalty=\) must be a finite number >= 0; got"):
        fp.score("lm", gathered(), step_penalty=bad)
    with pytest.raises(ValueError, match=r"^Pruner\(step_penalty=\) must be a finite number >= 0; got"):
        fp.Pruner(
            network(), None, measure="magnitude", granularity=fp.Weights(), objective=None,
            schedule=fp.schedules.one_shot(0.5), step_penalty=bad,
        )  # fmt: skip


def test_prune_takes_the_penalty_and_the_curvature() -> None:
    model, how = network(), {"objective": fp.objectives.cross_entropy(), "batches": [(X, Y)], "sparsity": 0.5}
    result = fp.prune(model, measure="qm", step_penalty=0.3, curvature="empirical", **how)
    signals = fp.gather(model, how["objective"], how["batches"], ("gradient", "curvature"), curvature="empirical")
    expected = fp.select(fp.score("qm", signals, step_penalty=0.3), 0.5)
    assert all(torch.equal(result.masks[name], mask) for name, mask in expected.items())
    largest = fp.prune(model, measure="lm", step_penalty=1e9, **how).masks
    magnitude = fp.prune(model, measure="magnitude", sparsity=0.5).masks
    assert all(torch.equal(largest[name], mask) for name, mask in magnitude.items())
    for bad, error in (("gnn", "gather\\(curvature=\\) has no 'gnn'"), (3, "curvature=\\) must be a kind")):
        with pytest.raises(ValueError, match=error):
            fp.prune(model, measure="qm", curvature=bad, **how)
