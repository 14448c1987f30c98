"""N:M: every run has exactly n, the best ones; the sparsity is the pattern's; what does not fit is told."""

import warnings

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.masks import NM, Masks, Scores, apply, expand, is_n_m, select, select_round
from flowprune.measures import score
from flowprune.signals import Signals, gather
from tests.reference.patterns import literal_n_m

PATTERNS = [(2, 4), (1, 4), (3, 4), (1, 2), (1, 3), (4, 8), (5, 6), (2, 12)]
SHAPES = {"linear": (5, 24), "conv": (4, 24, 3, 3), "conv1d": (3, 24, 2)}


def scores_of(params: dict[str, torch.Tensor], n: int, m: int) -> Scores:
    return score("magnitude", Signals(params=params), NM(n, m))


def drawn(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    draw = {
        "normal": lambda: torch.randn(shape, generator=g),
        "ties": lambda: torch.randint(0, 3, shape, generator=g).float(),
        "constant": lambda: torch.ones(shape),
        "zero": lambda: torch.zeros(shape),
        "float64": lambda: torch.randn(shape, generator=g, dtype=torch.float64) * 1e-150,
        "bfloat16": lambda: torch.randn(shape, generator=g).bfloat16(),
    }
    return draw[kind]()


@pytest.mark.parametrize("kind", ["normal", "ties", "constant", "zero", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_the_n_best_of_every_m_stay_and_ties_go_to_the_lower_position(kind, shape, pattern) -> None:
    weight = drawn(kind, shape)
    masks = select(scores_of({"w": weight}, *pattern))
    assert is_n_m(masks["w"], *pattern)
    assert torch.equal(masks["w"], literal_n_m(weight.float().abs() if kind == "bfloat16" else weight.abs(), *pattern))
    assert masks.total - masks.kept == round((1 - pattern[0] / pattern[1]) * masks.total)


def test_no_layer_competes_with_another() -> None:
    g = torch.Generator().manual_seed(0)
    params = {"small": 1e-6 * torch.randn(4, 8, generator=g), "large": 1e6 * torch.randn(4, 8, generator=g)}
    scores = scores_of(params, 2, 4)
    both = [select(scores, 0.5, scope=scope) for scope in ("global", "local")]
    for name in params:
        assert torch.equal(both[0][name], both[1][name])
        assert torch.equal(both[0][name], select(scores_of({name: params[name]}, 2, 4))[name])


def test_runs_lie_along_the_inputs_of_an_output_at_one_position_of_the_kernel() -> None:
    """The matrix a convolution with channels last multiplies by has N:M rows."""
    mask = select(scores_of({"w": drawn("normal", (6, 8, 3, 3))}, 2, 4))["w"]
    matrix = mask.permute(0, 2, 3, 1).reshape(6, -1)
    assert bool((matrix.view(6, -1, 4).sum(-1) == 2).all())
    assert is_n_m(matrix, 2, 4)


def test_a_transposed_convolution_has_its_inputs_first() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(8, 3, 2, bias=False))
    masks = select(score("magnitude", gather(model, None, (), needs=()), NM(2, 4)))
    assert masks["0.weight"].shape == (8, 3, 2, 2)
    assert is_n_m(masks["0.weight"], 2, 4, axis=0)
    assert torch.equal(
        masks["0.weight"], literal_n_m(model[0].weight.detach().abs().transpose(0, 1), 2, 4).transpose(0, 1)
    )


def test_rounds_of_a_weight_with_its_inputs_first() -> None:
    scores = score("magnitude", gather(nn.ConvTranspose2d(8, 3, 2, bias=False), None, (), needs=()), NM(2, 4))
    first = select_round(scores, 0.3)
    assert torch.equal(select(scores, within=first)["weight"], select(scores)["weight"])


def test_weights_stored_the_other_way_round_by_gpt2_have_their_inputs_first() -> None:
    """Only the name and its two sizes are looked at: the library that has the class need not be there."""

    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nf, self.weight = 6, nn.Parameter(torch.randn(8, 6))

    scores = score("magnitude", gather(nn.Sequential(Conv1D()), None, (), needs=()), NM(2, 4))
    assert is_n_m(select(scores)["0.weight"], 2, 4, axis=0)


def test_scores_are_those_of_single_weights() -> None:
    g = torch.Generator().manual_seed(0)
    w, grad = torch.randn(4, 8, generator=g), torch.randn(4, 8, generator=g)
    given = Signals(params={"w": w}, gradient={"w": grad})
    for name in ("magnitude", "loss_preservation", "taylor_first_order", "random"):
        for how in ("none", "mean", "fan_in"):
            plain, own = (score(name, given, unit, normalise=how)["w"] for unit in (fp.Weights(), NM(2, 4)))
            assert torch.equal(plain, own)


def test_the_matrix_is_accepted_by_the_sparse_matrix_unit() -> None:
    """What is compressed to two of four and back is the masked weight."""
    from torch.sparse._semi_structured_conversions import (
        sparse_semi_structured_from_dense_cutlass,
        sparse_semi_structured_to_dense_cutlass,
    )

    layer = nn.Linear(64, 32, bias=False)
    result = fp.prune(layer, measure="magnitude", granularity=NM(2, 4))
    dense = result.model.weight.detach().half()
    sparse, places = sparse_semi_structured_from_dense_cutlass(dense)
    assert sparse.shape == (32, 32)
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(sparse, places), dense)


def test_the_sparsity_is_the_patterns_and_may_be_left_out() -> None:
    scores = scores_of({"w": drawn("normal", (4, 24))}, 1, 3)
    assert torch.equal(select(scores)["w"], select(scores, 2 / 3)["w"])
    assert torch.equal(select(scores)["w"], select(scores, {"w": 1 - 1 / 3})["w"])
    for wrong in (0.5, 0.0, {"w": 0.5}):
        with pytest.raises(ValueError, match=r"select\(sparsity=\) must be 0\.66666.*, the sparsity of 1:3 weights"):
            select(scores, wrong)
    with pytest.raises(
        ValueError, match=r"select\(sparsity=\) must be given for the layers; got None.*of one N:M pattern"
    ):
        select({"w": torch.ones(3)})


def test_what_would_break_the_pattern_is_refused() -> None:
    scores = scores_of({"w": drawn("normal", (4, 8)), "v": drawn("normal", (2, 4))}, 2, 4)
    with pytest.raises(ValueError, match=r"select\(protect=\) must be empty for 2:4 weights.*skip="):
        select(scores, protect=("v",))
    with pytest.raises(PruningError, match="are protected"):
        select(scores, min_keep={"w": 17})
    assert is_n_m(select(scores, min_keep={"w": 16})["w"], 2, 4)
    scores["w"][0, 0] = float("nan")
    with pytest.raises(ValueError, match="'w' NaN"):
        select(scores)


@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_what_is_cut_stays_cut(kind: str) -> None:
    weight = drawn(kind, (6, 24))
    first = select(scores_of({"w": weight}, 3, 4))
    again = scores_of({"w": 1.0 - weight.abs()}, 2, 4)
    masks = select(again, within=first)
    assert not bool((masks["w"] & ~first["w"]).any())
    assert torch.equal(masks["w"], literal_n_m(again["w"], 2, 4, alive=first["w"]))
    with pytest.raises(PruningError, match=r"select\(within=\) must leave 3 of every 4 weights to keep; 36 runs"):
        select(scores_of({"w": weight}, 3, 4), within=masks)


@pytest.mark.parametrize("scope", ["global", "local"])
def test_rounds_end_at_the_pattern_and_are_nested(scope: str) -> None:
    """On the way the best n of every m stay, and exactly as many of the others go as are asked for."""
    g = torch.Generator().manual_seed(0)
    before: Masks | None = None
    for target in (0.0, 0.1, 0.33, 0.5):
        params = {"a": torch.randn(5, 8, generator=g), "b": 3 * torch.randn(2, 4, 3, 3, generator=g)}
        scores = scores_of(params, 2, 4)
        masks = select_round(scores, target, scope=scope, within=before)
        counts = [s.numel() for s in scores.values()]
        asked = round(target * sum(counts)) if scope == "global" else sum(round(target * n) for n in counts)
        assert masks.total - masks.kept == asked
        for name, score_ in scores.items():
            best = literal_n_m(score_, 2, 4, alive=None if before is None else before[name])
            assert not bool((best & ~masks[name]).any())
            assert before is None or not bool((masks[name] & ~before[name]).any())
        before = masks
    assert all(is_n_m(mask, 2, 4) for mask in before.values())
    with pytest.raises(PruningError, match="are protected"):
        select_round(scores, 0.6)


def test_weights_that_do_not_fit_are_told_and_not_counted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1), nn.Linear(6, 4))
    given, units = gather(model, None, (), needs=()), NM(2, 4)
    reasons = {
        "0.weight": "3 inputs are no multiple of 4",
        "1.weight": "1 inputs are no multiple of 4",
        "3.weight": "6 inputs are no multiple of 4",
    }
    assert units.left_out(given) == reasons
    with pytest.warns(UserWarning, match=r"NM\(2, 4\) leaves .*'0\.weight' \(3 inputs are no multiple of 4\)"):
        scores = score("magnitude", given, units)
    assert list(scores) == ["2.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(score("magnitude", given, NM(2, 4, skip=tuple(reasons)))) == ["2.weight"]
    with pytest.raises(PruningError, match="nm:2:4 offered none"), pytest.warns(UserWarning, match="leaves weights"):
        score("magnitude", Signals(params={"w": torch.ones(2, 3)}), units)


def test_masks_have_the_weights_shape_and_are_saved(tmp_path) -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4))
    masks = select(score("magnitude", gather(model, None, (), needs=()), NM(2, 4)))
    assert repr(masks) == "Masks(2 layers, 24 of 48 2:4 weights kept, sparsity 0.5000)"
    back = Masks.load(masks.save(tmp_path / "masks.safetensors"))
    assert repr(back) == repr(masks)
    assert back.layout["0.weight"].sparsity == 0.5
    for each in (masks, back, dict(masks)):
        apply(model, each)
        assert all(torch.equal(model.get_parameter(n) != 0, masks[n]) for n in masks)
    assert all(torch.equal(expand(dict(model.named_parameters()), back)[n], masks[n]) for n in masks)
    with pytest.raises(ValueError, match=r"remove\(masks=\) must be of channels; got '2:4 weights'"):
        fp.remove(model, masks, example_inputs=torch.ones(2, 8))


@pytest.mark.parametrize(
    ("n", "m", "said"), [(0, 4, r"NM\(n=\)"), (2, 2.0, r"NM\(m=\)"), (4, 4, "n < m"), (5, 4, "n < m")]
)
def test_a_pattern_keeps_some_and_cuts_some(n, m, said) -> None:
    with pytest.raises(ValueError, match=said):
        NM(n, m)


def test_the_check_sees_one_wrong_run() -> None:
    mask = torch.tensor([[True, False, False, True] * 2])
    assert is_n_m(mask, 2, 4)
    mask[0, 6] = True
    assert not is_n_m(mask, 2, 4)
    assert not is_n_m(mask[:, :6], 2, 4)
