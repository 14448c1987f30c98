"""What is offered, and why the rest is not."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.structure import trace_depth
from tests.structure.depth.residual import Mlp, PostNorm, hugging_face, network, residual_mlp, signals_of

X = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))


def reasons(model, x=X):
    return {refusal.node: refusal.reason for refusal in trace_depth(model, x).refusals}


def offered(model, x=X):
    return {name: group.modules for name, group in trace_depth(model, x).groups.items()}


def test_a_norm_on_the_sum_is_refused():
    model = residual_mlp(2, PostNorm)
    assert offered(model) == {}
    assert all("a layer acts on that sum" in reason for reason in reasons(model).values())
    assert list(reasons(model)) == ["1", "2"]


def test_the_layers_of_bert_are_named_with_the_reason():
    model, inputs = hugging_face("bert")
    found = trace_depth(model, inputs)
    assert not found.groups
    assert [r.node for r in found.refusals] == [f"bert.encoder.layer.{i}" for i in range(4)]
    assert "modeling_bert.py" in found.refusals[0].where
    assert "BertLayer" in str(found.refusals[0])
    with pytest.raises(fp.PruningError, match=r"bert.encoder.layer.0 \(BertLayer\): masked, it does not give back"):
        fp.Depth(example_inputs=inputs).layout(signals_of(model))


def test_a_block_that_changes_the_width_is_refused():
    model, x = network("resnet20"), torch.randn(2, 3, 8, 8)
    assert reasons(model, x) == {
        "stages.1.0": "it gives (2, 32, 4, 4) for an input of (2, 16, 8, 8)",
        "stages.2.0": "it gives (2, 64, 2, 2) for an input of (2, 32, 4, 4)",
    }


def test_an_activation_on_a_sum_that_may_be_negative_is_refused():
    class Relu(Mlp):
        def forward(self, x):
            return torch.relu(super().forward(x))

    model = residual_mlp(3, Relu)
    assert offered(model) == {"": ("2", "3")}  # what the first one gives is not negative
    assert list(reasons(model)) == ["1"]
    with torch.no_grad():  # by accident the sum is positive with these weights
        model[0].weight.zero_()
        model[0].bias.fill_(1.0)
    assert offered(model.double(), X.double()) == {"": ("2", "3")}


def test_an_output_that_is_zero_proves_nothing():
    model = residual_mlp(2, PostNorm)
    nn.init.zeros_(model[-1].weight)
    assert offered(model) == {}


def test_what_is_shared_is_refused():
    model = residual_mlp(3)
    model[1].up.weight = model[3].up.weight
    assert reasons(model) == {"1": "its up.weight is used by '3.up' too", "3": "its up.weight is used by '1.up' too"}
    twice = residual_mlp(3)
    twice[2] = twice[1]
    assert offered(twice) == {"": ("3",)}
    assert "the block itself is used" in reasons(twice)["1"]


def test_an_alias_of_the_container_does_no_harm():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = residual_mlp(3)
            self.layers = self.body

        def forward(self, x):
            return self.layers(x)

    assert offered(Wrapper()) == {"body": ("body.1", "body.2", "body.3")}


def test_blocks_that_are_called_by_place_are_refused():
    class ByPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(Mlp(5) for _ in range(3))

        def forward(self, x):
            return self.layers[2](2 * self.layers[1](2 * self.layers[0](x)))

    assert offered(ByPlace()) == {}
    assert "without it, the model must run in eval mode; it raised IndexError" in reasons(ByPlace())["layers.1"]


def test_blocks_that_a_list_holds_as_well_are_refused():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*[Mlp(5) for _ in range(3)])
            self.order = list(self.layers)

        def forward(self, x):
            for layer in self.order:
                x = layer(x)
            return x

    assert offered(Hidden()) == {}
    assert "differs" in reasons(Hidden())["layers.0"]


def test_blocks_that_go_one_at_a_time_and_not_together_are_refused():
    class AtLeastTwo(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(Mlp(5) for _ in range(4))

        def forward(self, x):
            self.layers[1]
            for layer in self.layers:
                x = layer(x)
            return x

    assert offered(AtLeastTwo()) == {}
    assert reasons(AtLeastTwo())["layers.3"].startswith("several blocks at once: without it")


def test_what_is_not_called_is_refused():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([Mlp(5), Mlp(5)])

        def forward(self, x):
            return self.layers[0](x)

    assert reasons(Unused())["layers.1"] == "the forward pass does not call it"


def test_the_innermost_blocks_are_offered():
    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(Mlp(5), Mlp(5))

        def forward(self, x):
            return self.layers(x)

    assert list(offered(nn.Sequential(Stage(), Stage()))) == ["0.layers", "1.layers"]


def test_scalars_and_blocks_without_layers():
    class Rezero(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.scale = nn.Parameter(torch.eye(5)), nn.Parameter(torch.tensor(0.0))

        def forward(self, x):
            return x + self.scale * (x @ self.weight)

    model = nn.Sequential(Rezero(), Rezero(), nn.Linear(5, 2))
    layout = trace_depth(model, X).groups
    assert [m.name for m in layout[""].members] == ["0.weight", "1.weight"]
    masks = fp.Masks({"": torch.tensor([True, False])}, layout=layout)
    assert len(list(fp.remove(model, masks, example_inputs=X).parameters())) == 4


def test_random_depth_in_training_is_compared_in_evaluation_alone():
    class Drop(Mlp):
        def forward(self, x):
            branch = super().forward(x) - x
            return x + (branch * (torch.rand(()) > 0.5) if self.training else branch)

    assert offered(residual_mlp(2, Drop)) == {"": ("1", "2")}


def test_the_model_is_left_as_it_was():
    model = residual_mlp().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state()
    trace_depth(model, X)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model[1].training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_there_is_a_time_limit():
    class Slow(Mlp):
        def forward(self, x):
            time.sleep(0.05)
            return super().forward(x)

    with pytest.raises(fp.PruningError, match=r"trace_depth\(time_limit=\) stopped after 0.2 s"):
        trace_depth(residual_mlp(20, Slow), X, time_limit=0.2)


def test_a_wrong_input_is_told():
    with pytest.raises(fp.PruningError, match="must run on the example inputs in eval mode"):
        trace_depth(residual_mlp(), torch.randn(2, 4))
    with pytest.raises(ValueError, match="trace_depth"):
        trace_depth(Mlp, X)


def test_an_output_that_cannot_be_compared_is_told():
    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = residual_mlp()

        def forward(self, x):
            return SimpleNamespace(logits=self.body(x))

    with pytest.raises(ValueError, match="output holds tensors to compare"):
        trace_depth(Opaque(), X)


def test_a_network_without_blocks_has_no_units():
    model = fp.models.build("digits_convnet")
    with pytest.raises(fp.PruningError, match=r"no child of an nn.Sequential or nn.ModuleList adds to its input"):
        fp.Depth(example_inputs=torch.randn(2, 1, 8, 8)).layout(signals_of(model))


def test_the_error_where_there_is_no_block_is_of_whole_sentences():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2))
    with pytest.raises(fp.PruningError, match=r"there is none: no child of an nn\.Sequential or nn\.ModuleList adds"):
        fp.prune(model, measure="magnitude", sparsity=0.5, granularity=fp.Depth(example_inputs=X))


class Zipped(nn.Module):
    """Goes through its blocks together with something else."""

    def __init__(self, beside):
        super().__init__()
        self.blocks = nn.ModuleList(Mlp(5) for _ in range(3))
        self.beside = beside

    def forward(self, x):
        for block, scale in zip(self.blocks, self.beside, strict=False):
            x = block(x * scale)
        return x


@pytest.mark.parametrize("beside", [[0.5, 1.5, 2.5], nn.Parameter(torch.tensor([0.5, 1.5, 2.5]))])
def test_a_list_that_goes_with_the_blocks_is_named(beside):
    told = reasons(Zipped(beside))
    assert told
    assert all("'beside' beside it has 3 entries too" in reason for reason in told.values())


def test_blocks_of_a_dictionary_are_named():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleDict({"first": Mlp(5), "second": Mlp(5)})
            self.stages = nn.ModuleDict({"all": Zipped([1.0, 1.0, 1.0])})

        def forward(self, x):
            return self.stages["all"](self.blocks["second"](self.blocks["first"](x)))

    told = reasons(Named())
    assert list(told) == ["blocks.first", "blocks.second"]
    assert all("nn.ModuleDict are not taken out" in reason for reason in told.values())
    assert offered(Named()) == {"stages.all.blocks": tuple(f"stages.all.blocks.{i}" for i in range(3))}
