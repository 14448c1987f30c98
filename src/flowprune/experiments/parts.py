"""What a spec names, built: the model, the data, the optimizer, the objectives, the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from flowprune import data, models, objectives, schedules
from flowprune.core.errors import invalid
from flowprune.core.granularities import build_granularity
from flowprune.core.recipes import RECIPES
from flowprune.core.seeds import derive
from flowprune.core.step import Step
from flowprune.data import Batches, ImageSet
from flowprune.experiments.locality import locality
from flowprune.experiments.moments import scheduled
from flowprune.experiments.spec import PruneSpec, Spec, TrainSpec
from flowprune.measures import MEASURES, Granularity
from flowprune.objectives import Objective
from flowprune.objectives.batch import outputs
from flowprune.prune import Pruner
from flowprune.prune.feasible import Names
from flowprune.schedules.lr import Rate, steps
from flowprune.structure import Channels
from flowprune.train import Execution
from flowprune.train.evaluation import Objective as Loss
from flowprune.train.evaluation import evaluating


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one run, before its first step.

    Attributes:
        model: Dense, at its initial weights.
        optimizer: Of the model's parameters.
        dataset: On the run's device.
        objective: Of the training, as it is evaluated and recorded.
        trained: The same, computed in the precision and form that the spec asks of training steps.
        scored: The objective while scoring; differs from ``objective`` in its temperature at most.
        granularity: What a unit is; channels for a dense run, whose agreement of measures may be asked for.
        training: ``training.at(epoch)`` are the batches of an epoch.
        scoring: The samples that importance is measured on, by round: ``scoring(1)`` for the first.
        observed: The samples that the flow is recorded on.
        tracked: The samples that measures are compared on while the dense network trains.
        rate: The learning rate of a step.
        example_inputs: Two images.
    """

    model: nn.Module
    optimizer: Optimizer
    dataset: ImageSet
    objective: Objective
    trained: Loss
    scored: Objective
    granularity: Granularity
    training: Batches
    scoring: Callable[[int], Batches]
    observed: Batches
    tracked: Batches
    rate: Rate
    example_inputs: Tensor

    def scored_for(self, measure: str) -> Objective | None:
        """What a measure is scored with; None for the measure's own objective."""
        return None if MEASURES[measure].objective else self.scored


def build(spec: Spec) -> Parts:
    """Build the parts; every random choice has a seed stream of its own.

    Raises:
        UnknownNameError: a name that is in no index.
        ValueError: an option that a builder does not take, a value it cannot use, a model that does not take the data
            set's images, two milestones at one moment, or a class with fewer images than the scoring takes of each.
    """
    dataset = data.build(spec.data.name, **spec.data.options).to(spec.device)
    sizes = {name: len(dataset.split(name)) for name in ("train", "valid", "test")}
    if not all(sizes.values()):
        raise invalid("Spec(data.options)", "such that every split has at least one example", sizes)
    scoring_batches(spec, dataset, 1)  # here rather than after the epochs before the first cut: it may be refused
    execution = Execution(**spec.execution.model_dump())
    model = execution.prepare(build_model(spec, dataset))
    example = dataset.normalise(dataset.train.images[:2])
    train, cut = spec.train, spec.prune
    fused = {"fused": True} if spec.device.startswith("cuda") else {}
    rates = {"lr": train.learning_rate, "momentum": train.momentum, "weight_decay": train.weight_decay}
    optimizer = SGD(model.parameters(), **rates, **fused)
    objective = objectives.cross_entropy(temperature=spec.objective.temperature)
    training = data.training_batches(dataset, batch=train.batch, seed=spec.seed, augment=train.augment)
    observed, tracked = (min(n, len(dataset.train)) for n in (spec.record.flow_samples, spec.record.track.samples))
    return Parts(
        model=model,
        optimizer=optimizer,
        dataset=dataset,
        objective=objective,
        trained=execution.objective(objective, model, optimizer),
        scored=objectives.cross_entropy(temperature=scoring_temperature(spec)),
        granularity=_granularity(cut, example),
        training=training,
        scoring=partial(scoring_batches, spec, dataset),
        observed=data.scoring_batches(dataset, observed, seed=derive(spec.seed, "flow")),
        tracked=data.scoring_batches(dataset, tracked, seed=derive(spec.seed, "track")),
        rate=_rate(train, len(training)),
        example_inputs=example,
    )


