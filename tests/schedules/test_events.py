"""Events: each fires at exactly the look its formula says, and is a value."""

from __future__ import annotations

import copy
import json
import pickle
import random

import pytest

from flowprune.core.errors import PruningError, UnknownNameError
from flowprune.schedules import (
    EVENTS,
    Look,
    Reading,
    after,
    all_of,
    any_of,
    at_latest,
    build_event,
    early_bird,
    early_crop,
    stable_structure,
)
from flowprune.schedules.events.event import NEEDS
from flowprune.schedules.events.layers_settle import width_similarity
from flowprune.schedules.events.mask_settles import bit_distance
from tests.schedules.looking import kept, masked, shown

OPTIONS = {"early_crop": {"sparsity": 0.5, "granularity": "weights"}, "after": {"looks": 8}}
FRESH = {
    **{name: (lambda n=name: build_event(n, **OPTIONS.get(n, {}))) for name in EVENTS},
    "at_latest": lambda: at_latest(early_bird(0.01), looks=8),
    "any_of": lambda: any_of(early_bird(0.01), early_crop(0.5, "weights"), after(looks=8)),
    "all_of": lambda: all_of(early_bird(0.9, window=1), at_latest(early_crop(0.5, "weights"), looks=8), after(looks=2)),
}


def settling(n: int = 20, seed: int = 0) -> list[Look]:
    """Masks that change on fewer and fewer units, then on none, and weights that move ever more slowly."""
    generator, looks, movement = random.Random(seed), [], 0.0
    bits = [generator.choice("01") for _ in range(40)]
    for t in range(1, n + 1):
        for where in generator.sample(range(40), max(10 - t, 0)):
            bits[where] = "10"[int(bits[where])]
        looks.append(masked(t, {"a": "".join(bits[:16]), "b": "".join(bits[16:])}, movement))
        movement += 0.7 ** (t - 1)
    return looks


# --- early_bird ---------------------------------------------------------------------------------------------------


def test_early_bird_fires_at_the_look_whose_largest_distance_is_below_the_threshold():
    masks = ["11110000", "11101000", "11101000", "11101000", "11101000"]  # the change leaves the window at look 4
    event = shown(early_bird(0.25, window=2), [masked(t, {"w": m}) for t, m in enumerate(masks[:4], 1)])
    assert [r.value for r in event.readings] == [None, None, 0.25, 0.0]
    assert [r.fired for r in event.readings] == [False, False, False, True]
    assert {r.threshold for r in event.readings} == {0.25}


def test_early_bird_takes_the_largest_distance_and_not_the_last():
    looks = [masked(1, {"w": "1111000000"}), masked(2, {"w": "1110100000"}), masked(3, {"w": "1110100000"})]
    assert shown(early_bird(0.2, window=2), looks).readings[-1] == Reading(0.2, 0.2, False)
    assert shown(early_bird(0.2, window=1), looks).readings[-1] == Reading(0.0, 0.2, True)


def test_early_bird_waits_until_its_window_is_full():
    same = [masked(t, {"w": "10"}) for t in range(1, 7)]
    event = shown(early_bird(window=5), same[:5])
    assert not event.fired
    assert all(r.value is None for r in event.readings)
    assert event.see(same[5]).fired


def test_the_distance_of_packed_masks_is_the_fraction_of_units_that_differ():
    generator = random.Random(1)
    for _ in range(100):
        n = generator.randint(1, 70)
        a, b = ("".join(generator.choice("01") for _ in range(n)) for _ in range(2))
        expected = sum(x != y for x, y in zip(a, b, strict=True)) / n
        assert bit_distance(masked(1, {"w": a}).bits, masked(1, {"w": b}).bits, n) == expected


# --- early_crop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granularity", "sparsity", "share"),
    [
        ("weights", 0.75, 0.25),
        ("weights", 0.99, 0.01),
        ("weights", 0.0, 1.0),
        ("channels", 0.4, 0.5),
        ("channels", 0.15, 0.75),
    ],
)
def test_early_crop_fires_once_a_step_is_below_its_share_of_the_first(granularity, sparsity, share):
    first = 0.5
    steps = [first, first * share * 1.001, first * share * 0.999]
    moved = [0.0]
    for step in steps:
        moved.append(moved[-1] + step)
    event = shown(early_crop(sparsity, granularity), [Look(t, movement=m) for t, m in enumerate(moved, 1)])
    assert [r.fired for r in event.readings] == [False, False, False, True]
    assert [r.threshold for r in event.readings] == [None, *[pytest.approx(first * share)] * 3]
    assert [r.value for r in event.readings[1:]] == pytest.approx(steps)


