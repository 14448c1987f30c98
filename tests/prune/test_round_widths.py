"""Widths rounded to a multiple: by score, within the layer, and by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import starmap
from unittest import mock

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.units import Member, UnitGroup
from flowprune.structure import Latency
from tests.prune.networks import transformer

X = torch.zeros(3, 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 6), nn.ReLU(), nn.Linear(6, 2)
    )


def chosen() -> tuple[nn.Module, fp.Scores, fp.Masks]:
    net = network()
    scores = fp.score("magnitude", fp.gather(net, None, (), needs=()), fp.Channels(X))
    return net, scores, fp.select(scores, 0.4, scope={"0.*": 0.475, "2.*": 0.1})


def kept(masks: fp.Masks) -> list[int]:
    return [count.kept for count in masks.per_layer().values()]


def test_heads_count_as_the_channels_that_they_have() -> None:
    """Three heads of 4 channels are a multiple of 4 already, and one head short of a multiple of 8."""
    model, x = transformer()
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(x))
    masks = fp.select(scores, {name: 0.5 if "query" in name else 0.45 for name in scores})
    assert kept(masks) == [3, 13, 3, 13]
    found = fp.round_widths(masks, scores, multiple=8, model=model)
    assert kept(found.masks) == [4, 16, 4, 16]
    assert kept(fp.round_widths(masks, scores, multiple=4).masks) == [3, 16, 3, 16]
    timed = fp.round_widths(masks, scores, multiple="auto", model=model, example_inputs=x)
    assert set(kept(timed.masks)[::2]) <= {3, 4, 6}


def test_heads_whose_queries_keys_and_values_are_one_weight() -> None:
    """Inputs first, as GPT-2 stores it: 4 heads of 2 channels, so that two heads are a multiple of 4."""
    units = torch.arange(4).repeat_interleave(2)
    read = Member("out.weight", 0, torch.arange(8), units, "input")
    made = Member("qkv.weight", 1, torch.arange(24), units.repeat(3), "weight")
    layout = {"qkv.weight": UnitGroup("qkv.weight", 4, (made, read), kind="heads")}
    masks = fp.Masks({"qkv.weight": torch.tensor([False, False, False, True])}, layout=layout)
    scores = {"qkv.weight": torch.arange(4.0)}
    widths = [kept(fp.round_widths(masks, scores, multiple=k).masks)[0] for k in (1, 2, 4, 8)]
    assert widths == [1, 1, 2, 4]


def test_up_to_a_multiple_and_never_above_the_layer() -> None:
    net, scores, masks = chosen()
    assert kept(masks) == [21, 27, 4]
    found = fp.round_widths(masks, scores, multiple=8, model=net)
    assert kept(found.masks) == [24, 30, 6]
    for name, mask in masks.items():
        back, left = found.masks[name] & ~mask, scores[name][~found.masks[name]]
        assert not (mask & ~found.masks[name]).any()
        assert not left.numel() or scores[name][back].min() >= left.max()
    small = [fp.remove(net, each, example_inputs=X) for each in (masks, found.masks)]
    assert found.parameters == tuple(sum(p.numel() for p in m.parameters()) for m in small)
    assert str(found).startswith("3 of 3 layers rounded, 52 -> 60 of 76 units kept, ")


def test_nearest_takes_the_lowest_away() -> None:
    _, scores, masks = chosen()
    found = fp.round_widths(masks, scores, multiple=10, to="nearest")
    assert kept(found.masks) == [20, 30, 6]
    gone = masks["0.weight"] & ~found.masks["0.weight"]
    assert int(gone.sum()) == 1
    assert scores["0.weight"][gone].item() == scores["0.weight"][masks["0.weight"]].min().item()


@pytest.mark.parametrize("to", ["up", "nearest"])
@pytest.mark.parametrize("multiple", [1, 2, 7, 16, 1000])
def test_no_layer_is_emptied_and_none_exceeds(multiple: int, to: str) -> None:
    _, scores, masks = chosen()
    found = fp.round_widths(masks, scores, multiple=multiple, to=to)
    for count in found.masks.per_layer().values():
        assert 1 <= count.kept <= count.total
        assert count.kept % multiple == 0 or count.kept == count.total
    assert fp.round_widths(found.masks, scores, multiple=multiple, to=to).rounded == ()
    if multiple == 1:
        assert found.rounded == ()


def test_a_whole_layer_stays_whole() -> None:
    _, scores, _ = chosen()
    assert fp.round_widths(fp.select(scores, 0.0), scores, multiple=16, to="nearest").rounded == ()


def test_units_that_stay_in_place_are_left_alone() -> None:
    net = fp.models.build("resnet20", num_classes=10)
    x = torch.zeros(2, 3, 32, 32)
    scores = fp.score("magnitude", fp.gather(net, None, (), needs=()), fp.Channels(x, residual="masked"))
    masks = fp.select(scores, 0.45, scope="local")
    found = fp.round_widths(masks, scores, multiple=16)
    assert found.rounded
    assert all(masks.layout[name].removable for name in found.rounded)


@contextmanager
def clock(slow: dict[int, float]) -> Iterator[mock.MagicMock]:
    """A machine that takes one ms a layer, and more where a width is listed."""

    def layer_ms(layer: nn.Linear, inputs: object, **_: object) -> float:
        return 1 + slow.get(layer.out_features, 0.0)

    def latency(model: nn.Module, inputs: torch.Tensor, **_: object) -> Latency:
        took = sum(layer_ms(layer, None) for layer in model if isinstance(layer, nn.Linear))
        return Latency(took, 0.0, len(inputs), 1, 20)

    where = "flowprune.structure"
    with (
        mock.patch(f"{where}.latency_table.latency", side_effect=latency),
        mock.patch(f"{where}.layer_latency.call_ms", side_effect=layer_ms) as timed,
    ):
        yield timed


def test_auto_keeps_a_rounding_only_where_it_costs_no_time() -> None:
    net, scores, masks = chosen()
    with clock({21: 1.0, 32: 2.0, 24: 0.5, 30: 0.25, 28: 0.25}) as timed:
        found = fp.round_widths(masks, scores, multiple="auto", model=net, example_inputs=X)
    # 21 is slow, 24 faster, 32 slower: 24. 27 is faster than 28 and 30: it stays. 4 and 6 are the same: the widest.
    assert kept(found.masks) == [24, 27, 6]
    assert found.latency is not None
    assert [t.median_ms for t in found.latency] == [5.0, 4.5]
    assert timed.call_count == len({repr(call.args[0]) for call in timed.call_args_list})
    assert "5 -> 4.5 ms" in str(found)


def test_auto_on_the_real_clock() -> None:
    net, scores, masks = chosen()
    found = fp.round_widths(masks, scores, multiple="auto", model=net, example_inputs=X)
    assert found.latency is not None
    assert all(each.batch == len(X) for each in found.latency)
    pairs = zip(kept(masks), kept(found.masks), strict=True)
    assert all(starmap(lambda before, after: after >= before, pairs))


def test_what_cannot_be_rounded_is_refused() -> None:
    net, scores, masks = chosen()
    weights = fp.select({"w": torch.ones(4)}, 0.5)
    for call, said in (
        (lambda: fp.round_widths(weights, {"w": torch.ones(4)}), "Masks of channels"),
        (lambda: fp.round_widths(masks, {"0.weight": torch.ones(40)}), "same layers and units"),
        (lambda: fp.round_widths(masks, masks), "same layers and units"),
        (lambda: fp.round_widths(masks, scores, multiple=0), "whole number >= 1"),
        (lambda: fp.round_widths(masks, scores, multiple=True), "whole number >= 1"),
        (lambda: fp.round_widths(masks, scores, multiple="best"), "whole number >= 1"),
        (lambda: fp.round_widths(masks, scores, to="down"), "Known: nearest, up"),
        (lambda: fp.round_widths(masks, scores, multiple="auto"), r"round_widths\(model=\)"),
        (lambda: fp.round_widths(masks, scores, multiple="auto", model=net), r"round_widths\(example_inputs=\)"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