def _granularity(cut: PruneSpec | None, example: Tensor) -> Granularity:
    if cut is None:
        return Channels(example_inputs=example)
    available = {"example_inputs": example, "residual": cut.residual}
    return build_granularity("Spec(prune.granularity)", cut.granularity, available)


def scoring_temperature(spec: Spec) -> float:
    """What the logits are divided by while scoring.

    Example:
        >>> from flowprune.experiments.spec import parse
        >>> fields = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "objective": {"temperature": 5.0}}
        >>> grasp = {"measure": "gradient_norm_increase", "temperature": "published"}
        >>> scoring_temperature(parse(fields)), scoring_temperature(parse({**fields, "prune": grasp}))
        (5.0, 200.0)
    """
    asked = spec.prune.temperature if spec.prune else None
    if asked == "published" and spec.prune is not None and spec.prune.recipe is None:
        asked = MEASURES[spec.prune.measure].temperature
    return spec.objective.temperature if asked is None or asked == "published" else asked


def scoring_batches(spec: Spec, dataset: ImageSet, turn: int) -> Batches:
    """The samples that round ``turn`` is scored on; the same in every round unless the spec asks for others.

    Raises:
        ValueError: balanced samples are asked for, and a class has too few images.
    """
    cut = spec.prune
    seed = derive(spec.seed, "scoring", turn) if cut and cut.resampled else spec.seed
    if cut is None or not cut.balanced:
        samples = min(cut.samples if cut else spec.record.flow_samples, len(dataset.train))
        return data.scoring_batches(dataset, samples, seed=seed, augment=bool(cut and cut.augmented))
    samples = max(cut.samples // dataset.num_classes, 1) * dataset.num_classes
    if cut.short == "refuse":
        _require_of_each_class(dataset, samples)
    return data.scoring_batches(
        dataset, samples, seed=seed, augment=cut.augmented, class_balanced=True, short=cut.short
    )


def cut_short(spec: Spec, dataset: ImageSet) -> Iterator[str]:
    """A line for each number of samples that the run has use for and that the training split does not have.

    A class that is short is another matter: it is refused, or warned of (``prune.short``).
    """
    cut, record = spec.prune, spec.record
    used = {
        "prune.samples": cut.samples if cut is not None and not cut.balanced else 0,
        "record.flow_samples": record.flow_samples if record.flow != "none" else 0,
        "record.track.samples": record.track.samples if record.track.every != "none" or record.scatter.epochs else 0,
    }
    there = len(dataset.train)
    for field, samples in used.items():
        if samples > there:
            yield f"{field} = {samples} is more than the {there} training images: all of them are taken."


def _require_of_each_class(dataset: ImageSet, samples: int) -> None:
    counts = torch.bincount(dataset.train.labels.cpu(), minlength=dataset.num_classes)
    fewest = int(counts.min())
    if fewest * dataset.num_classes < samples:
        rule = f"at most {fewest} for each of the {dataset.num_classes} classes where prune.balanced is true, as class "
        rule += f"{int(counts.argmin())} of {dataset.name!r} has no more training images"
        todo = "Lower it, set prune.short=take to take what there is of a class, or prune.balanced=false."
        raise invalid("Spec(prune.samples)", rule, samples // dataset.num_classes, todo)


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
    require_takes(name, model, dataset)
    return model


def require_takes(name: str, model: nn.Module, dataset: ImageSet) -> None:
    """Raise where a model does not take a data set's images, or has no output for each of its classes.

    Raises:
        ValueError: naming the model and the data set.
    """
    images = dataset.normalise(dataset.train.images[:2]).cpu()
    where, rule = f"model {name!r}", f"able to take images of shape {dataset.shape}, as {dataset.name!r} has"
    todo = "Choose another model or data set, or change the model's options."
    try:
        with evaluating(model):
            found = tuple(outputs(model, (images, None)).shape)
    except (RuntimeError, ValueError) as error:
        raise invalid(where, rule, str(error).partition("\n")[0], todo) from None
    if len(found) != 2 or found[1] < dataset.num_classes:
        wanted = f"giving outputs of shape {(len(images), dataset.num_classes)}, one for each class of {dataset.name!r}"
        raise invalid(where, wanted, found, todo)


def _rate(train: TrainSpec, per_epoch: int) -> Rate:
    """The learning rate, whichever way round the milestones were written."""
    order = sorted(train.milestones.items(), key=lambda item: Step.parse(item[0]).iterations(per_epoch))
    rate = steps(train.learning_rate, dict(order))
    rate(0, per_epoch)  # here rather than in the first step: it refuses two milestones at one moment
    return rate


def build_pruner(spec: Spec, parts: Parts) -> Pruner | None:
    """The pruner of a spec, which observes what the record asks for besides; None for a dense run.

    Raises:
        UnknownNameError: a pattern of ``prune.protect`` that fits no layer.
        ValueError: more rounds than units to cut, or a setting that ``reference_compat`` would ignore.
        PruningError: floors and protection keep more than ``prune.sparsity`` leaves, or the model cannot be traced.
    """
    cut = spec.prune
    if cut is None:
        return None
    if cut.at == "init":
        return _holding(cut, parts)
    if spec.reference_compat and cut.residual == "masked" and cut.schedule == "rounds":
        schedule = schedules.rounds_truncated(cut.rounds, sparsity=cut.sparsity)
    else:
        schedule = scheduled("Spec", cut)
    event = None
    if cut.when is not None:
        event = schedules.at_latest(schedules.build_event(cut.when, **cut.when_options), spec.latest)
    pruner = Pruner(
        parts.model,
        parts.optimizer,
        measure=cut.measure,
        granularity=parts.granularity,
        objective=parts.scored_for(cut.measure),
        schedule=schedule,
        when=event,
        normalise=cut.normalise,
        scope=cut.scope,
        floor=None if cut.floor == "none" else cut.floor,
        protect=cut.protect,
        momentum=cut.momentum,
        observe=OBSERVED["loss" if spec.retrains and spec.record.cuts != "none" else spec.record.cuts],
        seed=derive(spec.seed, "masks"),
        reference_compat=spec.reference_compat,
        **locality(cut),
    )
    pruner.require_feasible(names=FIELDS)
    return pruner


def _holding(cut: PruneSpec, parts: Parts) -> Pruner:
    """A pruner that cuts nothing by itself, and holds the masks that are drawn before the first step."""
    measure = cut.measure if cut.recipe is None else RECIPES[cut.recipe].measure
    return Pruner(
        parts.model,
        parts.optimizer,
        measure=measure,
        granularity=parts.granularity,
        objective=parts.scored_for(measure),
        schedule=schedules.one_shot(sparsity=cut.sparsity),
        allow_revival=False,
    )


FIELDS: Final = Names(
    schedule="Spec(prune.sparsity)",
    rounds="Spec(prune.rounds)",
    protect="Spec(prune.protect)",
    floor="Spec(prune.floor)",
)
"""Where a spec says what a pruner may refuse."""
OBSERVED: Final[Mapping[str, tuple[str, ...]]] = {
    "gradient_norm": ("gradient", "hessian_gradient"),
    "loss": ("gradient",),
    "none": (),
}
"""Signals that a cut is predicted with, by what is recorded of it."""
