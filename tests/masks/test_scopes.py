"""Who competes with whom."""

from dataclasses import replace

import pytest
import torch

import flowprune as fp
from flowprune.core.units import Member, UnitGroup, rows
from flowprune.masks import Scores, pools, select


def layers() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    sizes = {"stem": 8, "a.0": 10, "a.1": 14, "b.0": 6, "b.1": 6}
    return {name: torch.rand(size, generator=g) * (i + 1) for i, (name, size) in enumerate(sizes.items())}


def removed(masks, *names: str) -> int:
    return sum(masks[name].numel() - int(masks[name].sum()) for name in names)


def test_user_pools_are_ranked_apart_and_cut_exactly() -> None:
    scores = layers()
    masks = select(scores, 0.5, scope=[["a.*"], ["b.0", "stem"]])
    assert (removed(masks, "a.0", "a.1"), removed(masks, "stem", "b.0"), removed(masks, "b.1")) == (12, 7, 3)
    alone = select({name: scores[name] for name in ("a.0", "a.1")}, 0.5)
    assert all(torch.equal(alone[name], masks[name]) for name in alone)
    assert list(masks) == list(scores)


def test_pools_with_a_sparsity_of_their_own() -> None:
    masks = select(layers(), 0.25, scope={"a.*": 0.5, "stem": 0.0})
    assert (removed(masks, "a.0", "a.1"), removed(masks, "stem"), removed(masks, "b.0", "b.1")) == (12, 0, 3)
    whole = select(layers(), scope={"a.*": 0.5, "stem": 0.0, "b.*": 0.5})
    assert removed(whole, "b.0", "b.1") == 6


@pytest.mark.parametrize(
    ("scope", "sparsity", "said"),
    [
        ("everywhere", 0.5, "select\\(scope=\\) has no 'everywhere'"),
        ([["c.*"]], 0.5, "has no 'c.*'"),
        ({"stems": 0.5}, 0.5, "Did you mean 'stem'"),
        ([["a.*"], ["*.1"]], 0.5, "'a.1' in"),
        (["a.*", "b.*"], 0.5, "a list of lists of patterns"),
        ([], 0.5, "a list of lists"),
        ([[]], 0.5, "a list of lists"),
        ({"a.*": 1.0}, 0.5, r"sparsity of 'a.\*' must be in \[0, 1\)"),
        ({"a.*": True}, 0.5, r"in \[0, 1\)"),
        ({"a.*": 0.5}, None, "given for the layers that fit no pattern"),
        ({"*": 0.5}, 0.5, "None where scope= names the sparsity of every layer"),
        ("global", None, r"sparsity=\) must be given"),
        (None, 0.5, "a word"),
    ],
)
def test_a_scope_that_cannot_be_meant_is_refused(scope, sparsity, said) -> None:
    with pytest.raises(ValueError, match=said):
        select(layers(), sparsity, scope=scope)


def test_isomorphic_layers_compete_among_themselves() -> None:
    def read(name: str, size: int, each: int) -> UnitGroup:
        own = rows(name, size).members[0]
        at, units = torch.arange(size * each), torch.arange(size).repeat_interleave(each)
        return UnitGroup(name, size, (own, Member(f"after {name}", 1, at, units, "input")))

    layout = {"a": read("a", 4, 1), "b": read("b", 8, 1), "c": read("c", 6, 9), "d": rows("d", 6)}
    scores = Scores({n: torch.arange(float(g.size)) for n, g in layout.items()}, layout=layout)
    assert [pool.names for pool in pools(scores, "isomorphic", 0.5)] == [("a", "b"), ("c",), ("d",)]
    masks = select(scores, 0.5, scope="isomorphic")
    assert (removed(masks, "a", "b"), removed(masks, "c"), removed(masks, "d")) == (6, 3, 3)
    assert removed(masks, "a") == 3  # they compete: not two and four


def test_heads_are_not_isomorphic_to_channels_and_sizes_are_no_parts() -> None:
    at = torch.arange(4)
    count = Member("attention.num_heads", 0, at, at, "size")
    one = rows("a", 4)
    layout = {"a": one, "b": replace(one, kind="heads"), "c": replace(one, members=(*one.members, count))}
    scores = Scores({name: torch.arange(4.0) for name in layout}, layout=layout)
    assert [pool.names for pool in pools(scores, "isomorphic", 0.5)] == [("a", "c"), ("b",)]


def test_patterns_are_isomorphic_where_their_weights_are() -> None:
    """Grids of blocks of one shape may be of weights of another."""
    signals = fp.Signals(params={"a": torch.ones(4, 3), "b": torch.ones(3, 4), "c": torch.ones(4, 3)})
    found = pools(fp.score("magnitude", signals, fp.Blocks(4, 4)), "isomorphic", 0.0)
    assert [pool.names for pool in found] == [("a", "c"), ("b",)]


def test_weights_are_isomorphic_where_their_shapes_are() -> None:
    scores = {"a": torch.ones(4, 3), "b": torch.ones(3, 4), "c": torch.zeros(4, 3)}
    assert [pool.names for pool in pools(scores, "isomorphic", 0.5)] == [("a", "c"), ("b",)]


def test_blocks_of_a_residual_stage_are_one_structure() -> None:
    model = fp.models.build("resnet20", num_classes=10)
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(torch.zeros(2, 3, 32, 32)))
    inner = [name for name in scores if "conv1" in name]
    found = pools(scores, "isomorphic", 0.5)
    assert any(set(inner) <= set(pool.names) for pool in found)
    assert len(found) < len(scores)