def test_a_step_of_exactly_the_threshold_is_not_below_it():
    moved = [0.0, 0.5, 0.75, 0.75]
    event = shown(early_crop(0.5, "weights"), [Look(t, movement=m) for t, m in enumerate(moved, 1)])
    assert event.readings[2:] == (Reading(0.25, 0.25, False), Reading(0.0, 0.25, True))


def test_early_crop_counts_a_step_back_like_a_step_forth():
    moved = [0.0, 0.5, 1.0, 0.5, 0.6]
    event = shown(early_crop(0.5, "weights"), [Look(t, movement=m) for t, m in enumerate(moved, 1)])
    assert [r.value for r in event.readings] == [None, *map(pytest.approx, (0.5, 0.5, 0.5, 0.1))]
    assert event.fired


def test_the_more_is_to_go_the_longer_early_crop_waits():
    looks = settling(20)
    first = {}
    for sparsity in (0.1, 0.5, 0.9, 0.99):
        event = early_crop(sparsity, "weights")
        while not event.fired:
            event = event.see(looks[event.looks])
        first[sparsity] = event.looks
    assert list(first.values()) == [3, 4, 9, 15]  # steps 0.7^k: the first k with 0.7^k < 1 - sparsity is 1, 2, 7, 13


@pytest.mark.parametrize("sparsity", [0.9, 0.95])
def test_early_crop_of_channels_refuses_a_sparsity_without_a_positive_threshold(sparsity):
    with pytest.raises(ValueError, match=r"below 0\.9 for channels.*min\(0\.9 - sparsity, 0\.99\)"):
        early_crop(sparsity, "channels")
    with pytest.raises(ValueError, match=r"below 0\.9"):
        early_crop().bound(sparsity=sparsity, granularity="channels")
    assert early_crop(sparsity, "weights").name == "early_crop"


def test_early_crop_is_told_its_pruning_once():
    bound = early_crop().bound(sparsity=0.75, granularity="channels")
    assert bound.options() == {"sparsity": 0.75, "granularity": "channels"}
    assert early_crop(0.75).bound(sparsity=0.75, granularity="channels") == bound
    with pytest.raises(ValueError, match=r"must be that of the pruning, 0\.5; got 0\.75"):
        bound.bound(sparsity=0.5, granularity="channels")
    with pytest.raises(ValueError, match="known when it is used"):
        early_crop(0.5).see(Look(1, movement=0.0))


def test_weights_that_stand_still_are_an_error_and_no_endless_wait():
    event = early_crop(0.5, "weights").see(Look(1, movement=0.0))
    with pytest.raises(PruningError, match="Train between two looks"):
        event.see(Look(2, movement=0.0))
    with pytest.raises(ValueError, match="without movement at the first look"):
        early_crop(0.5, "weights").see(Look(1, movement=0.1))


# --- stable_structure ---------------------------------------------------------------------------------------------


def test_width_similarity_by_hand():
    assert width_similarity((4, 6), (4, 6)) == 1.0
    assert width_similarity((1, 0), (3, 0)) == 1 - (2 / 4 + 0) / 2  # 0/0 counts as 0
    assert width_similarity((5, 0), (0, 5)) == 0.0


def test_stable_structure_fires_once_its_indicator_is_high_enough():
    looks = [kept(1, 2, 6), kept(2, 6, 2), kept(3, 5, 3), kept(4, 5, 3)]
    by_hand = [
        1 - (4 / 8 + 4 / 8) / 2,
        ((1 - (1 / 11 + 1 / 5) / 2) + (1 - (3 / 7 + 3 / 9) / 2)) / 2,
        (1.0 + (1 - (1 / 11 + 1 / 5) / 2)) / 2,
    ]
    event = shown(stable_structure(0.9, window=2), looks)
    assert [r.value for r in event.readings] == [None, *map(pytest.approx, by_hand)]
    assert [r.fired for r in event.readings] == [False, False, False, True]


def test_an_indicator_that_equals_the_threshold_is_enough():
    assert shown(stable_structure(1.0, window=1), [kept(1, 5, 5), kept(2, 5, 5)]).fired


