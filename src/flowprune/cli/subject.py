"""What the commands ``score``, ``prune`` and ``analyse`` work on: a model by name, and samples of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flowprune.cli.sizes import sizes
from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import nn

    from flowprune.data import Batches, ImageSet
    from flowprune.measures import Granularity, Measure
    from flowprune.objectives import Objective

DATASET = "digits"
"""The dataset of a model that is built for one, where none is named."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, the objective it is looked at with, and the batches; ``recipe`` is Python that builds it dense."""

    model: nn.Module
    objective: Objective
    data: tuple[ImageSet, Batches] | None
    example_inputs: object
    recipe: str

    @property
    def dataset(self) -> ImageSet:
        """The dataset.

        Raises:
            ValueError: none was named, and the model is from outside.
        """
        return self._data("given")[0]

    @property
    def batches(self) -> Batches:
        """Samples of it.

        Raises:
            ValueError: none was named, and the model is from outside.
        """
        return self._data("given")[1]

    def batches_for(self, measure: Measure) -> Batches | tuple[()]:
        """What a measure is computed on; nothing, where it needs no data and there are none.

        Raises:
            ValueError: it needs data, and there are none.
        """
        if self.data is None and not measure.needs:
            return ()
        return self._data(f"given for the measure {measure.name!r}, which needs {' and '.join(measure.needs)}")[1]

    def _data(self, rule: str) -> tuple[ImageSet, Batches]:
        if self.data is None:
            todo = "Name one whose images the model takes, or use a measure that needs no data, such as magnitude."
            raise invalid("--dataset", rule, None, todo)
        return self.data


def prepare(
    model: str,
    data: str | None,
    *,
    checkpoint: Path | None,
    samples: int,
    temperature: float,
    seed: int,
    train: int = 0,
    input_shape: str | None = None,
) -> Subject:
    """Build the model for the dataset, load its weights or train it a little, and draw the samples.

    A checkpoint of a pruned model is rebuilt from the plan beside it. Training is ``train`` epochs of SGD as
    :func:`train_quickly` does it, for a first look without a checkpoint. A model from outside needs no dataset.

    Raises:
        UnknownNameError: no such model or dataset.
        ValueError: the checkpoint is damaged or of another model, there is one and training is asked for, or nothing
            says what a model from outside takes.
    """
    from flowprune import data as datasets
    from flowprune.experiments.pruned import load_pruned
    from flowprune.objectives import cross_entropy

    if checkpoint is not None and train:
        raise invalid("--train", "0 where there is a --checkpoint", train, "The weights of the checkpoint are used.")
    shape = None if input_shape is None else sizes("--input-shape", input_shape)
    dataset, built, example, recipe = _built(model, data, seed=seed, shape=shape)
    if checkpoint is not None:
        built = load_pruned(built, checkpoint, where="--checkpoint")
    objective = cross_entropy(temperature=temperature)
    if dataset is None:
        return Subject(built, objective, None, example, recipe)
    train_quickly(built, objective, dataset, epochs=train, seed=seed)
    there = len(dataset.train)
    if samples > there:
        typer.echo(f"--samples {samples} is more than the {there} training images: all of them are taken.", err=True)
    batches = datasets.scoring_batches(dataset, min(samples, there), seed=seed)
    return Subject(built, objective, (dataset, batches), example, recipe)


def _built(
    model: str, data: str | None, *, seed: int, shape: tuple[int, ...] | None
) -> tuple[ImageSet | None, nn.Module, object, str]:
    """The dataset if there is one, the model, what it is called with, and Python that builds it."""
    from flowprune import data as datasets
    from flowprune.cli import outside
    from flowprune.experiments.parts import model_for, require_takes

    if not outside.is_outside(model):
        if shape is not None:
            raise invalid("--input-shape", "given for a module:factory or hf: model", model, "Others fit --dataset.")
        dataset = datasets.build(DATASET if data is None else data)
        recipe = f'    model = fp.models.build_for("{model}", {dataset.shape}, num_classes={dataset.num_classes})\n'
        built = model_for(model, dataset, seed=seed)
        return dataset, built, dataset.inputs("train")[:2], f"    import flowprune as fp\n{recipe}"
    dataset = None if data is None else datasets.build(data)
    found = outside.build(model, seed=seed, shape=shape)
    if dataset is not None:
        require_takes(model, found.model, dataset)
        return dataset, found.model, dataset.inputs("train")[:2], found.recipe
    if found.example is None:
        todo = "Or --dataset NAME; or define example_inputs() beside the factory."
        raise invalid("--input-shape", f"given for {model!r}, of one example, such as 3,224,224", None, todo)
    return None, found.model, found.example, found.recipe


def train_quickly(model: nn.Module, objective: Objective, dataset: ImageSet, *, epochs: int, seed: int) -> None:
    """Train in place by SGD: batches of 64 without augmentation, learning rate 0.05, momentum 0.9."""
    from torch.optim import SGD

    from flowprune.data import training_batches
    from flowprune.train import fit

    data = training_batches(dataset, batch=64, seed=seed, augment=False)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    fit(model, optimizer, data.at, objective=objective, epochs=f"{epochs}ep")


def granularity_of(name: str, example_inputs: object, *, residual: str = "coupled") -> Granularity:
    """The granularity of a name, as the command line has it, such as ``channels`` or ``nm:2:4``."""
    from flowprune.core.granularities import build_granularity

    if residual != "coupled" and name != "channels":
        raise invalid("--residual", "given with --granularity channels", residual)
    return build_granularity("--granularity", name, {"example_inputs": example_inputs, "residual": residual})
