"""The model without blocks is the model with these blocks at zero."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import flowprune as fp
from flowprune.masks import masks_of
from flowprune.structure import measure_cost
from flowprune.structure.example import Example
from tests.structure.depth.residual import KINDS, hugging_face, network, residual_mlp, signals_of

OFFERED = {
    "residual_mlp": {"": 4},
    "resnet20": {"stages.0": 3, "stages.1": 2, "stages.2": 2},
    "resnet56": {"stages.0": 9, "stages.1": 8, "stages.2": 8},
    "resnet18": {"stages.0": 2, "stages.1": 1, "stages.2": 1, "stages.3": 1},
    "preact_resnet18": {"stages.0": 2, "stages.1": 1, "stages.2": 1, "stages.3": 1},
    "vit": {"vit.layers": 4},
    "gpt2": {"transformer.h": 4},
    "llama": {"model.layers": 4},
    "qwen3": {"model.layers": 4},
    "convnext": {"convnext.encoder.stages.0.layers": 2, "convnext.encoder.stages.1.layers": 3}
    | {"convnext.encoder.stages.2.layers": 4},
}


def tensors(outputs):
    return [x for x in tree_leaves(dict(outputs) if hasattr(outputs, "keys") else outputs) if isinstance(x, Tensor)]


def used(model, example):
    """The model with moved norm statistics, so that nothing is zero or one by accident."""
    torch.manual_seed(3)
    with torch.no_grad():
        for param in model.parameters():
            if param.dim() == 1:
                param.add_(0.1 * torch.randn_like(param))
        model.train()
        for _ in range(2):
            example.call(model)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_without_blocks_a_model_computes_what_it_does_with_them_masked(kind):
    model, inputs = KINDS[kind]()
    example = Example.of(inputs)
    used(model, example)
    scores = fp.score("random", signals_of(model), fp.Depth(example_inputs=inputs), seed=1)
    assert {name: len(score) for name, score in scores.items()} == OFFERED[kind]
    before, work = copy.deepcopy(model.state_dict()), measure_cost(model, inputs).multiply_adds
    total, least = masks_total(scores), sum(group.least for group in scores.layout.values())
    for sparsity in (min(asked, (total - least) / total) for asked in (0.25, 0.5, 0.75)):  # one block of a stage stays
        masks = fp.select(scores, sparsity)
        assert masks.total - masks.kept == round(sparsity * total)
        small = fp.remove(model, masks, example_inputs=inputs)
        masked = fp.apply(copy.deepcopy(model), masks)
        assert type(small) is type(model)
        for mode in (False, True):
            a, b = tensors(example.call(masked.train(mode))), tensors(example.call(small.train(mode)))
            assert len(a) == len(b) > 0
            for x, y in zip(a, b, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)
        assert measure_cost(small, inputs).multiply_adds < work
        work = measure_cost(small, inputs).multiply_adds
        _train_a_step(small, example)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def _train_a_step(model, example):
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.01, momentum=0.9)
    sum(x.square().mean() for x in tensors(example.call(model)) if x.requires_grad).backward()
    optimizer.step()
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def masks_total(scores):
    return sum(score.numel() for score in scores.values())


def cut(model, inputs, gone):
    """The model without the blocks at some places of its first container."""
    layout = fp.Depth(example_inputs=inputs).layout(signals_of(model))
    name = next(iter(layout))
    mask = torch.ones(layout[name].size, dtype=torch.bool)
    mask[list(gone)] = False
    return fp.remove(model, fp.Masks({name: mask}, layout=layout), example_inputs=inputs)


def test_later_blocks_move_up():
    model = residual_mlp()
    small = cut(model, torch.randn(2, 5), (0, 2))
    assert list(small.state_dict()) == list(residual_mlp(2).state_dict())
    assert torch.equal(small[1].up.weight, model[2].up.weight)
    assert torch.equal(small[3].weight, model[5].weight)


def test_children_with_names_keep_them():
    from collections import OrderedDict

    from torch import nn

    plain = residual_mlp(3)
    model = nn.Sequential(OrderedDict(zip(("stem", "a", "b", "c", "head"), plain, strict=True)))
    small = cut(model, torch.randn(2, 5), (1,))
    assert [name for name, _ in small.named_children()] == ["stem", "a", "c", "head"]


def test_the_layers_of_a_decoder_are_numbered_anew_and_counted():
    model, inputs = hugging_face("qwen3")
    small = cut(model, inputs, (0, 3))
    assert [layer.self_attn.layer_idx for layer in small.model.layers] == [0, 1]
    assert small.config.num_hidden_layers == 2
    assert small.config.layer_types == ["sliding_attention", "full_attention"]
    assert model.config.num_hidden_layers == 4
    assert len(model.config.layer_types) == 4
    rebuilt = type(model)(small.config).eval()
    rebuilt.load_state_dict(small.state_dict())
    tokens = inputs["input_ids"]
    torch.testing.assert_close(rebuilt(tokens, use_cache=False).logits, small(tokens, use_cache=False).logits)
    # the cache of keys and values goes by the numbers
    with_cache = small.generate(tokens, max_new_tokens=4, do_sample=False)
    torch.testing.assert_close(with_cache, small.generate(tokens, max_new_tokens=4, do_sample=False, use_cache=False))


@pytest.mark.parametrize(("kind", "count"), [("gpt2", "n_layer"), ("llama", "num_hidden_layers"), ("vit", None)])
def test_a_configuration_counts_the_layers_left(kind, count):
    model, inputs = hugging_face(kind)
    small = cut(model, inputs, (1,))
    assert getattr(small.config, count or "num_hidden_layers") == 3
    type(model)(small.config).load_state_dict(small.state_dict())


def test_the_depths_of_stages_follow():
    model, inputs = hugging_face("convnext")
    layout = fp.Depth(example_inputs=inputs).layout(signals_of(model))
    masks = {name: torch.arange(group.size) > i for i, (name, group) in enumerate(layout.items())}
    masks["convnext.encoder.stages.0.layers"][:] = True
    small = fp.remove(model, fp.Masks(masks, layout=layout), example_inputs=inputs)
    assert list(small.config.depths) == [2, 1, 1]
    assert list(model.config.depths) == [2, 3, 4]
    type(model)(small.config).load_state_dict(small.state_dict())


def test_masks_survive_a_file(tmp_path):
    model, x = network("resnet20"), torch.randn(2, 3, 8, 8)
    masks = fp.select(fp.score("magnitude", signals_of(model), fp.Depth(example_inputs=x)), 0.5)
    masks.save(tmp_path / "masks.safetensors")
    loaded = fp.Masks.load(tmp_path / "masks.safetensors")
    assert {n: m.tolist() for n, m in loaded.items()} == {n: m.tolist() for n, m in masks.items()}
    fresh = network("resnet20")
    small, again = (fp.remove(m, k, example_inputs=x) for m, k in ((model, masks), (fresh, loaded)))
    again.load_state_dict(small.state_dict())
    torch.testing.assert_close(small.eval()(x), again.eval()(x), rtol=0, atol=0)
    (group,) = (g for n, g in loaded.layout.items() if n == "stages.1")
    assert (group.kind, group.least, group.modules) == ("depth", 0, ("stages.1.1", "stages.1.2"))


def test_what_does_not_fit_is_refused_before_anything_is_touched():
    model, x = network("resnet20"), torch.randn(2, 3, 8, 8)
    masks = fp.select(fp.score("magnitude", signals_of(model), fp.Depth(example_inputs=x)), 0.5)
    with pytest.raises(ValueError, match="made for this model"):
        fp.remove(network("resnet56"), masks, example_inputs=x)
    other = fp.Masks(dict(masks), layout=masks.layout)  # without a fingerprint
    shallow = fp.remove(model, masks, example_inputs=x)
    names = list(shallow.state_dict())
    with pytest.raises(fp.PruningError, match="the model does not have"):
        fp.structure.cut_(shallow, other.layout, other)
    assert list(shallow.state_dict()) == names
    empty = {"stages.0": torch.zeros(3, dtype=torch.bool)}
    with pytest.raises(fp.PruningError, match="must keep at least one"):
        fp.remove(model, fp.Masks(empty, layout=masks.layout), example_inputs=x)
    with pytest.raises(ValueError, match="example_inputs"):
        fp.remove(network("resnet20"), masks)


def test_a_masked_model_stays_masked_when_it_is_cut():
    model, x = residual_mlp(), torch.randn(2, 5)
    masks = fp.select(fp.score("magnitude", signals_of(model), fp.Depth(example_inputs=x)), 0.5)
    weights = {name: torch.rand_like(p) > 0.3 for name, p in model.named_parameters() if name.endswith("up.weight")}
    fp.apply(model, weights)
    small = fp.remove(model, masks, example_inputs=x)
    fp.check_zeros(small)
    kept = [i for i, stays in enumerate(masks[""], 1) if stays]
    held = masks_of(small)
    assert list(held) == [f"{i}.up.weight" for i in range(1, 3)]
    assert all(torch.equal(held[f"{i}.up.weight"], weights[f"{k}.up.weight"]) for i, k in enumerate(kept, 1))
