"""What cannot be carried out to the end is refused before anything is cut or waited for."""

from __future__ import annotations

import copy
import re

import pytest
import torch

import flowprune as fp
from flowprune.prune.feasible import Names
from flowprune.schedules import early_bird, early_crop
from tests.prune.networks import batches, convnet, residual


def pruner(model, sparsity=0.5, rounds=1, units="channels", residual="coupled", **options) -> fp.Pruner:
    x = batches(1)[0][0]
    granularity = fp.Weights() if units == "weights" else fp.Channels(example_inputs=x, residual=residual)
    return fp.Pruner(
        model,
        None,
        measure="magnitude",
        granularity=granularity,
        objective=None,
        schedule=fp.schedules.rounds(rounds, sparsity=sparsity),
        **options,
    )


def assert_refused_untouched(made: fp.Pruner, error: type, said: str, data=()) -> None:
    before = copy.deepcopy(made.model.state_dict())
    with pytest.raises(error, match=re.escape(said)):
        made.step(data)
    assert list(before) == list(made.model.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())


@pytest.mark.parametrize("when", [None, early_bird()])
def test_a_last_target_beyond_the_floors_is_refused_at_the_first_look_or_cut(when):
    """8 + 12 + 16 channels with floors of 1 each: 33 can go, and 0.95 of 36 is 34. The first of 5 rounds would fit."""
    made = pruner(convnet(), 0.95, rounds=5, when=when)
    assert_refused_untouched(made, fp.PruningError, "34 of 36 units are to be cut in the end, and at most 33 can be")
    assert when is None or made.event.looks == 0


def test_it_is_told_at_the_first_look_also_where_the_event_reads_no_mask():
    made = pruner(convnet(), 0.5, floor=0.6, when=early_crop())
    assert_refused_untouched(made, fp.PruningError, "18 of 36 units are to be cut in the end, and at most 13 can be")
    assert made.event.looks == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": 0.6, "protect": ["8.*"]}, "22 of 36 units are to be cut in the end, and at most 18 can be"),
        ({"sparsity": 0.5, "floor": 0.6}, "18 of 36 units are to be cut in the end, and at most 13 can be"),
        ({"sparsity": 0.9, "scope": "local"}, "7 of 8 units of 0.weight"),
        ({"sparsity": 0.9999, "units": "weights"}, "and at most"),
        ({"sparsity": 0.9, "reference_compat": True, "protect": ["0.*"]}, "and at most 26 can be"),
    ],
)
def test_floors_protection_and_scope_are_counted(options, said):
    if options.get("scope") == "local":
        options = options | {"floor": 0.2}
    assert_refused_untouched(pruner(convnet(), rounds=3, **options), fp.PruningError, said)


@pytest.mark.parametrize("options", [{"sparsity": 33 / 36}, {"sparsity": 18 / 36, "protect": ["8.*"]}])
def test_what_just_fits_is_carried_out(options):
    made = pruner(convnet(), rounds=3, **options)
    while not made.done:
        cut = made.step()
    assert cut.units_after == round((1 - options["sparsity"]) * 36)


@pytest.mark.parametrize("units", ["channels", "weights"])
def test_more_rounds_than_units_are_refused_before_the_event_is_looked_at(units):
    made = pruner(convnet(), 0.5, rounds=5000, units=units, when=early_bird())
    assert_refused_untouched(made, ValueError, "units are to go; got '5000 rounds'")
    assert made.event.looks == 0


# The published code has no pruning of single weights.
@pytest.mark.parametrize(("units", "compat"), [("channels", False), ("channels", True), ("weights", False)])
def test_a_pattern_of_protection_that_fits_no_layer_is_refused_with_the_layers(units, compat):
    made = pruner(convnet(), units=units, protect=["typo.*"], reference_compat=compat)
    assert_refused_untouched(made, fp.UnknownNameError, "has no 'typo.*'")
    with pytest.raises(fp.UnknownNameError, match=re.escape("0.weight, 3.weight, 8.weight")):
        made.step()


@pytest.mark.parametrize("floor", [0.3, 0.0, None])
def test_a_floor_that_the_published_code_does_not_have_is_refused(floor):
    made = pruner(convnet(), reference_compat=True, floor=floor)
    assert_refused_untouched(made, ValueError, "Pruner(floor=) must be 'auto' or 0.05")


@pytest.mark.parametrize(("floor", "fits"), [("auto", True), (0.0, True), (None, True), (0.05, False), (0.3, False)])
def test_masked_branches_have_no_floor_in_the_published_code(floor, fits):
    made = pruner(residual(), 0.5, reference_compat=True, residual="masked", floor=floor)
    if fits:
        assert made.step().floor_hits == ()
    else:
        assert_refused_untouched(made, ValueError, "Pruner(floor=) must be 'auto' or no floor")


def test_errors_can_name_what_the_caller_wrote():
    made = pruner(convnet(), 0.95)
    with pytest.raises(fp.PruningError, match=r"^Spec\(prune\.sparsity\) must"):
        made.require_feasible(names=Names(schedule="Spec(prune.sparsity)"))
    pruner(convnet(), 0.5).require_feasible()


def test_a_model_that_is_masked_already_counts_what_is_dead():
    model = convnet()
    masks = {"8.weight": torch.rand(16, 108) > 0.5}
    masks["8.weight"][0, 0] = True
    fp.apply(model, masks)
    made = pruner(model, 0.5, units="weights", protect=["8.*"])
    assert made.step().masks["8.weight"].equal(masks["8.weight"])
