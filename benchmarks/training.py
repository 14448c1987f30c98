"""How fast training is, beside a plain loop: the input pipeline, the step, and both together.

    python benchmarks/training.py pipeline [--images 10000]
    python benchmarks/training.py step --model vgg13 [--batch 128] [--width 1.0] [--compiled] [--device cuda]
    python benchmarks/training.py epoch --model vgg13 [--device cuda]

The plain loop is the one most code has: a Dataset that pads, crops, flips and normalises one PIL image at a time, a
DataLoader, float32 in PyTorch's own memory layout, and ``loss.item()`` in every step. Images are random bytes of
CIFAR's shape; the batch is 128. ``pipeline`` serves all images once a call, ``step`` trains on one batch, ``epoch``
trains on all images of a smaller set. Ratios are times: 0.25 is four times as fast.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image, ImageOps
from timing import record, round_robin
from torch.utils.data import DataLoader, Dataset

from flowprune.data import Augment, Normalise, batches
from flowprune.models import build
from flowprune.objectives import cross_entropy
from flowprune.train import Execution, fit

NORMALISE = Normalise((0.5,) * 3, (0.5,) * 3, scale=255.0)
OBJECTIVE = cross_entropy(temperature=5.0)
BATCH = 128


class PerSample(Dataset):
    """Pad by 4, crop 32, flip, to float, normalise: one PIL image after the other."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = ImageOps.expand(self.images[index], border=4, fill=0)
        top, left = torch.randint(0, 9, (2,)).tolist()
        image = image.crop((left, top, left + 32, top + 32))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub(0.5).div(0.5), self.labels[index]


def random_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (count,), generator=generator)


def loader(images, labels):
    return DataLoader(PerSample(images, labels), BATCH, shuffle=True)


def ours(images, labels, device="cpu"):
    where = torch.device(device)
    return batches(images.to(where), labels.to(where), batch=BATCH, seed=0, augment=Augment(), normalise=NORMALISE)


def drain(iterable):
    def work():
        for _ in iterable:
            pass

    return work


def pipeline(chosen):
    images, labels = random_images(chosen.images)
    served = ours(images, labels)
    plain = batches(images, labels, batch=BATCH, seed=0, normalise=NORMALISE)
    work = {"reference": loader(images, labels), "flowprune": served, "without augmentation": plain}
    return {name: drain(each) for name, each in work.items()}, chosen.images


def trainer(chosen, execution):
    model = execution.prepare(build(chosen.model, num_classes=10, width=chosen.width).to(chosen.device))
    fused = {"fused": True} if chosen.device != "cpu" else {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, **fused)
    return model, optimizer, execution.objective(OBJECTIVE, model, optimizer)


def forms(chosen):
    found = {
        "fp32 channels-last": Execution(memory_format="channels_last"),
        "bf16 channels-last": Execution(precision="bfloat16", memory_format="channels_last"),
    }
    if chosen.compiled:
        found["bf16 channels-last compiled"] = Execution("bfloat16", "channels_last", chosen.compiled)
    return found


def step(chosen):
    device = torch.device(chosen.device)
    x = torch.randn(BATCH, 32, 32, 3, device=device).permute(0, 3, 1, 2)  # as batches come: channels-last in memory
    y = torch.randint(0, 10, (BATCH,), device=device)

    def stepping(execution, inputs):
        model, optimizer, objective = trainer(chosen, execution)
        model.train()

        def work():
            optimizer.zero_grad()
            loss = objective(model, (inputs, y))
            loss.backward()
            optimizer.step()
            return loss.item()

        return work

    work = {name: stepping(execution, x) for name, execution in forms(chosen).items()}
    return {"reference": stepping(Execution(), x.contiguous()), **work}, BATCH


def epoch(chosen):
    images, labels = random_images(chosen.images)

    def plain():
        model, optimizer, _ = trainer(chosen, Execution())
        model.train()
        served = loader(images, labels)

        def work():
            for x, y in served:
                moved = (x.to(chosen.device), y.to(chosen.device))
                optimizer.zero_grad()
                loss = OBJECTIVE(model, moved)
                loss.backward()
                optimizer.step()
                loss.item()

        return work

    def fitted(execution):
        model, optimizer, objective = trainer(chosen, execution)
        served = ours(images, labels, chosen.device)
        return lambda: fit(model, optimizer, served.at, objective=objective, epochs="1ep")

    work = {name: fitted(execution) for name, execution in forms(chosen).items()}
    return {"reference": plain(), **work}, chosen.images


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pipeline", "step", "epoch"))
    parser.add_argument("--model", default="vgg13")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", default="", help="also with this mode of torch.compile")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    chosen.images = chosen.images or (10_000 if chosen.what == "pipeline" or chosen.device != "cpu" else 640)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work, count = {"pipeline": pipeline, "step": step, "epoch": epoch}[chosen.what](chosen)
    results = round_robin(work, "reference", rounds=chosen.rounds, device=chosen.device)
    results = {name: {**f, "images_per_second": 1e3 * count / f["median_ms"]} for name, f in results.items()}
    setting = {"batch": BATCH, "images": count}
    if chosen.what != "pipeline":
        setting |= {"model": chosen.model, "width": chosen.width}
    print(chosen.what, setting)
    record(f"training_{chosen.what}", results, device=chosen.device, **setting)


if __name__ == "__main__":
    main()
