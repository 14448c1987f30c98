"""Each measure against its formula, written out, at both granularities."""

import math

import pytest
import torch

from flowprune.core.errors import PruningError
from flowprune.core.units import Member, UnitGroup
from flowprune.masks import Scores, Weights
from flowprune.measures import MEASURES, Tracked, score
from flowprune.objectives import synaptic_flow
from flowprune.signals import Signals, gather

THETA = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, 1.0]], dtype=torch.float64)
G = torch.tensor([[0.5, 1.0], [-1.0, 2.0], [0.25, 0.25]], dtype=torch.float64)
HG = torch.tensor([[2.0, -1.0], [0.5, 0.5], [-4.0, 1.0]], dtype=torch.float64)
F = torch.tensor([[1.0, 4.0], [0.25, 1.0], [9.0, 0.0]], dtype=torch.float64)
GAMMA = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)


class Rows:
    """Channels of one layer with a norm behind it."""

    name = "channels"

    def layout(self, signals: Signals) -> dict[str, UnitGroup]:
        index = torch.arange(3)
        members = (
            Member("c.weight", 0, index, index, "weight"),
            Member("n.weight", 0, index, index, "norm"),
            Member("n.bias", 0, index, index, "norm"),
            Member("later.weight", 1, index, index, "input"),
        )
        return {"c.weight": UnitGroup("c.weight", 3, members)}


def signals() -> Signals:
    extra = {"n.weight": GAMMA, "n.bias": GAMMA + 1, "later.weight": torch.ones(2, 3, dtype=torch.float64)}

    def named(value: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"c.weight": value, **{name: torch.full_like(p, 0.5) for name, p in extra.items()}}

    return Signals(
        params={"c.weight": THETA, **extra},
        gradient=named(G),
        hessian_gradient=named(HG),
        curvature=named(F),
        fisher=named(F),
        minibatch_fisher=named(F),
        absolute_gradient=named(G.abs()),
    )


def by_row(f) -> list[float]:
    return [f(list(zip(*(t[i].tolist() for t in (THETA, G, HG, F)), strict=True))) for i in range(3)]


CHANNEL = {
    "magnitude": by_row(lambda r: math.sqrt(sum(t * t for t, *_ in r))),
    "magnitude_l1": by_row(lambda r: sum(abs(t) for t, *_ in r)),
    "loss_preservation": by_row(lambda r: sum(abs(t * g) for t, g, *_ in r)),
    "biased_loss": by_row(lambda r: sum(abs(t * t * g) for t, g, *_ in r)),
    "taylor_first_order": by_row(lambda r: abs(sum(t * g for t, g, *_ in r))),
    "gradient_norm_increase": by_row(lambda r: sum(t * h for t, _, h, _ in r)),
    "gradient_norm_preservation": by_row(lambda r: abs(sum(t * h for t, _, h, _ in r))),
    "norm_acceleration": by_row(lambda r: sum(g * g + t * h for t, g, h, _ in r)),
    "fisher": by_row(lambda r: sum(t * t * f for t, _, _, f in r)),
    "minibatch_fisher": by_row(lambda r: sum(t * t * f for t, _, _, f in r)),
    "synflow": by_row(lambda r: sum(t * g for t, g, *_ in r)),
    "iter_snip": by_row(lambda r: sum(abs(t * g) for t, g, *_ in r)),
    "force": by_row(lambda r: sum(abs(t * g) for t, g, *_ in r)),
    "ntk_sap": by_row(lambda r: sum(abs(t * g) for t, g, *_ in r)),
    "prospr": by_row(lambda r: sum(abs(t * g) for t, g, *_ in r)),
    "snip_per_batch": by_row(lambda r: sum(abs(t) * abs(g) for t, g, *_ in r)),
    "lm": by_row(lambda r: sum(abs(t * g) for t, g, *_ in r)),
    "obd": by_row(lambda r: sum(0.5 * f * t * t for t, _, _, f in r)),
    "qm": by_row(lambda r: sum(abs(-g * t + 0.5 * f * t * t) for t, g, _, f in r)),
    "bn_scale": GAMMA.abs().tolist(),
    "bn_fisher": (0.5 * (GAMMA**2 + (GAMMA + 1) ** 2)).tolist(),
}
WEIGHT = {
    "magnitude": THETA.abs(),
    "magnitude_l1": THETA.abs(),
    "loss_preservation": (THETA * G).abs(),
    "biased_loss": THETA**2 * G.abs(),
    "taylor_first_order": (THETA * G).abs(),
    "gradient_norm_increase": THETA * HG,
    "gradient_norm_preservation": (THETA * HG).abs(),
    "norm_acceleration": G**2 + THETA * HG,
    "fisher": THETA**2 * F,
    "minibatch_fisher": THETA**2 * F,
}


