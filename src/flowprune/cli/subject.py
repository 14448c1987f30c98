"""What the commands ``score``, ``prune`` and ``analyse`` work on: a model by name, and samples of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flowprune.data.batching import Batches
    from flowprune.measures import Granularity
    from flowprune.objectives import Objective


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, the objective it is looked at with, and the batches."""

    model: nn.Module
    objective: Objective
    batches: Batches
    example_inputs: Tensor


def prepare(model: str, data: str, *, checkpoint: Path | None, samples: int, temperature: float, seed: int) -> Subject:
    """Build the model for the dataset, load its weights where there are some, and draw the samples.

    Raises:
        UnknownNameError: no such model or dataset.
        ValueError: the checkpoint is damaged or of another model.
    """
    from flowprune import data as datasets
    from flowprune.experiments.parts import fitted
    from flowprune.objectives import cross_entropy

    dataset = datasets.build(data)
    built = fitted(model, dataset, seed=seed)
    if checkpoint is not None:
        load(built, checkpoint)
    batches = datasets.scoring_batches(dataset, min(samples, len(dataset.train)), seed=seed)
    return Subject(built, cross_entropy(temperature=temperature), batches, dataset.inputs("train")[:2])


def load(model: nn.Module, path: Path) -> None:
    """Put the weights of a safetensors file into a model, all of them or none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise invalid("--checkpoint", "a safetensors file", str(path), f"It cannot be read: {error}.") from None
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip() or str(error)
        raise invalid("--checkpoint", "of this model", str(path), reason) from None


def granularity_of(name: str, example_inputs: Tensor) -> Granularity:
    """``fp.Channels`` or ``fp.Weights``, by the word the command line uses."""
    from flowprune.masks import Weights
    from flowprune.structure import Channels

    return Channels(example_inputs=example_inputs) if name == "channels" else Weights()
