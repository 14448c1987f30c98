"""How much of the ideal speed a smaller network has: time of a forward pass, pruned beside dense.

    python benchmarks/speed_after_cut.py resnet56|vgg13 [--batch 1 128] [--form eager channels_last onnxruntime]

50 and 75 % of the channels of each layer go (by magnitude, local scope); beside each, the same with the widths of all
layers rounded to multiples of 8. Dense and pruned networks run in turns, once a round; a speed-up is dense / pruned
time within the round, and CPU time of one thread. Two ideals: the ratio of multiply-adds, and that of the bytes that
the modules write. ``share`` is the speed-up over the smaller of the two.
"""

from __future__ import annotations

import argparse
import io
import logging

import torch
from timing import record, round_robin
from torch import nn

import flowprune as fp
from flowprune.structure import measure_cost

SPARSITIES = (0.5, 0.75)
MULTIPLE = 8
FORMS = ("eager", "channels_last", "onnxruntime")


def masks(scores, sparsity: float, multiple: int = 1):
    """The channels that stay in each layer, their number rounded to a multiple, of which one at least."""

    def gone(size: int) -> float:
        kept = max(multiple, round(size * (1 - sparsity) / multiple) * multiple)
        return 1 - min(size, kept) / size

    return fp.select(scores, {name: gone(score.numel()) for name, score in scores.items()})


def networks(name: str) -> dict[str, nn.Module]:
    """The dense network and the smaller ones, by what was done."""
    torch.manual_seed(0)
    dense, x = fp.models.build(name, num_classes=10).eval(), torch.randn(2, 3, 32, 32)
    scores = fp.score("magnitude", fp.gather(dense, None, (), needs=()), fp.Channels(example_inputs=x))
    found = {"dense": dense}
    for sparsity in SPARSITIES:
        for multiple in (1, MULTIPLE):
            title = f"{sparsity:.0%}" + ("" if multiple == 1 else f", multiples of {multiple}")
            found[title] = fp.remove(dense, masks(scores, sparsity, multiple), example_inputs=x).eval()
    return found


def repeated(work, times: int):
    """A call that does the work several times, so that the clock is fine enough for it."""

    def several():
        for _ in range(times):
            work()

    return several


def eager(model: nn.Module, x: torch.Tensor):
    """A call of the model as it is."""

    def work():
        with torch.inference_mode():
            return model(x)

    return work


def channels_last(model: nn.Module, x: torch.Tensor):
    """The same with the channels innermost in memory."""
    return eager(model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))


def onnxruntime(model: nn.Module, x: torch.Tensor):
    """A call of onnxruntime on the exported model, checked against the model's own output."""
    import onnxruntime as ort

    buffer = io.BytesIO()
    torch.onnx.export(model, (x,), dynamo=True, verbose=False).save(buffer)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: x.numpy()}
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(session.run(None, inputs)[0]), model(x), rtol=1e-3, atol=1e-4)
    return lambda: session.run(None, inputs)


def measured(name: str, form: str, batch: int, rounds: int) -> None:
    models = networks(name)
    x = torch.randn(batch, 3, 32, 32)
    costs = {title: measure_cost(model, x[:1]) for title, model in models.items()}
    make = {"eager": eager, "channels_last": channels_last, "onnxruntime": onnxruntime}[form]
    times = max(1, 64 // batch)
    work = {title: repeated(make(model, x), times) for title, model in models.items()}
    results = round_robin(work, "dense", rounds=rounds)
    dense = costs["dense"]
    for title, figures in results.items():
        ideals = {
            "ideal_multiply_adds": dense.multiply_adds / costs[title].multiply_adds,
            "ideal_activation_bytes": dense.activation_bytes / costs[title].activation_bytes,
        }
        speedup = 1 / figures["ratio"]
        figures |= {**ideals, "speedup": speedup, "share": speedup / min(ideals.values())}
        figures |= {"median_ms": figures["median_ms"] / times, "iqr_ms": figures["iqr_ms"] / times}
        figures["parameters"] = costs[title].parameters
    print(name, form, batch)
    record("speed_after_cut", results, model=name, form=form, batch=batch)
    for title, figures in results.items():
        print(f"  {title}: {figures['speedup']:.2f} times as fast, {figures['share']:.2f} of the ideal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("resnet56", "vgg13"))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--form", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for form in chosen.form:
        for batch in chosen.batch:
            measured(chosen.model, form, batch, chosen.rounds)


if __name__ == "__main__":
    main()
