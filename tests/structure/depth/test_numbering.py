"""Numbers that are about layers, and numbers that only look so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.structure.depth import drop_, moved
from tests.structure.depth.residual import hugging_face


class Layer(nn.Module):
    def __init__(self, number, **attributes):
        super().__init__()
        self.layer_idx, self.dilation = number, number
        self.weight = nn.Linear(2, 2)
        vars(self).update(attributes)


class Tower(nn.Module):
    def __init__(self, config, layers=3, first=0):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(i + first) for i in range(layers))


@pytest.mark.parametrize(
    ("name", "gone", "after"),
    [
        ("layers.2.w", ["layers.0"], "layers.1.w"),
        ("layers.2.w", ["layers.3"], "layers.2.w"),
        ("other.2.w", ["layers.0"], "other.2.w"),
        ("2.layers.2.w", ["0", "2.layers.1"], "1.layers.1.w"),
        ("stem.w", ["a"], "stem.w"),
        ("11.w", ["2", "9"], "9.w"),
    ],
)
def test_names_move_up(name, gone, after):
    assert moved(name, gone) == after


@pytest.mark.parametrize("first", [0, 1, 5])
def test_layers_are_numbered_anew_from_where_they_began(first):
    tower = Tower(SimpleNamespace(), 4, first)
    drop_(tower, ["layers.0", "layers.2"])
    assert [layer.layer_idx for layer in tower.layers] == [first, first + 1]
    assert [layer.dilation for layer in tower.layers] == [first + 1, first + 3]  # no number of a layer


def test_numbers_that_do_not_count_are_left():
    tower = Tower(SimpleNamespace(), 3)
    tower.layers[1].layer_idx = 7
    drop_(tower, ["layers.0"])
    assert [layer.layer_idx for layer in tower.layers] == [7, 2]


def test_counts_and_lists_by_layer_follow():
    kinds = ["a", "b", "c"]
    config = SimpleNamespace(num_hidden_layers=3, n_layer=3, layer_types=kinds, hidden_sizes=[1, 2, 3], vocab_size=3)
    tower = Tower(config)
    tower.depth = 3
    drop_(tower, ["layers.1"])
    assert (config.num_hidden_layers, config.n_layer, config.vocab_size, tower.depth) == (2, 2, 3, 2)
    assert config.layer_types == ["a", "c"]
    assert config.hidden_sizes == [1, 2, 3]
    assert kinds == ["a", "b", "c"]


def test_a_count_is_about_the_outermost_container_of_its_size():
    config = SimpleNamespace(num_layers=3, depths=[3, 2, 3])
    tower = Tower(config)
    for layer, depth in zip(tower.layers, config.depths, strict=True):
        layer.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(depth))
    drop_(tower, ["layers.0.blocks.1", "layers.2.blocks.0", "layers.2.blocks.2"])
    assert config.num_layers == 3
    assert config.depths == [2, 2, 1]


def test_encoder_and_decoder_are_counted_apart():
    pair = nn.Module()
    pair.config = SimpleNamespace(encoder_layers=2, decoder_layers=2, num_hidden_layers=2)
    pair.encoder, pair.decoder = Tower(None, 2), Tower(None, 2)
    drop_(pair, ["decoder.layers.0"])
    assert vars(pair.config) == {"encoder_layers": 2, "decoder_layers": 1, "num_hidden_layers": 2}


def test_a_setting_that_cannot_be_made_leaves_the_model_whole():
    class Strict(SimpleNamespace):
        def __setattr__(self, name, value):
            if name == "layer_types":
                raise ValueError("one for each layer")
            super().__setattr__(name, value)

    tower = Tower(Strict(num_layers=3))
    vars(tower.config)["layer_types"] = ["a", "b", "c"]
    with pytest.raises(PruningError, match="'layer_types' of a Strict raised ValueError: one for each layer"):
        drop_(tower, ["layers.0"])
    assert len(tower.layers) == tower.config.num_layers == 3
    assert [layer.layer_idx for layer in tower.layers] == [0, 1, 2]


def test_undo_puts_everything_back():
    model, _ = hugging_face("qwen3")
    names, kinds = list(model.state_dict()), list(model.config.layer_types)
    dropped = drop_(model, ["model.layers.0", "model.layers.2"])
    assert model.config.num_hidden_layers == 2
    dropped.undo()
    assert list(model.state_dict()) == names
    assert model.config.layer_types == kinds
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]
