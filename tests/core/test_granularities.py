"""Granularities by name, as specs and the command line write them."""

import pytest
import torch

import flowprune as fp
from flowprune.core.granularities import GRANULARITIES, WRITTEN, build_granularity, require_granularity


@pytest.mark.parametrize("made", [fp.Weights(), fp.NM(2, 4), fp.NM(1, 16), fp.Blocks(4, 1), fp.Blocks(16, 16)])
def test_a_name_builds_what_it_names(made) -> None:
    assert build_granularity("here", made.name) == made


def test_every_name_has_a_class_that_says_whether_units_leave_the_model() -> None:
    text = {kind: kind for kind in ("channels", "heads", "depth", "weights")} | {"nm": "nm:2:4", "blocks": "blocks:4x1"}
    assert text.keys() == GRANULARITIES.keys() == WRITTEN.keys()
    removes = {kind: build_granularity("here", name).removes for kind, name in text.items()}
    assert {kind for kind, smaller in removes.items() if smaller} == {"channels", "heads", "depth"}
    assert all(build_granularity("here", name).name == name for name in text.values())


def test_what_is_available_reaches_those_that_take_it() -> None:
    x = torch.ones(2, 3)
    available = {"example_inputs": x, "residual": "inner"}
    assert build_granularity("here", "channels", available).example_inputs is x
    assert build_granularity("here", "nm:2:4", available) == fp.NM(2, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("filters", r"here has no 'filters'.*Known: blocks, channels, depth, heads, nm, weights"),
        ("", "here has no ''"),
        ("nm", "here must be written as nm:n:m; got 'nm'"),
        ("nm:2", "written as nm:n:m"),
        ("blocks:4x1x1", "written as blocks:rows:cols"),
        ("blocks:4x-1", "written as blocks:rows:cols"),
        ("weights:4", "written as weights; got 'weights:4'"),
        ("nm:4:4", r"NM\(n=, m=\) must be n < m"),
        ("blocks:0x4", r"Blocks\(rows=\) must be a whole number >= 1; got 0"),
    ],
)
def test_a_wrong_name_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_granularity("here", text)


def test_sizes_are_read_before_they_are_tried() -> None:
    assert require_granularity("here", "nm:9:4") == ("nm", (9, 4))
