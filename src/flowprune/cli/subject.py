"""What the commands ``score``, ``prune`` and ``analyse`` work on: a model by name, and samples of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flowprune.data.batching import Batches
    from flowprune.measures import Granularity
    from flowprune.objectives import Objective


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, the objective it is looked at with, and the batches; ``recipe`` is Python that builds such a model."""

    model: nn.Module
    objective: Objective
    batches: Batches
    example_inputs: Tensor
    recipe: str


def prepare(model: str, data: str, *, checkpoint: Path | None, samples: int, temperature: float, seed: int) -> Subject:
    """Build the model for the dataset, load its weights where there are some, and draw the samples.

    A checkpoint of a pruned model is rebuilt from the masks beside it.

    Raises:
        UnknownNameError: no such model or dataset.
        ValueError: the checkpoint is damaged or of another model.
    """
    from flowprune import data as datasets
    from flowprune.experiments.parts import model_for
    from flowprune.experiments.pruned import load_pruned
    from flowprune.objectives import cross_entropy

    dataset = datasets.build(data)
    built = model_for(model, dataset, seed=seed)
    recipe = (
        "    import flowprune as fp\n"
        f'    model = fp.models.build_for("{model}", {dataset.shape}, num_classes={dataset.num_classes})\n'
    )
    if checkpoint is not None:
        built = load_pruned(built, checkpoint, where="--checkpoint")
        recipe += f"    model = fp.experiments.load_pruned(model, {str(checkpoint)!r})\n"
    batches = datasets.scoring_batches(dataset, min(samples, len(dataset.train)), seed=seed)
    return Subject(built, cross_entropy(temperature=temperature), batches, dataset.inputs("train")[:2], recipe)


def granularity_of(name: str, example_inputs: Tensor) -> Granularity:
    """``fp.Channels`` or ``fp.Weights``, by the word the command line uses."""
    from flowprune.masks import Weights
    from flowprune.structure import Channels

    return Channels(example_inputs=example_inputs) if name == "channels" else Weights()
