"""What a spec names, built: the model, the data, the optimizer, the objectives, the batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from flowprune import data, models, objectives, schedules
from flowprune.core.errors import invalid
from flowprune.core.seeds import derive
from flowprune.core.step import Step
from flowprune.data import Batches, ImageSet
from flowprune.experiments.spec import PruneSpec, Spec, TrainSpec
from flowprune.masks import Weights
from flowprune.measures import Granularity
from flowprune.objectives import Objective
from flowprune.prune import Pruner
from flowprune.schedules.lr import Rate, steps
from flowprune.structure import Channels
from flowprune.train.evaluation import evaluating


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one run, before its first step.

    Attributes:
        model: Dense, at its initial weights.
        optimizer: Of the model's parameters.
        dataset: On the run's device.
        objective: Trained on.
        scored: The objective while scoring; differs from ``objective`` in its temperature at most.
        granularity: What a unit is; channels for a dense run, whose agreement of measures may be asked for.
        training: ``training.at(epoch)`` are the batches of an epoch.
        scoring: The samples that importance is measured on.
        observed: The samples that the flow is recorded on.
        rate: The learning rate of a step.
        example_inputs: Two images.
    """

    model: nn.Module
    optimizer: Optimizer
    dataset: ImageSet
    objective: Objective
    scored: Objective
    granularity: Granularity
    training: Batches
    scoring: Batches
    observed: Batches
    rate: Rate
    example_inputs: Tensor


def build(spec: Spec) -> Parts:
    """Build the parts; every random choice has a seed stream of its own.

    Raises:
        UnknownNameError: a name that is in no index.
        ValueError: an option that a builder does not take, a value it cannot use, a model that does not take the data
            set's images, or two milestones at one moment.
    """
    dataset = data.build(spec.data.name, **spec.data.options).to(spec.device)
    sizes = {name: len(dataset.split(name)) for name in ("train", "valid", "test")}
    if not all(sizes.values()):
        raise invalid("Spec(data.options)", "such that every split has at least one example", sizes)
    model = build_model(spec, dataset)
    example = dataset.inputs("train")[:2]
    train, cut = spec.train, spec.prune
    training = data.training_batches(dataset, batch=train.batch, seed=spec.seed)
    samples = min(cut.samples if cut else spec.record.flow_samples, len(dataset.train))
    observed = min(spec.record.flow_samples, len(dataset.train))
    return Parts(
        model=model,
        optimizer=SGD(model.parameters(), train.learning_rate, train.momentum, weight_decay=train.weight_decay),
        dataset=dataset,
        objective=objectives.cross_entropy(temperature=spec.objective.temperature),
        scored=objectives.cross_entropy(temperature=(cut and cut.temperature) or spec.objective.temperature),
        granularity=Weights() if cut and cut.granularity == "weights" else Channels(example_inputs=example),
        training=training,
        scoring=data.scoring_batches(dataset, samples, seed=spec.seed),
        observed=data.scoring_batches(dataset, observed, seed=derive(spec.seed, "flow")),
        rate=_rate(train, len(training)),
        example_inputs=example,
    )


def build_model(spec: Spec, dataset: ImageSet) -> nn.Module:
    """The dense model of a spec at its initial weights, on the run's device."""
    model = model_for(spec.model.name, dataset, seed=spec.seed, **spec.model.options)
    return model.to(torch.device(spec.device))


def model_for(name: str, dataset: ImageSet, *, seed: int, **options: object) -> nn.Module:
    """A model by name with the inputs and outputs that the dataset asks for, tried on two of its images.

    Raises:
        UnknownNameError: no such model.
        ValueError: an option that the builder does not take, or a model that does not take these images.

    Example:
        >>> model_for("mlp", data.build("digits"), seed=0).layers[0].in_features
        64
    """
    given = {"num_classes": dataset.num_classes, "seed": derive(seed, "init"), **options}
    model = models.build_for(name, dataset.shape, **given)  # pyright: ignore[reportArgumentType]
    images = dataset.normalise(dataset.train.images[:2]).cpu()
    where, rule = f"model {name!r}", f"able to take images of shape {dataset.shape}, as {dataset.name!r} has"
    todo = "Choose another model or data set, or change the model's options."
    try:
        with evaluating(model):
            found = tuple(model(images).shape)
    except RuntimeError as error:
        raise invalid(where, rule, str(error).partition("\n")[0], todo) from None
    if len(found) != 2 or found[1] < dataset.num_classes:
        wanted = f"giving outputs of shape {(len(images), dataset.num_classes)}, one for each class of {dataset.name!r}"
        raise invalid(where, wanted, found, todo)
    return model


def _rate(train: TrainSpec, per_epoch: int) -> Rate:
    """The learning rate, whichever way round the milestones were written."""
    order = sorted(train.milestones.items(), key=lambda item: Step.parse(item[0]).iterations(per_epoch))
    rate = steps(train.learning_rate, dict(order))
    rate(0, per_epoch)  # here rather than in the first step: it refuses two milestones at one moment
    return rate


def build_pruner(cut: PruneSpec, parts: Parts) -> Pruner:
    """The pruner of a spec, which observes what E6 and E7 need besides."""
    return Pruner(
        parts.model,
        parts.optimizer,
        measure=cut.measure,
        granularity=parts.granularity,
        objective=parts.scored,
        schedule=schedules.build(cut.schedule, rounds=cut.rounds, sparsity=cut.sparsity),
        scope=cut.scope,
        floor=None if cut.floor == "none" else cut.floor,
        momentum=cut.momentum,
        observe=("gradient", "hessian_gradient"),
        options={"seed": derive(cast(int, parts.scoring.seed), "masks")} if cut.measure == "random" else {},
    )
