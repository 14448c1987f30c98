"""Blocks: their scores, their exact number, their edges, and where they become zero."""

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.masks import NM, REDUCERS, Blocks, Masks, Scores, apply, expand, select
from flowprune.measures import score
from flowprune.signals import Signals, gather
from tests.reference.patterns import literal_blocks

SIZES = [(1, 1), (4, 1), (1, 4), (2, 3), (16, 16)]
SHAPES = {"linear": (6, 10), "conv": (5, 3, 3, 3), "exact": (8, 12)}


def signals(shape: tuple[int, ...], **more: object) -> Signals:
    g = torch.Generator().manual_seed(0)
    theta, grad = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))
    return Signals(params={"w": theta}, gradient={"w": grad}, **more)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("reducer", REDUCERS)
def test_scores_are_the_measures_reduction_of_signed_contributions(shape, size, reducer) -> None:
    given = signals(shape)
    found = score("loss_preservation", given, Blocks(*size), reduce=reducer)["w"]
    c = (given.params["w"] * given.gradient["w"]).flatten(1)
    inner, outer = REDUCERS[reducer]
    expected = {
        place: float(outer(inner(torch.tensor(entries, dtype=torch.float64)).sum()))
        for place, entries in literal_blocks(c, *size).items()
    }
    assert found.numel() == len(expected)
    assert {place: pytest.approx(value, rel=1e-12) for place, value in expected.items()} == {
        place: float(found[place]) for place in expected
    }


def test_a_sum_of_abs_and_the_abs_of_a_sum_differ() -> None:
    """The two published readings of one first-order formula: weights of a block may cancel, or may not."""
    one = torch.tensor([[1.0, -1.0, 0.25, 0.0]])
    given = Signals(params={"w": torch.ones(1, 4)}, gradient={"w": one})
    assert score("loss_preservation", given, Blocks(1, 2))["w"].tolist() == [[2.0, 0.25]]
    assert score("taylor_first_order", given, Blocks(1, 2))["w"].tolist() == [[0.0, 0.25]]


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.77])
@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_exactly_the_asked_number_of_blocks_goes_whole(size, sparsity, scope) -> None:
    g = torch.Generator().manual_seed(1)
    params = {"a": torch.randint(1, 3, (7, 9), generator=g).float(), "b": torch.randn(6, 4, 3, 3, generator=g)}
    masks = select(score("magnitude", Signals(params=params), Blocks(*size)), sparsity, scope=scope)
    counts = [mask.numel() for mask in masks.values()]
    asked = round(sparsity * sum(counts)) if scope == "global" else sum(round(sparsity * n) for n in counts)
    assert masks.total - masks.kept == asked
    for name, keep in expand(params, masks).items():
        assert keep.shape == params[name].shape
        for place, entries in literal_blocks(keep.flatten(1).float(), *size).items():
            assert set(entries) == {float(masks[name][place])}


def test_blocks_at_the_edge_are_smaller_and_count_as_others_do() -> None:
    params = {"w": torch.tensor([[1.0, 1.0, 9.0], [1.0, 1.0, 9.0], [5.0, 5.0, 0.5]])}
    scores = score("magnitude_l1", Signals(params=params), Blocks(2, 2))
    assert scores["w"].tolist() == [[4.0, 18.0], [10.0, 0.5]]
    masks = select(scores, 0.25)
    assert expand(params, masks)["w"].int().tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]


def test_single_blocks_of_one_weight_are_single_weights() -> None:
    given = signals((6, 10))
    for name in ("magnitude", "loss_preservation"):
        assert torch.equal(score(name, given, Blocks(1, 1))["w"], score(name, given)["w"])


def test_kernels_are_blocks_of_a_convolution() -> None:
    given = signals((4, 3, 3, 3))
    found = score("magnitude", given, Blocks(1, 9))["w"]
    torch.testing.assert_close(found, given.params["w"].flatten(2).norm(dim=2))


def test_fan_in_is_the_size_of_the_block() -> None:
    params = {"w": torch.full((3, 3), 2.0)}
    scores = score("magnitude_l1", Signals(params=params), Blocks(2, 2), normalise="fan_in")
    assert scores["w"].flatten().tolist() == pytest.approx([8 / 2, 4 / 2**0.5, 4 / 2**0.5, 2.0])


def test_a_weight_with_its_inputs_first_is_turned() -> None:
    """Four neighbouring outputs at one input: axis 1 of a transposed convolution's weight are the outputs."""
    model = nn.Sequential(nn.ConvTranspose2d(3, 8, 2, bias=False))
    scores = score("magnitude", gather(model, None, (), needs=()), Blocks(4, 1))["0.weight"]
    assert scores.shape == (3 * 4, 2)
    weight = model[0].weight.detach()
    expected = torch.stack([weight[:, :4].norm(dim=1), weight[:, 4:].norm(dim=1)], -1).flatten(0, 2)
    torch.testing.assert_close(scores, expected)
    masks = select(Scores({"0.weight": scores}, layout=layout(model, Blocks(4, 1))), 0.5)
    kept = expand(dict(model.named_parameters()), masks)["0.weight"]
    assert torch.equal(kept[:, :4].all(1), kept[:, :4].any(1))