@pytest.mark.parametrize("name", CHANNEL)
def test_channel_scores(name: str) -> None:
    scores = score(name, signals(), Rows())
    assert scores["c.weight"].tolist() == pytest.approx(CHANNEL[name], rel=1e-14)


@pytest.mark.parametrize("name", WEIGHT)
def test_weight_scores(name: str) -> None:
    torch.testing.assert_close(score(name, signals(), Weights())["c.weight"], WEIGHT[name], rtol=1e-14, atol=0)


def test_the_sign_of_grasp_keeps_what_lowers_the_gradient_norm() -> None:
    """RT-3: the most negative theta*Hg goes first, since its removal raises the norm by -2 theta*Hg (E7)."""
    from flowprune.masks import select

    scores = score("gradient_norm_increase", signals(), Weights(skip=("n.*", "later.*")))
    masks = select(scores, 1 / 6, min_keep=0)
    lowest = (THETA * HG).flatten().argmin()
    assert (~masks["c.weight"]).flatten().nonzero().item() == lowest


@pytest.mark.parametrize("reducer", ["sum", "sum_abs", "abs_sum", "l2"])
def test_reducers_can_be_overridden(reducer: str) -> None:
    c = THETA * G
    expected = {
        "sum": c.sum(1),
        "sum_abs": c.abs().sum(1),
        "abs_sum": c.sum(1).abs(),
        "l2": c.square().sum(1).sqrt(),
    }[reducer]
    torch.testing.assert_close(score("loss_preservation", signals(), Rows(), reduce=reducer)["c.weight"], expected)


def test_biased_loss_takes_the_distance_from_initialization() -> None:
    initial = {name: value - 0.1 for name, value in signals().params.items()}
    scores = score("biased_loss", signals(), Rows(), initial=initial)
    torch.testing.assert_close(scores["c.weight"], 0.1 * (THETA * G).abs().sum(1))
    with pytest.raises(ValueError, match=r"biased_loss\(initial=\)"):
        score("biased_loss", signals(), Rows(), initial={})


@pytest.mark.parametrize("name", [n for n in MEASURES if n != "phew"])  # it walks a model
def test_contract_every_measure_is_pure_deterministic_and_keeps_type_and_device(name: str) -> None:
    given, granularity = signals(), Rows()
    before = {n: p.clone() for n, p in given.params.items()}
    first, second = score(name, given, granularity), score(name, given, granularity)
    assert isinstance(first, Scores)
    assert torch.equal(first["c.weight"], second["c.weight"])
    assert first["c.weight"].shape == (3,)
    assert all(torch.equal(p, given.params[n]) for n, p in before.items())
    measure = MEASURES[name]
    assert measure.name == name
    assert measure.formula
    assert measure.source.year > 1980
    if measure.on != "unit":
        assert first["c.weight"].dtype == torch.float64


@pytest.mark.parametrize("name", [n for n in MEASURES if MEASURES[n].needs])
def test_contract_a_missing_signal_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"needs=\(|Signals\(curvature="):
        score(name, Signals(params=signals().params), Rows())


def test_random_scores_units_and_not_sums_over_fan_in() -> None:
    scores = score("random", signals(), Rows(), seed=3)
    assert bool(((scores["c.weight"] >= 0) & (scores["c.weight"] < 1)).all())
    assert not torch.equal(scores["c.weight"], score("random", signals(), Rows(), seed=4)["c.weight"])


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no 'magnitud'\. Did you mean 'magnitude'\? Known:.*taylor_first_order"):
        score("magnitud", signals(), Rows())
    with pytest.raises(KeyError, match="Known: abs_sum, l2, sum, sum_abs"):
        score("magnitude", signals(), Rows(), reduce="mean")
    with pytest.raises(ValueError, match=r"options.*seeds"):
        score("random", signals(), Rows(), seeds=1)


def test_scores_that_are_not_finite_are_refused() -> None:
    bad = Signals(params={"w": torch.ones(2)}, gradient={"w": torch.tensor([1.0, float("nan")])})
    with pytest.raises(ValueError, match="NaN or infinite"):
        score("loss_preservation", bad)


