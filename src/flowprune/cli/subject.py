"""What the commands ``score``, ``prune`` and ``analyse`` work on: a model by name, and samples of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flowprune.data import Batches, ImageSet
    from flowprune.measures import Granularity
    from flowprune.objectives import Objective


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, the objective it is looked at with, and the batches; ``recipe`` is Python that builds such a model."""

    model: nn.Module
    objective: Objective
    dataset: ImageSet
    batches: Batches
    example_inputs: Tensor
    recipe: str


def prepare(
    model: str, data: str, *, checkpoint: Path | None, samples: int, temperature: float, seed: int, train: int = 0
) -> Subject:
    """Build the model for the dataset, load its weights or train it a little, and draw the samples.

    A checkpoint of a pruned model is rebuilt from the masks beside it. Training is ``train`` epochs of SGD as
    :func:`train_quickly` does it, for a first look without a checkpoint.

    Raises:
        UnknownNameError: no such model or dataset.
        ValueError: the checkpoint is damaged or of another model, or there is one and training is asked for.
    """
    from flowprune import data as datasets
    from flowprune.experiments.parts import model_for
    from flowprune.experiments.pruned import load_pruned
    from flowprune.objectives import cross_entropy

    if checkpoint is not None and train:
        raise invalid("--train", "0 where there is a --checkpoint", train, "The weights of the checkpoint are used.")
    dataset = datasets.build(data)
    built = model_for(model, dataset, seed=seed)
    recipe = (
        "    import flowprune as fp\n"
        f'    model = fp.models.build_for("{model}", {dataset.shape}, num_classes={dataset.num_classes})\n'
    )
    if checkpoint is not None:
        built = load_pruned(built, checkpoint, where="--checkpoint")
        recipe += f"    model = fp.experiments.load_pruned(model, {str(checkpoint)!r})\n"
    objective = cross_entropy(temperature=temperature)
    train_quickly(built, objective, dataset, epochs=train, seed=seed)
    batches = datasets.scoring_batches(dataset, min(samples, len(dataset.train)), seed=seed)
    return Subject(built, objective, dataset, batches, dataset.inputs("train")[:2], recipe)


def train_quickly(model: nn.Module, objective: Objective, dataset: ImageSet, *, epochs: int, seed: int) -> None:
    """Train in place by SGD: batches of 64 without augmentation, learning rate 0.05, momentum 0.9."""
    from torch.optim import SGD

    from flowprune.data import training_batches
    from flowprune.train import fit

    data = training_batches(dataset, batch=64, seed=seed, augment=False)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    fit(model, optimizer, data.at, objective=objective, epochs=f"{epochs}ep")


def granularity_of(name: str, example_inputs: Tensor, *, residual: str = "coupled") -> Granularity:
    """``fp.Channels``, ``fp.Depth`` or ``fp.Weights``, by the word the command line uses."""
    from flowprune.masks import Weights
    from flowprune.structure import Channels, Depth

    if name == "channels":
        return Channels(example_inputs=example_inputs, residual=residual)
    if residual != "coupled":
        raise invalid("--residual", "given with --granularity channels", residual)
    return Depth(example_inputs=example_inputs) if name == "depth" else Weights()
