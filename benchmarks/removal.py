"""What can be pruned, whether the smaller model is the masked one, and what the graph costs, beside torch-pruning.

    python benchmarks/removal.py models [NAME ...]    the models of subjects.py; all of them by default
    python benchmarks/removal.py large                graph, cut and check of transformers of 100 million parameters

``models``: each is cut by magnitude at 25, 50 and 75 % of its units, over all layers (global) and in each (local), and
compared with the masked model in single precision, on its example inputs and on others; one training step follows.
Then half of the parameters are asked for: by ``fp.Budget(parameters=0.5)``, for flowprune; by
``pruning_ratio`` 0.5, which its quick start shows, and 0.3, which its README gives for half of the parameters, for
torch-pruning. That package runs in a process of its own with a limit of CPU time: see torch_pruning_trial.py for what
it is told. The graphs of both are then built in turns, of new models each time, in one process: CPU seconds.

``large``: a trace, and a cut of half the units of each layer with its check, each on a new model, in seconds.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import torch_pruning as tp
from subjects import Subject, call, distance, subjects
from timing import keep, round_robin

import flowprune as fp
from flowprune.core.errors import PruningError

TRIALS = [(scope, sparsity) for scope in ("local", "global") for sparsity in (0.25, 0.5, 0.75)]
EQUAL = 1e-5
"""Largest difference of outputs, in single precision, as a fraction of the largest output where that is above 1."""
WALL = 900
"""Seconds after which the other process is stopped, whatever it has used."""


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def scored(model, x):
    return fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(example_inputs=x))


def ours(subject: Subject) -> dict[str, object]:
    """What flowprune does with a model."""
    model, x = subject.build()
    try:
        found = fp.trace(model, x)
        scores = scored(model, x)
        trials = [compared(model, selected(scores, sparsity, scope), x) for scope, sparsity in TRIALS]
        left = parameters(halved(model, scores, x))
    except PruningError as error:
        return {"outcome": "refuses", "reason": said(error), "parameters": parameters(model)}
    except Exception as error:
        return {
            "outcome": "raises",
            "reason": f"{type(error).__name__}: {said(error)}",
            "parameters": parameters(model),
        }
    refused = [refusal.operation for refusal in found.refusals]
    return {
        "outcome": "prunes",
        "parameters": parameters(model),
        "left": left,
        "groups": len(found.groups),
        "refused": sorted(set(refused)),
        **summed(trials),
    }


def selected(scores, sparsity: float, scope: str):
    """The masks; one unit of each layer stays where 75 % would leave none, which only layers of a few units meet."""
    if scope == "global":
        units = sum(len(score) for score in scores.values())
        return fp.select(scores, min(sparsity, 1 - len(scores) / units))
    return fp.select(scores, {name: min(sparsity, 1 - 1 / len(score)) for name, score in scores.items()})


def said(error: Exception) -> str:
    """In one line, with paths as they are in the repository."""
    return " ".join(str(error).split()).replace(f"{Path(__file__).parents[1]}/", "")


def compared(model, masks, x) -> dict[str, object]:
    """The smaller model beside the masked one; it then takes a training step. Or why the masks were refused."""
    try:
        small, masked = fp.remove(model, masks, example_inputs=x), copy.deepcopy(model)
    except PruningError as error:
        return {"refused": said(error)}
    fp.apply(masked, masks)
    found = distance(small.eval(), masked.eval(), x)
    optimizer = torch.optim.SGD(small.train().parameters(), lr=1e-3)
    call(small, x).sum().backward()
    optimizer.step()
    return found


def summed(trials) -> dict[str, object]:
    """How many trials there were, how many gave the masked model, and the largest difference of one that ran."""
    refused = [t["refused"] for t in trials if "refused" in t]
    ran = [t for t in trials if "difference" in t]
    equal = [t for t in ran if t["difference"] <= EQUAL * max(1.0, t["scale"])]
    worst = max((t["difference"] for t in ran), default=None)
    found = {"tried": len(trials) - len(refused), "equal": len(equal), "difference": worst}
    return found | ({"refused_cuts": len(refused), "reason": refused[0]} if refused else {})


def halved(model, scores, x):
    """The model cut to half of its parameters, all layers ranked together; as near to that as it can be."""
    try:
        masks = fp.solve(scores, fp.Budget(parameters=0.5), model).masks
    except PruningError:  # too much is left whole: one unit of each layer stays
        masks = fp.select(scores, {name: 1 - 1 / len(score) for name, score in scores.items()})
    return fp.remove(model, masks, example_inputs=x, verify=False)


def theirs(name: str) -> dict[str, object]:
    """What torch-pruning does with a model, from what its process printed before it ended."""
    command = [sys.executable, str(Path(__file__).with_name("torch_pruning_trial.py")), name]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=WALL, check=False)
        text, ended = run.stdout, run.returncode
    except subprocess.TimeoutExpired as late:
        text, ended = (late.stdout or b"").decode(), -24
    trials = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    told = [t for t in trials if not t["whole"]]
    whole = [t for t in trials if t["whole"]]
    first = next((t for t in told if (t["scope"], t["ratio"]) == ("local", 0.5)), {})
    found: dict[str, object] = {key: first.get(key) for key in ("outcome", "reason", "left", "untied")}
    if ended != 0 and len(told) < len(TRIALS):
        found |= {
            "outcome": "hangs",
            "reason": "no end" if ended == -24 else f"ended with {ended}: {run.stderr[-300:]}",
        }
    three = next((t for t in told if t["ratio"] == 0.3), {})
    six = [(t["scope"], t["ratio"]) in TRIALS for t in told]
    found |= {"left_three": three.get("left"), "averaged": first.get("averaged")}
    found |= summed([t for t, keep_it in zip(told, six, strict=True) if keep_it])
    found |= {f"whole_{k}": v for k, v in summed([t for t in whole if (t["scope"], t["ratio"]) in TRIALS]).items()}
    returned = [t["as_returned"] for t in (*told, *whole) if "as_returned" in t and t["whole"] == bool(whole)]
    return found | {"as_returned": returned, "trials": trials}


def graphs(subject: Subject, *, both: bool, rounds: int = 5) -> dict[str, dict[str, float]]:
    """CPU time of both graphs, in turns; of flowprune alone where the other does not come to one."""
    fresh = iter([subject.build() for _ in range(2 * (rounds + 1))])

    def trace():
        return fp.trace(*next(fresh))

    def depend():
        model, x = next(fresh)
        graph = tp.DependencyGraph()
        output = {"output_transform": lambda out: getattr(out, "logits", out).sum()}
        graph.build_dependency(model, dict(x) if isinstance(x, Mapping) else x, verbose=False, **output)
        return list(graph.get_all_groups())

    work = {"flowprune": trace} | ({"torch-pruning": depend} if both else {})
    return round_robin(work, "flowprune", rounds=rounds)


def models(names) -> None:
    everything = subjects()
    for name in names or everything:
        subject = everything[name]
        rows = {"flowprune": ours(subject), "torch-pruning": theirs(name)}
        rows["torch-pruning"]["parameters"] = rows["flowprune"]["parameters"]
        if rows["flowprune"]["outcome"] == "prunes":
            built = any("graph_s" in t for t in rows["torch-pruning"]["trials"])
            for who, figures in graphs(subject, both=built).items():
                rows[who] |= {"graph_s": figures["median_ms"] / 1e3, "rounds": figures["rounds"]}
        setting = {"model": name, "family": subject.family, "outputs": len(subject.outputs)}
        keep("removal", [{"candidate": who, **setting, **row} for who, row in rows.items()])
        for who, row in rows.items():
            print(name, who, {k: v for k, v in row.items() if k != "trials"}, flush=True)


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config())


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32000, num_attention_heads=12, num_key_value_heads=4, **sizes))


def both_clocks(work) -> tuple[object, float, float]:
    start, used = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - used, time.perf_counter() - start


def large(rounds: int = 3) -> None:
    """A trace, then a cut of half the units of each layer, checked: of a new model each round."""
    fp.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    for name, build in {"GPT-2": gpt2, "Llama": llama}.items():
        spent: dict[str, list[tuple[float, float]]] = {"graph": [], "cut and check": []}
        for _ in range(rounds):
            torch.manual_seed(0)
            model, x = build().eval(), {"input_ids": torch.randint(1000, (2, 16))}
            found, *times = both_clocks(lambda model=model, x=x: fp.trace(model, x))
            spent["graph"].append(tuple(times))
            masks = selected(scored(model, x), 0.5, "local")
            small, *times = both_clocks(lambda m=model, k=masks, x=x: fp.remove(m, k, example_inputs=x))
            spent["cut and check"].append(tuple(times))
        setting = {"model": name, "parameters": parameters(model), "left": parameters(small)}
        setting |= {"groups": len(found.groups), "rounds": rounds}
        rows = [
            {
                "candidate": what,
                **setting,
                "cpu_s": statistics.median(cpu for cpu, _ in times),
                "wall_s": statistics.median(wall for _, wall in times),
                "all_cpu_s": [cpu for cpu, _ in times],
            }
            for what, times in spent.items()
        ]
        keep("removal_large", rows)
        for row in rows:
            print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("models", "large"))
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    models(chosen.names) if chosen.what == "models" else large()


if __name__ == "__main__":
    main()