def test_norm_measures_need_channels_and_a_norm() -> None:
    with pytest.raises(ValueError, match="granularity of channels"):
        score("bn_scale", signals(), Weights())

    class Bare(Rows):
        def layout(self, signals: Signals) -> dict[str, UnitGroup]:
            group = super().layout(signals)["c.weight"]
            return {"c.weight": UnitGroup("c.weight", 3, group.members[:1])}

    with pytest.raises(PruningError, match=r"must find a norm.*'c\.weight'"):
        score("bn_scale", signals(), Bare())


def test_grouped_units_add_up_their_slices() -> None:
    class Pairs:
        name = "channels"

        def layout(self, signals: Signals) -> dict[str, UnitGroup]:
            member = Member("w", 0, torch.arange(4), torch.tensor([0, 1, 0, 1]), "weight")
            return {"w": UnitGroup("w", 2, (member,))}

    s = Signals(params={"w": torch.tensor([[1.0], [2.0], [3.0], [4.0]])})
    assert score("magnitude_l1", s, Pairs())["w"].tolist() == [4.0, 6.0]


def test_tracked_average_weighs_the_new_value_by_alpha() -> None:
    track = Tracked(0.8)
    for value in (1.0, 2.0):
        track = track.update({"w": torch.tensor([value])})
    assert track.scores["w"].item() == pytest.approx(0.8 * 2.0 + 0.2 * 0.8 * 1.0)
    with pytest.raises(ValueError, match="same units"):
        track.update({"v": torch.ones(1)})


def test_weight_granularity_leaves_biases_and_norms_out() -> None:
    """RT-15: the denominator is stated: tensors of two or more axes."""
    s = signals()
    gathered = Signals(params=s.params, prunable=frozenset({"c.weight", "later.weight"}))
    assert list(score("magnitude", gathered, Weights())) == ["c.weight", "later.weight"]
    assert list(score("magnitude", gathered, Weights(skip=("later.*",)))) == ["c.weight"]
    with pytest.raises(PruningError, match="must offer a unit"):
        score("magnitude", gathered, Weights(skip=("*",)))


def test_synaptic_flow_is_conserved_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 7, bias=False), torch.nn.ReLU(), torch.nn.Linear(7, 5, bias=False), torch.nn.ReLU(),
        torch.nn.Linear(5, 3, bias=False),
    ).double()  # fmt: skip
    given = gather(model, synaptic_flow(), [(torch.zeros(2, 4).double(), None)])
    scores = score("synflow", given)
    assert all(bool((s >= 0).all()) for s in scores.values())
    assert [float(s.sum()) for s in scores.values()] == pytest.approx([given.loss] * 3)


def test_channels_without_a_unit_are_an_error_and_never_single_weights() -> None:
    class Nothing(Rows):
        def layout(self, signals: Signals) -> dict[str, UnitGroup]:
            return {}

    with pytest.raises(PruningError, match="must offer a unit; channels offered none"):
        score("magnitude", signals(), Nothing())
    with pytest.raises(ValueError, match=r"score\(granularity=\) must be fp.Weights"):
        score("magnitude", signals(), "channels")


def test_a_frozen_weight_is_not_silently_left_out_of_the_denominator() -> None:
    part = Signals(params={"a": THETA, "b": THETA}, gradient={"a": G})
    with pytest.raises(PruningError, match="'b' and 0 more have none"):
        score("loss_preservation", part)
    assert list(score("loss_preservation", part, Weights(skip=("b",)))) == ["a"]


def test_half_precision_is_reduced_in_single() -> None:
    half = Signals(params={"c.weight": torch.full((3, 400), 20.0, dtype=torch.float16)})
    assert score("magnitude", half, Plain())["c.weight"].tolist() == [400.0] * 3


class Plain(Rows):
    """The same without a norm."""

    def layout(self, signals: Signals) -> dict[str, UnitGroup]:
        group = super().layout(signals)["c.weight"]
        return {"c.weight": UnitGroup("c.weight", 3, group.members[:1])}


def test_tracked_scores_keep_their_layout() -> None:
    scores = score("magnitude", signals(), Plain())
    assert Tracked().update(scores).update(scores).scores.layout is not None
    assert Tracked().update(scores).scores.layout.keys() == {"c.weight"}
