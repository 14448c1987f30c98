"""What of a channel is read: the weights that make it, or all that touch it."""

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.masks import reduce
from tests.structure.removable import Separable

X = torch.zeros(2, 3)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double()


def scored(net: nn.Module, measure: str = "magnitude_l1", x: torch.Tensor = X, **options) -> fp.Scores:
    return fp.score(measure, fp.gather(net, None, (), needs=()), fp.Channels(x.double()), **options)


def test_a_group_is_its_filter_and_the_columns_that_read_it() -> None:
    net = model()
    first, second, last = (net[i].weight.detach().abs() for i in (0, 2, 4))
    whole = scored(net, members="group")
    torch.testing.assert_close(whole["0.weight"], first.sum(1) + second.sum(0))
    torch.testing.assert_close(whole["2.weight"], second.sum(1) + last.sum(0))
    alone = scored(net)
    torch.testing.assert_close(alone["0.weight"], first.sum(1))
    l2 = scored(net, "magnitude", members="group")
    torch.testing.assert_close(l2["0.weight"], ((first**2).sum(1) + (second**2).sum(0)).sqrt())


def test_signed_contributions_of_makers_and_readers_cancel_before_the_absolute_value() -> None:
    """For two linear layers the rescaling symmetry makes sum theta*g of makers and readers the same number."""
    net = nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False)).double()
    data = [(torch.randn(16, 3).double(), torch.randint(0, 2, (16,)))]
    signals = fp.gather(net, fp.objectives.cross_entropy(), data, needs=("gradient",))
    options = {"reduce": "sum"}
    contributions = {n: signals.params[n] * signals.gradient[n] for n in signals.params}
    layout = fp.Channels(X.double()).layout(signals)
    alone, whole = (reduce(contributions, layout, **_reducer(options), members=m) for m in ("producers", "group"))
    torch.testing.assert_close(whole["0.weight"], 2 * alone["0.weight"])


def _reducer(options: dict) -> dict:
    return {"reducer": options["reduce"]}


@pytest.mark.parametrize("members", ["producers", "group"])
def test_normalisers_divide_by_what_was_read(members: str) -> None:
    net = model()
    plain = scored(net, members=members)
    fan = {"producers": {"0.weight": 3, "2.weight": 5}, "group": {"0.weight": 3 + 4, "2.weight": 5 + 2}}[members]
    by_fan, by_mean = (scored(net, members=members, normalise=how) for how in ("fan_in", "mean"))
    for name, value in plain.items():
        torch.testing.assert_close(by_fan[name], value / fan[name] ** 0.5)
        torch.testing.assert_close(by_mean[name], value / value.mean())


def test_a_depthwise_filter_reads_the_channel_that_it_filters() -> None:
    net = Separable().double()
    x = torch.zeros(2, 3, 8, 8)
    alone, whole = scored(net, x=x), scored(net, x=x, members="group")
    added = whole["stem.weight"] - alone["stem.weight"]
    depthwise = next(m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups == 6)
    expected = depthwise.weight.detach().abs().sum((1, 2, 3)) + net.pw.weight.detach().abs().sum((0, 2, 3))
    torch.testing.assert_close(added, expected)


def test_a_pruner_scores_groups_where_asked() -> None:
    net = model()
    result = fp.prune(net, measure="magnitude", sparsity=0.4, granularity=fp.Channels(X.double()), members="group")
    expected = scored(net, "magnitude", members="group")
    assert all(torch.equal(result.scores[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("measure", "options", "said"),
    [
        ("magnitude", {"members": "all"}, "score\\(members=\\) has no 'all'"),
        ("random", {"members": "group"}, "'producers' with a measure of units"),
    ],
)
def test_what_cannot_be_meant_is_refused(measure: str, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scored(model(), measure, **options)


def test_single_weights_have_no_readers() -> None:
    with pytest.raises(ValueError, match="'producers' with weights"):
        fp.score("magnitude", fp.gather(model(), None, (), needs=()), members="group")
    with pytest.raises(ValueError, match=r"^prune\(members=\)"):
        fp.prune(model(), measure="magnitude", sparsity=0.5, members="all")


@pytest.mark.parametrize("units", [fp.NM(1, 2, skip=("0.weight", "2.weight")), fp.Blocks(2, 1)], ids=["1:2", "2x1"])
def test_parts_of_a_weight_have_no_readers(units) -> None:
    net = model()
    said = r"'producers' with (1:2 weights|2x1 blocks); got 'group'"
    with pytest.raises(ValueError, match=said):
        fp.prune(net, measure="magnitude", sparsity=0.5, granularity=units, members="group")
    signals = fp.gather(net, None, (), needs=())
    with pytest.raises(ValueError, match=said):
        reduce(signals.params, units.layout(signals), "sum", members="group")