def layout(model: nn.Module, units: Blocks | NM) -> dict:
    return units.layout(gather(model, None, (), needs=()))


def test_applied_masks_are_zero_and_stay_zero() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 4))
    masks = select(score("magnitude", gather(model, None, (), needs=()), Blocks(4, 1)), 0.5)
    apply(model, masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.randn(3, 10)).sum().backward()
        optimizer.step()
    fp.check_zeros(model)
    kept = expand(dict(model.named_parameters()), masks)
    assert all(torch.equal(model.get_parameter(n) != 0, keep) for n, keep in kept.items())


def test_a_layer_without_a_block_is_an_error_as_for_weights_and_none_is_kept_by_default() -> None:
    params = {"small": torch.full((2, 2), 0.1), "large": torch.ones(4, 4)}
    scores = score("magnitude", Signals(params=params), Blocks(2, 2))
    with pytest.raises(PruningError, match="'small' would be emptied"):
        select(scores, 0.2)
    assert select(scores, 0.2, min_keep=1).per_layer()["small"].kept == 1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_masks_are_saved_and_loaded(size, tmp_path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ConvTranspose2d(6, 5, 2))
    masks = select(score("magnitude", gather(model, None, (), needs=()), Blocks(*size)), 0.4, min_keep=1)
    back = Masks.load(masks.save(tmp_path / "masks.safetensors"))
    params = dict(model.named_parameters())
    for name, keep in expand(params, masks).items():
        assert torch.equal(back[name], masks[name])
        assert torch.equal(expand(params, back)[name], keep)
    assert (back.channelwise, repr(back)) == (False, repr(masks))


def test_a_block_is_skipped_by_name() -> None:
    given = Signals(params={"a.weight": torch.ones(4, 4), "b.weight": torch.ones(4, 4), "a.bias": torch.ones(4)})
    assert list(score("magnitude", given, Blocks(2, 2))) == ["a.weight", "b.weight"]
    assert list(score("magnitude", given, Blocks(2, 2, skip=("a.*",)))) == ["b.weight"]
    with pytest.raises(ValueError, match=r"Blocks\(skip=\) must be patterns of parameter names; got 'c\.\*'"):
        score("magnitude", given, Blocks(2, 2, skip=("c.*",)))
    with pytest.raises(ValueError, match=r"Blocks\(skip=\) must be a tuple of patterns; got 'a.*'.*skip=\('a"):
        Blocks(2, 2, skip="a.*")
    with pytest.raises(PruningError, match="blocks:2x2 offered none"):
        score("magnitude", given, Blocks(2, 2, skip=("*",)))


@pytest.mark.parametrize("bad", [0, -1, 1.5, "4", True])
def test_sizes_are_whole_numbers(bad: object) -> None:
    with pytest.raises(ValueError, match=r"Blocks\(cols=\) must be a whole number >= 1"):
        Blocks(4, bad)


def test_masks_of_another_weight_are_refused() -> None:
    masks = select(score("magnitude", Signals(params={"weight": torch.rand(4, 4)}), Blocks(2, 2)), 0.5)
    for shape in ((4, 2), (8, 8)):
        layer = nn.Linear(*shape[::-1], bias=False)
        before = layer.weight.clone()
        with pytest.raises(ValueError, match=r"mask of 'weight' must be for a weight of shape \(4, 4\)"):
            apply(layer, masks)
        assert torch.equal(layer.weight, before)
    wrong = Masks({"weight": torch.ones(2, 3, dtype=torch.bool)}, layout=masks.layout)
    with pytest.raises(ValueError, match=r"must be of shape \(2, 2\); got \(2, 3\)"):
        apply(nn.Linear(4, 4), wrong)


def test_blocks_are_not_removed() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    masks = select(score("magnitude", gather(model, None, (), needs=()), Blocks(2, 2)), 0.5)
    with pytest.raises(ValueError, match=r"remove\(masks=\) must be of channels; got '2x2 blocks'"):
        fp.remove(model, masks, example_inputs=torch.ones(2, 8))


def test_a_measure_of_norms_has_none_to_read() -> None:
    with pytest.raises(ValueError, match="granularity of channels, whose norms it reads; got 'blocks:2x2'"):
        score("bn_scale", signals((4, 4)), Blocks(2, 2))


def test_frozen_weights_are_named() -> None:
    given = Signals(params={"a": torch.ones(2, 2), "b": torch.ones(2, 2)}, gradient={"a": torch.ones(2, 2)})
    with pytest.raises(PruningError, match=r"must find a weight.*'b' has none.*skip=\('b',\)"):
        score("loss_preservation", given, Blocks(1, 2))