def test_a_stable_structure_waits_until_its_window_is_full():
    same = [kept(t, 5, 5) for t in range(1, 7)]
    event = shown(stable_structure(0.5, window=5), same[:5])
    assert [r.value for r in event.readings] == [None, 1.0, 1.0, 1.0, 1.0]
    assert not event.fired
    assert event.see(same[5]).fired


def test_a_high_indicator_that_is_below_an_earlier_one_in_the_window_waits():
    apart = 1 - (1 / 11) / 2  # (5, 5) and (6, 5)
    widths = [(5, 5), (5, 5), (6, 5), (6, 5), (6, 5)]
    event = shown(stable_structure(0.9, window=2), [kept(t, *w) for t, w in enumerate(widths, 1)])
    assert [r.value for r in event.readings] == [None, 1.0, pytest.approx(apart), pytest.approx((1 + apart) / 2), 1.0]
    assert [r.fired for r in event.readings] == [False, False, False, False, True]


def test_only_the_numbers_of_units_count_and_not_which():
    looks = [masked(1, {"a": "1100", "b": "0111"}), masked(2, {"a": "0011", "b": "1110"})]
    assert shown(stable_structure(1.0, window=1), looks).fired
    assert not shown(early_bird(1.0, window=1), looks[:1]).fired
    assert shown(early_bird(1.0, window=1), looks).readings[-1].value == 6 / 8


# --- counting and combining -----------------------------------------------------------------------------------------


def test_after_counts_looks():
    event = shown(after(looks=3), [Look(t) for t in (1, 2, 3)])
    assert [r.fired for r in event.readings] == [False, False, True]


def test_at_latest_fires_with_its_event_or_at_its_look():
    assert shown(at_latest(after(looks=2), looks=5), [Look(1), Look(2)]).fired
    event = shown(at_latest(after(looks=5), looks=2), [Look(1), Look(2)])
    assert event.readings == (Reading(1, 5, False), Reading(2, 5, True))


def test_any_of_fires_with_the_first_and_all_of_with_the_last():
    events = [after(looks=n) for n in (4, 2, 3)]
    assert shown(any_of(*events), [Look(1), Look(2)]).fired
    event = shown(all_of(*events), [Look(t) for t in range(1, 5)])
    assert [r.value for r in event.readings] == [0, 1, 2, 3]
    assert [r.fired for r in event.readings] == [False, False, False, True]


def test_what_has_fired_needs_no_more():
    both = all_of(after(looks=3), early_bird(window=1))
    assert both.needs == {"mask"}
    settled = shown(both, [masked(1, {"w": "10"}), masked(2, {"w": "10"})])
    assert settled.needs == set()
    assert settled.see(Look(3)).fired


def test_combinations_are_bound_through():
    nested = at_latest(any_of(early_crop(), after(looks=9)), looks=5).bound(sparsity=0.8, granularity="weights")
    assert nested.needs == {"movement"}
    told = nested.options()["options"]["events"][0]["options"]
    assert told == {"sparsity": 0.8, "granularity": "weights"}


# --- contract -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FRESH)
def test_seeing_changes_nothing_and_always_gives_the_same(name):
    event, looks = FRESH[name](), settling()
    for look in looks:
        before = copy.deepcopy(event)
        seen = event.see(look)
        assert event == before
        assert seen == event.see(look)
        assert seen.looks == event.looks + 1
        assert seen.readings[:-1] == event.readings
        assert seen.needs <= set(NEEDS)
        event = seen
        if event.fired:
            break
    assert event.fired
    assert pickle.loads(pickle.dumps(event)) == event
    assert hash(event) == hash(copy.deepcopy(event))


@pytest.mark.parametrize("name", FRESH)
def test_an_event_goes_on_from_its_state_through_json(name):
    looks, straight = settling(), FRESH[name]()
    resumed = straight
    while not straight.fired:
        look = looks[straight.looks]
        straight = straight.see(look)
        resumed = FRESH[name]().restored(json.loads(json.dumps(resumed.state()))).see(look)
        assert resumed == straight
    again = FRESH[name]().restored(json.loads(json.dumps(straight.state())))
    assert again == straight
    assert again.fired


