"""What a spec names, built: the model, the data, the optimizer, the objectives, the batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from inspect import signature
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from flowprune import data, models, objectives, schedules
from flowprune.core.seeds import derive
from flowprune.data import Batches, ImageSet
from flowprune.experiments.spec import PruneSpec, Spec
from flowprune.masks import Weights
from flowprune.measures import Granularity
from flowprune.models import MODELS
from flowprune.objectives import Objective
from flowprune.prune import Pruner
from flowprune.schedules.lr import Rate, steps
from flowprune.structure import Channels


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
        ValueError: an option that a builder does not take, or a value it cannot use.
    """
    dataset = data.build(spec.data.name, **spec.data.options).to(spec.device)
    model = build_model(spec, dataset)
    example = dataset.inputs("train")[:2]
    train, cut = spec.train, spec.prune
    samples = min(cut.samples if cut else spec.record.flow_samples, len(dataset.train))
    observed = min(spec.record.flow_samples, len(dataset.train))
    return Parts(
        model=model,
        optimizer=SGD(model.parameters(), train.learning_rate, train.momentum, weight_decay=train.weight_decay),
        dataset=dataset,
        objective=objectives.cross_entropy(temperature=spec.objective.temperature),
        scored=objectives.cross_entropy(temperature=(cut and cut.temperature) or spec.objective.temperature),
        granularity=Weights() if cut and cut.granularity == "weights" else Channels(example_inputs=example),
        training=data.training_batches(dataset, batch=train.batch, seed=spec.seed),
        scoring=data.scoring_batches(dataset, samples, seed=spec.seed),
        observed=data.scoring_batches(dataset, observed, seed=derive(spec.seed, "flow")),
        rate=steps(train.learning_rate, train.milestones),
        example_inputs=example,
    )


def build_model(spec: Spec, dataset: ImageSet) -> nn.Module:
    """The dense model of a spec at its initial weights, on the run's device."""
    return fitted(spec.model.name, dataset, seed=spec.seed, **spec.model.options).to(torch.device(spec.device))


def fitted(name: str, dataset: ImageSet, *, seed: int, **options: object) -> nn.Module:
    """A model by name with the inputs and outputs that the dataset asks for.

    Example:
        >>> fitted("mlp", data.build("digits"), seed=0).layers[0].in_features
        64
    """
    shape = dataset.shape
    wanted = {"num_classes": dataset.num_classes, "in_channels": shape[0], "in_features": math.prod(shape)}
    taken = signature(MODELS[name]).parameters
    given = {key: value for key, value in wanted.items() if key in taken}
    return models.build(name, **{**given, "seed": derive(seed, "init"), **options})


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
