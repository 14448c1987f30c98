"""Masked weights are zero and stay zero (RT-8)."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.masks import Masks, Scores, apply, check_zeros, expand, masks_of, release, select

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd momentum decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "for-each off": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.randint(0, 4, (8,))).backward()
        optimizer.step()


def half(model: nn.Module) -> Masks:
    weights = {n: p.detach().abs() for n, p in model.named_parameters() if p.dim() > 1}
    return select(weights, 0.5)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_masked_weights_stay_exactly_zero_under_any_optimizer(make) -> None:
    model = network()
    optimizer = make(model.parameters())
    train(model, optimizer, 3)  # momenta of the dense phase
    masks = half(model)
    apply(model, masks)
    for _ in range(3):
        train(model, optimizer, 1)
        saved = model.state_dict()
        for name, mask in masks.items():
            assert torch.count_nonzero(saved[name][~mask]) == 0
            assert torch.count_nonzero(saved[name][mask]) == mask.sum()
    check_zeros(model)


def test_an_optimizer_built_later_and_a_hand_written_update_keep_the_zeros() -> None:
    model = network()
    masks = half(model)
    apply(model, masks)
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), 2)
    nn.functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.randint(0, 4, (8,))).backward()
    for param in model.parameters():
        param.data -= 0.1 * param.grad
    check_zeros(model)
    assert masks.sparsity == 0.5


def test_state_dict_has_the_names_and_size_of_the_plain_model() -> None:
    model = network()
    names, size = list(model.state_dict()), len(pickle.dumps(model.state_dict()))
    apply(model, half(model))
    assert list(model.state_dict()) == names
    assert len(pickle.dumps(model.state_dict())) == size


@pytest.mark.parametrize("how", ["deepcopy", "torch.save"])
def test_copies_keep_their_zeros_and_do_not_share_them(how: str) -> None:
    model = network()
    apply(model, half(model))
    if how == "deepcopy":
        other = copy.deepcopy(model)
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    train(other, torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1), 2)
    check_zeros(other)
    assert torch.count_nonzero(other[0].weight) == torch.count_nonzero(model[0].weight)
    release(other)
    train(other, torch.optim.SGD(other.parameters(), lr=0.1), 1)
    assert torch.count_nonzero(other[0].weight) > torch.count_nonzero(model[0].weight)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 1)
    check_zeros(model)


def test_loading_dense_weights_into_a_masked_model_keeps_the_zeros() -> None:
    model = network()
    dense = copy.deepcopy(model.state_dict())
    apply(model, half(model))
    model.load_state_dict(dense)
    check_zeros(model)


def test_a_second_call_replaces_the_first_and_regrown_weights_train() -> None:
    model = nn.Linear(4, 1, bias=False)
    apply(model, {"weight": torch.tensor([[True, True, False, False]])})
    apply(model, {"weight": torch.tensor([[False, True, True, False]])})
    model(torch.ones(1, 4)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert (model.weight != 0).tolist() == [[False, True, True, False]]


def test_check_zeros_names_what_moved() -> None:
    model = apply(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})
    with torch.no_grad():
        model.weight.fill_(1.0)
    with pytest.raises(PruningError, match="1 of 'weight' are not"):
        check_zeros(model)


def test_masks_for_another_model_are_refused_and_nothing_changes() -> None:
    model, before = network(), copy.deepcopy(network().state_dict())
    with pytest.raises(ValueError, match="made for this model"):
        apply(model, Masks({"0.weight": torch.zeros(6, dtype=torch.bool)}, fingerprint="0" * 12))
    with pytest.raises(KeyError, match=r"has no 'conv\.weight'"):
        apply(model, {"conv.weight": torch.ones(6, dtype=torch.bool)})
    with pytest.raises(ValueError, match="of shape"):
        apply(model, {"0.weight": torch.ones(5, dtype=torch.bool)})
    with pytest.raises(ValueError, match="a boolean tensor"):
        Masks({"0.weight": torch.ones(6)})
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_channel_masks_without_a_layout_warn_where_a_norm_follows() -> None:
    mask = torch.tensor([True, False] * 3)
    with pytest.warns(UserWarning, match="without a layout"):
        model = apply(network(), {"0.weight": mask})
    assert torch.count_nonzero(model[0].weight[~mask]) == torch.count_nonzero(model[0].bias[~mask]) == 0


def test_expand_reaches_every_entry_of_a_group() -> None:
    from flowprune.core.units import Member, UnitGroup

    index = torch.arange(2)
    group = UnitGroup(
        "c.weight",
        2,
        (
            Member("c.weight", 0, index, index, "weight"),
            Member("n.bias", 0, index, index, "norm"),
            Member("n.running_mean", 0, index, index, "statistic"),
            Member("d.weight", 1, torch.arange(4), torch.tensor([0, 0, 1, 1]), "input"),
        ),
    )
    params = {"c.weight": torch.ones(2, 3), "n.bias": torch.ones(2), "d.weight": torch.ones(1, 4)}
    masks = Masks({"c.weight": torch.tensor([True, False])}, layout={"c.weight": group})
    keep = expand(params, masks)
    assert set(keep) == {"c.weight", "n.bias"}
    assert keep["c.weight"].tolist() == [[True], [False]]


def test_masks_round_trip_and_damage_is_told(tmp_path) -> None:
    from flowprune.core.units import rows

    scores = Scores({"w": torch.randn(9), "v": torch.randn(17)}, layout={"w": rows("w", 9), "v": rows("v", 17)})
    masks = select(scores, 0.3)
    path = masks.save(tmp_path / "masks.safetensors")
    back = Masks.load(path)
    assert all(torch.equal(back[name], masks[name]) for name in masks)
    assert back.layout["v"].members[0].role == "weight"
    assert back.layout["v"].size == 17
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(PruningError, match="does not match its checksum"):
        Masks.load(path)
    path.unlink()
    with pytest.raises(PruningError, match="needs"):
        Masks.load(path)


def test_masks_that_are_not_boolean_are_refused() -> None:
    layer = nn.Linear(3, 2)
    for bad in (torch.full((2, 3), 0.5), [True, False]):
        with pytest.raises(ValueError, match="must be a boolean tensor"):
            apply(layer, {"weight": bad})
    with pytest.raises(ValueError, match="a mapping of names"):
        apply(layer, [torch.ones(2, 3, dtype=torch.bool)])


def test_parameters_put_in_place_by_loading_are_kept_and_replaced_ones_are_told() -> None:
    model = network()
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    masks = half(model)
    apply(model, masks)
    model.load_state_dict(dense, assign=True)
    check_zeros(model)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), 2)
    check_zeros(model)
    model[0].weight = nn.Parameter(torch.ones_like(model[0].weight))
    with pytest.raises(PruningError, match=r"'0\.weight' was replaced"):
        check_zeros(model)


def test_a_masked_entry_is_zero_whatever_it_held() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, float("nan")]]))
    apply(layer, {"weight": torch.tensor([[True, False]])})
    assert layer.weight.tolist() == [[1.0, 0.0]]


def test_gradients_of_a_parameter_unfrozen_later_are_masked_too() -> None:
    layer = nn.Linear(2, 1, bias=False).requires_grad_(False)
    apply(layer, {"weight": torch.tensor([[True, False]])})
    assert not layer.weight.requires_grad
    layer.requires_grad_(True)
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad.tolist() == [[1.0, 0.0]]


def test_tied_parameters_are_masked_by_either_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    apply(model, {"b.weight": torch.tensor([[True, False], [True, True]])})
    assert list(masks_of(model)) == ["a.weight"]
    assert model["a"].weight[0, 1] == 0