@pytest.mark.parametrize("name", FRESH)
def test_an_event_is_used_in_order_and_not_after_it_fired(name):
    event, looks = FRESH[name](), settling()
    with pytest.raises(ValueError, match="the next look, number 1; got 2"):
        event.see(looks[1])
    while not event.fired:
        event = event.see(looks[event.looks])
    with pytest.raises(PruningError, match=f"must not be called after it fired; it did at look {event.looks}"):
        event.see(looks[event.looks])


@pytest.mark.parametrize("name", [name for name in FRESH if FRESH[name]().needs])
def test_a_look_without_what_is_needed_is_refused(name):
    with pytest.raises(ValueError, match="must be a look with the"):
        FRESH[name]().see(Look(1))


@pytest.mark.parametrize("name", FRESH)
def test_a_state_of_another_event_or_of_no_event_is_refused(name):
    state = FRESH[name]().see(settling()[0]).state()
    with pytest.raises(ValueError, match="Resume with the event the run began with"):
        after(looks=77).restored(state)
    with pytest.raises(ValueError, match="what state"):
        FRESH[name]().restored({"readings": []})
    with pytest.raises(ValueError, match="cannot be read"):
        FRESH[name]().restored({**state, "readings": [[1]]})


def test_a_damaged_mask_is_refused():
    state = early_bird().see(masked(1, {"w": "10"})).state()
    assert state["memory"]["masks"] == ["80"]
    with pytest.raises(ValueError, match="cannot be read"):
        early_bird().restored({**state, "memory": {"units": 2, "masks": ["zz"]}})


def test_masks_of_another_model_are_refused():
    with pytest.raises(ValueError, match="of the 2 units"):
        early_bird().see(masked(1, {"w": "10"})).see(masked(2, {"w": "100"}))
    with pytest.raises(ValueError, match="of the layers"):
        stable_structure().see(masked(1, {"w": "10"})).see(masked(2, {"v": "10"}))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: early_bird(0.0), r"\(0, 1\]"),
        (lambda: early_bird(1.5), r"\(0, 1\]"),
        (lambda: early_bird(float("nan")), r"\(0, 1\]"),
        (lambda: early_bird(True), r"\(0, 1\]"),
        (lambda: early_bird(window=0), ">= 1"),
        (lambda: early_bird(window=2.5), ">= 1"),
        (lambda: stable_structure(-0.1), r"\(0, 1\]"),
        (lambda: stable_structure(window=0), ">= 1"),
        (lambda: early_crop(1.0), r"\[0, 1\)"),
        (lambda: early_crop(0.5, granularity=3), "name of a granularity"),
        (lambda: after(looks=0), ">= 1"),
        (lambda: after(looks="10ep"), ">= 1"),
        (lambda: at_latest(after(looks=1), looks=0), ">= 1"),
        (lambda: at_latest("early_bird", looks=3), "an event, such as"),
        (lambda: at_latest(after(looks=2).see(Look(1)), looks=3), "seen nothing yet"),
        (any_of, "at least one event"),
        (all_of, "at least one event"),
        (lambda: any_of(after(looks=2).see(Look(1))), "seen nothing yet"),
        (lambda: build_event("early_bird", thresold=0.1), "its own arguments"),
        (lambda: build_event("after"), "without looks"),
    ],
)
def test_bad_options_are_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"count": 0}, "count"),
        ({"count": True}, "count"),
        ({"count": 1, "movement": -0.1}, "movement"),
        ({"count": 1, "movement": float("nan")}, "diverge"),
        ({"count": 1, "movement": float("inf")}, "diverge"),
        ({"count": 1, "units": 3}, "bits"),
        ({"count": 1, "bits": b"", "units": 0}, "bits"),
        ({"count": 1, "bits": b"\x80\x00", "units": 8, "layers": ("w",), "kept": (1,)}, "bits"),
        ({"count": 1, "bits": b"\x81", "units": 4, "layers": ("w",), "kept": (2,)}, "zeros after the last"),
        ({"count": 1, "bits": b"\x80", "units": 8, "layers": ("w",), "kept": (2,)}, "kept"),
        ({"count": 1, "bits": b"\x80", "units": 8, "layers": ("v", "w"), "kept": (1,)}, "kept"),
    ],
)
def test_looks_that_do_not_fit_together_are_refused(fields, rule):
    with pytest.raises(ValueError, match=rule):
        Look(**fields)


def test_an_unknown_event_lists_the_known():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'early_bird'\? Known: after, early_bird"):
        build_event("early_bid")
