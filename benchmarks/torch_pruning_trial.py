"""What the torch-pruning package does with one model, in a process of its own: it may not come to an end.

    python benchmarks/torch_pruning_trial.py resnet56

One JSON line for each trial. It is told what its documentation and examples tell it: the output layers are ignored;
attention gets ``num_heads`` (whole heads for decoders and BERT, dimensions of every head for vision transformers, as
in its examples), and the attributes that its examples set by hand afterwards are set; Swin's patch merging gets a
pruner of its own. The masked model is a copy in which the rows, biases and norms of the channels that its groups name
are zero; the channels are followed back to the unpruned model through all groups.

Channels that a layer or group norm averages over have no masked model that equals the smaller one: fewer numbers have
another mean. So each trial is made twice where there are such channels: as documented, and with them left whole.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import sys
import time
import warnings
from collections.abc import Mapping

import torch
import torch_pruning as tp
from subjects import call, distance, subjects
from torch import nn

LIMIT = 60
"""Seconds of CPU time after which the process ends."""
TRIALS = [("local", 0.5), ("local", 0.3), ("global", 0.5), *((s, r) for r in (0.25, 0.75) for s in ("local", "global"))]
QUERIES = {"q_proj": "k_proj v_proj", "query": "key value", "qkv": ""}
NORMS = ("LayerNorm", "RMSNorm", "GroupNorm")


class PatchMerging(tp.BasePruningFunc):
    """Four neighbours side by side: each channel that comes in is read in four places."""

    TARGET_MODULES = nn.Module

    def prune_out_channels(self, layer, idxs):
        """Of the layer that joins the four."""
        tp.prune_linear_out_channels(layer.reduction, idxs)
        return layer

    def prune_in_channels(self, layer, idxs):
        """Of that layer and the norm before it, four times each."""
        width = layer.reduction.in_features // 4
        places = [index + part * width for part in range(4) for index in idxs]
        tp.prune_linear_in_channels(layer.reduction, places)
        tp.prune_layernorm_out_channels(layer.norm, places)
        return layer

    def get_out_channels(self, layer):
        """How many the layer gives."""
        return layer.reduction.out_features

    def get_in_channels(self, layer):
        """How many it takes of each neighbour."""
        return layer.reduction.in_features // 4


def queries(model):
    """Attention modules, with the layer of their queries and those of their keys and values."""
    for module in model.modules():
        for name, others in QUERIES.items():
            layer = getattr(module, name, None)
            if isinstance(layer, nn.Linear):
                yield module, layer, [getattr(module, other) for other in others.split()]


def heads(model) -> dict[nn.Module, int]:
    """``num_heads``, as its examples fill it."""
    config, found = getattr(model, "config", None), {}
    for module, query, others in queries(model):
        found[query] = next(n for n in (getattr(o, a, None) for o in (module, config) for a in COUNTS) if n)
        shared = getattr(config, "num_key_value_heads", found[query])
        found |= dict.fromkeys(others, shared)
    return found


COUNTS = ("num_attention_heads", "num_heads", "heads")


def whole_heads(name: str) -> bool:
    return not any(word in name for word in ("ViT", "Swin", "VisionTransformer"))


def settings(name: str, model: nn.Module, outputs) -> dict[str, object]:
    """What it is told of this model."""
    found: dict[str, object] = {
        "ignored_layers": [model.get_submodule(output) for output in outputs],
        "num_heads": heads(model),
        "in_channel_groups": {},
        "out_channel_groups": {},
        "output_transform": lambda out: getattr(out, "logits", out).sum(),
    }
    if found["num_heads"] and whole_heads(name):
        found |= {"prune_num_heads": True, "prune_head_dims": False}
    if "Swin" in name:
        from transformers.models.swin.modeling_swin import SwinPatchMerging

        found["customized_pruners"] = {SwinPatchMerging: PatchMerging()}
        found["root_module_types"] = [nn.Linear, nn.LayerNorm, SwinPatchMerging]
    return found


def set_by_hand(model: nn.Module, pruner) -> None:
    """The attributes of attention that its examples set after the cut."""
    for module, query, others in queries(model):
        parts = 1 if others else 3
        count = pruner.num_heads[query]
        for name in ("num_attention_heads", "num_heads"):
            if hasattr(module, name):
                setattr(module, name, count)
        for name in ("head_dim", "attention_head_size"):
            if hasattr(module, name) and not pruner.prune_num_heads:
                setattr(module, name, query.out_features // count // parts)
        if hasattr(module, "all_head_size"):
            module.all_head_size = query.out_features
        if hasattr(module, "num_key_value_groups"):
            module.num_key_value_groups = count // (others[0].out_features // module.head_dim)


class Followed:
    """The masked twin of a model that is being cut: which channels of it are still there, and the others at zero."""

    def __init__(self, model: nn.Module) -> None:
        self.twin = untied(copy.deepcopy(model))
        self.names = {module: name for name, module in model.named_modules()}
        self.left: dict[tuple[str, bool], torch.Tensor] = {}

    def note(self, graph, group) -> None:
        """Zero what a group is about to cut of what makes its channels."""
        for dependency, places in group:
            target, out = dependency.target, graph.is_out_channel_pruning_fn(dependency.handler)
            if isinstance(target.module, nn.Parameter):
                self._zero_parameter(graph._param_to_name[target.module], target.pruning_dim, places)
            elif out and target.module in self.names and places:
                self._zero_module(self.names[target.module], graph.get_out_channels(target), places)

    def _original(self, key: str, size: int, places) -> torch.Tensor:
        """Places of what is left, as places of what was there; they are no longer left."""
        left = self.left.setdefault(key, torch.arange(size))
        places = torch.tensor(sorted(set(places)), dtype=torch.long)
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[places] = False
        self.left[key] = left[stays]
        return left[places]

    @torch.no_grad()
    def _zero_module(self, name: str, size: int, places) -> None:
        module = self.twin.get_submodule(name)
        module = getattr(module, "reduction", module)
        gone = self._original(name, size, places)
        axis = 1 if getattr(module, "transposed", False) or isinstance(module, nn.Embedding) else 0
        for tensor, along in ((getattr(module, "weight", None), axis), (getattr(module, "bias", None), 0)):
            if isinstance(tensor, nn.Parameter):
                tensor.index_fill_(along, gone, 0.0)

    @torch.no_grad()
    def _zero_parameter(self, name: str, axis: int, places) -> None:
        tensor = self.twin.get_parameter(name)
        tensor.index_fill_(axis, self._original(name, tensor.shape[axis], places), 0.0)


def untied(model: nn.Module) -> nn.Module:
    """With a parameter of its own in each place, as torch-pruning leaves tied ones."""
    for module in model.modules():
        for key, param in module._parameters.items():
            if param is not None:
                module._parameters[key] = nn.Parameter(param.detach().clone())
    return model


def tied(model: nn.Module) -> int:
    """How many parameters stand in a second place."""
    return len(list(model.named_parameters(remove_duplicate=False))) - len(list(model.parameters()))


def averaged(pruner, root_types) -> list[nn.Module]:
    """The layers whose channels a layer or group norm averages over."""
    found, owner = [], {}
    for module in pruner.model.modules():
        owner |= dict.fromkeys(module.parameters(recurse=False), module)
    for group in pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers, root_module_types=root_types):
        modules = [dependency.target.module for dependency, _ in group]
        classes = [type(owner.get(m, m)).__name__ for m in modules]
        if any(norm in name for name in classes for norm in NORMS) or "SwinPatchMerging" in classes:
            makers = [d.target.module for d, _ in group if pruner.DG.is_out_channel_pruning_fn(d.handler)]
            found += [m for m in makers if isinstance(m, nn.Module) and type(m).__module__ != tp.ops.__name__]
    return found


def trial(name: str, subject, scope: str, ratio: float, *, leave: bool) -> dict[str, object]:
    """Prune a new model, and compare it with its masked twin."""
    model, x = subject.build()
    example = dict(x) if isinstance(x, Mapping) else x
    told = settings(name, model, subject.outputs)
    told |= {"importance": tp.importance.GroupMagnitudeImportance(p=2), "global_pruning": scope == "global"}
    told |= {"pruning_ratio": ratio, "head_pruning_ratio": ratio}
    start = time.process_time()
    pruner = tp.pruner.BasePruner(model, example, **told)
    spent = time.process_time() - start
    whole = averaged(pruner, pruner.root_module_types)
    if leave:
        if not whole:
            return {}
        model, _ = subject.build()
        told |= settings(name, model, subject.outputs)
        place = {module: path for path, module in pruner.model.named_modules()}
        told["ignored_layers"] += [model.get_submodule(place[m]) for m in whole if m in place]
        pruner = tp.pruner.BasePruner(model, example, **told)
    followed, dense, ties = Followed(model), sum(p.numel() for p in model.parameters()), tied(model)
    for group in pruner.step(interactive=True):
        followed.note(pruner.DG, group)
        group.prune()
    returned = {"as_returned": as_it_is(model, followed.twin, x)} if told["num_heads"] else {}
    set_by_hand(model, pruner)
    left = sum(p.numel() for p in model.parameters())
    found = {"graph_s": spent, "parameters": dense, "left": left, "averaged": bool(whole) and not leave}
    found["untied"] = tied(model) < ties
    return found | returned | compared(model, followed.twin, x)


def as_it_is(model: nn.Module, twin: nn.Module, x: object) -> float | None:
    """How far the smaller model is from the masked one; None where it does not run."""
    try:
        return distance(model, twin, x)["difference"]
    except Exception:
        return None


def compared(model: nn.Module, twin: nn.Module, x: object) -> dict[str, object]:
    """How far the smaller model is from the masked one, and whether it trains."""
    try:
        found = distance(model, twin, x)
        call(model.train(), x).sum().backward()
    except Exception as error:
        return {"outcome": "breaks", "reason": said(error)}
    return {"outcome": "prunes", **found}


def said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    name = parser.parse_args().model
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    subject = subjects()[name]
    for leave in (False, True):
        for scope, ratio in TRIALS:
            limit = int(time.process_time()) + LIMIT
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            try:
                found = trial(name, subject, scope, ratio, leave=leave)
            except Exception as error:
                found = {"outcome": "raises", "reason": said(error)}
            if found:
                print(json.dumps({"scope": scope, "ratio": ratio, "whole": leave, **found}))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
