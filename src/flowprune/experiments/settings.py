"""The parts of a spec: frozen records that refuse unknown fields and values of another type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from flowprune.experiments.frozen import Frozen

STEP, EPOCHS, ANY_EPOCHS = r"^\d+(ep|it)$", r"^[1-9]\d*ep$", r"^\d+ep$"
DEVICE = r"^(cpu|mps|cuda(:\d+)?)$"
RULES = {
    STEP: "a number of epochs or iterations such as '80ep' or '500it'",
    EPOCHS: "a number of epochs, at least one, such as '20ep'",
    ANY_EPOCHS: "a number of epochs such as '0ep' or '25ep'",
    DEVICE: "'cpu', 'cuda', 'cuda:0' (or another number) or 'mps'",
}
"""What the patterns ask for, in words."""

StepText = Annotated[str, StringConstraints(pattern=STEP)]
EpochsText = Annotated[str, StringConstraints(pattern=EPOCHS)]
AnyEpochsText = Annotated[str, StringConstraints(pattern=ANY_EPOCHS)]
Option = bool | int | float | str | tuple[bool | int | float | str, ...]


class Part(BaseModel):
    """A frozen record that refuses unknown fields and values of another type (``"false"`` is no boolean)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelSpec(Part):
    """Which model: a name of ``MODELS``, and arguments of its builder."""

    name: str
    options: Frozen[str, Option] = Frozen()


class DataSpec(Part):
    """Which data: a name of ``DATASETS``, and arguments of its builder."""

    name: str
    options: Frozen[str, Option] = Frozen()


class ObjectiveSpec(Part):
    """Cross-entropy of ``logits / temperature``: trained on and, unless ``prune`` says otherwise, scored with."""

    temperature: Annotated[float, Field(gt=0)] = 1.0


class TrainSpec(Part):
    """Stochastic gradient descent: ``milestones`` maps a step such as ``"80ep"`` to the learning rate from there on.

    ``augment`` is whether training batches are augmented as is customary for the data set. A network that is pruned
    trained is trained so twice.
    """

    epochs: EpochsText = "20ep"
    batch: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    milestones: Frozen[StepText, Annotated[float, Field(gt=0)]] = Frozen()
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    augment: bool = True


class ExecutionSpec(Part):
    """How training steps are computed; see :class:`flowprune.train.Execution`. Part of the identity, as it rounds.

    Attributes:
        precision: ``"float32"``, or half precision by autocast; scoring and evaluation stay in float32.
        memory_format: Of the weights of convolutions.
        compiled: A mode of ``torch.compile``, or ``"none"``.
    """

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compiled: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"


class PruneSpec(Part):
    """Cut ``sparsity`` of the units in ``rounds`` cuts, one after each ``every``, the first after ``start`` and that.

    Attributes:
        measure: A name of ``MEASURES``; empty where there is a recipe.
        recipe: A name of ``RECIPES``, a published method; None where a measure is named.
        at: ``"training"``: in rounds between epochs; ``"init"``: before the first step, in one go; then ``start``,
            ``every`` and ``when`` mean nothing, and units are weights. ``"trained"``: the network as it was after the
            epoch of ``train.epochs`` that validation chose, in rounds with nothing in between; what is left is trained
            again for as many epochs, with a new optimizer and the learning rates from the start.
        iterations: At ``"init"``, how often scores are taken anew on the way; None: as often as the recipe does, or
            once.
        ablations: At ``"init"``, of ``"invert"``, ``"shuffle"`` and ``"reinitialize"``; see :func:`flowprune.prune`.
        score_on: At ``"init"``, ``"fresh_draw"`` scores other weights than those that are trained.
        rescale: At ``"init"``, kept weights are brought to the variance of dense ones by ``"layer"`` or ``"unit"``;
            ``"recipe"``: where the recipe does so.
        rounds: How many cuts.
        sparsity: The fraction of units removed after the last cut, in [0, 1).
        granularity: A name of ``GRANULARITIES``, with its sizes: ``"channels"`` are removed physically; ``"weights"``,
            ``"nm:2:4"`` (two of every four weights stay) and ``"blocks:4x1"`` are held at zero.
        residual: What becomes of channels that several layers add up to: ``"coupled"``, ``"inner"`` or ``"masked"``
            (:mod:`flowprune.structure.streams`).
        normalise: What scores of a layer are divided by before layers compete: ``"none"``, ``"mean"`` or ``"fan_in"``.
        scope: Whether scores compete over the whole model, within each layer, or among layers of one structure.
        schedule: How the cuts share the sparsity; a name of ``SCHEDULES``.
        schedule_options: What it has besides, such as the ``tolerance`` of ``"adaptive"`` stages, of which ``rounds``
            are the most there may be.
        floor: The fraction of each layer's units that is protected, its best-scored ones; ``"auto"`` is 0.05 for
            channels and none for weights.
        protect: Patterns of layers of which nothing is cut; they count in the denominator.
        start: Dense epochs before the rounds begin.
        every: The epochs before each cut.
        when: An event before which nothing is cut, shown the network after each ``every``: a name of ``EVENTS``; None:
            the first cut comes after the first ``every``.
        when_options: Arguments of its builder.
        latest: After how many looks at the event the first cut comes in any case; ``"auto"``: as late as the epochs
            allow.
        momentum: What becomes of the optimizer's state at a cut: ``"reset"`` drops it, ``"slice"`` keeps the live part.
        samples: How many training samples the signals are gathered on; the whole split where it holds fewer.
        balanced: Whether they are equally many of each class, ``samples / classes`` of them.
        short: Where a class has fewer: ``"refuse"``, or ``"take"`` what there is of it.
        augmented: Whether they are augmented as training batches are.
        resampled: Whether each round draws others.
        step_penalty: λ of (λ/2) θ², which is added to every score and keeps the step of a cut small.
        curvature: What stands for the diagonal of the Hessian where the measure needs one: ``"ggn"``, the generalized
            Gauss-Newton matrix, exactly; ``"fisher_mc"``, the same by drawn labels; ``"empirical"`` Fisher; or
            ``"hutchinson"``, of the Hessian itself.
        temperature: Of the objective while scoring; ``None`` for the objective's own, ``"published"`` for the one that
            the founding paper's code gives the measure (200 for GraSP, 1 for gradient-norm preservation, else its own).
    """

    measure: str = ""
    recipe: str | None = None
    at: Literal["training", "init", "trained"] = "training"
    iterations: Annotated[int, Field(ge=1)] | None = None
    ablations: tuple[Literal["invert", "shuffle", "reinitialize"], ...] = ()
    score_on: Literal["own_weights", "fresh_draw"] = "own_weights"
    rescale: Literal["recipe", "none", "layer", "unit"] = "recipe"
    rounds: Annotated[int, Field(ge=1)] = 1
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.75
    granularity: str = "channels"
    residual: Literal["coupled", "inner", "masked"] = "coupled"
    normalise: Literal["none", "mean", "fan_in"] = "none"
    scope: Literal["global", "local", "isomorphic"] = "global"
    schedule: str = "rounds"
    schedule_options: Frozen[str, Option] = Frozen()
    floor: Annotated[float, Field(ge=0, lt=1)] | Literal["auto", "none"] = "auto"
    protect: tuple[str, ...] = ()
    start: AnyEpochsText = "0ep"
    every: EpochsText = "1ep"
    when: str | None = None
    when_options: Frozen[str, Option] = Frozen()
    latest: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    momentum: Literal["slice", "reset"] = "reset"
    samples: Annotated[int, Field(ge=1)] = 2560
    balanced: bool = False
    short: Literal["refuse", "take"] = "refuse"
    augmented: bool = False
    resampled: bool = False
    step_penalty: Annotated[float, Field(ge=0)] = 0.0
    curvature: Literal["ggn", "fisher_mc", "empirical", "hutchinson"] = "ggn"
    temperature: Annotated[float, Field(gt=0)] | Literal["published"] | None = None

    @property
    def method(self) -> str:
        """The recipe, or the measure where there is none: what a column says of how units were chosen."""
        return self.measure if self.recipe is None else self.recipe


class TrackSpec(Part):
    """How far measures agree while the dense network trains, and when their masks settle.

    Attributes:
        every: The epochs between two records, the first before training; ``"none"`` for none. Nothing is recorded once
            units are cut.
        measures: Compared pair by pair, globally and in each layer.
        sparsity: Of the masks that each of them would draw.
        samples: How many training samples they are measured on, the same at every record.
    """

    every: Annotated[int, Field(ge=1)] | Literal["none"] = "none"
    measures: tuple[str, ...] = ("magnitude", "loss_preservation")
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.75
    samples: Annotated[int, Field(ge=1)] = 2560


class ScatterSpec(Part):
    """θ·g against θ·Hg of every unit of the dense network, on the samples of ``track``.

    Attributes:
        epochs: After which; 0 is before training.
        temperatures: Of the loss.
    """

    epochs: tuple[Annotated[int, Field(ge=0)], ...] = ()
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 200.0)


class RecordSpec(Part):
    """What is recorded beside accuracy.

    Attributes:
        flow: The epochs between two records of the norm and its predicted and measured derivatives, or ``"none"``.
        flow_samples: The samples they are taken on.
        flow_step: The measured flow goes forward and back for the time in which the loss falls by this fraction of it.
        flow_training: The optimizer's own steps over which the norm is followed after each such record, or ``"none"``.
        cuts: What is predicted of each cut and measured after it: the change of loss (E6), of the gradient norm besides
            (E7, which costs a Hessian product over the scoring samples), or ``"none"``. Of networks that are pruned
            trained, the change of loss in either case, and at first and second order as far as the signals go.
        agreement: Measures that are compared with each other before the first cut.
        track: Measures that are compared while the dense network trains.
        scatter: First against second order, unit by unit.
        checkpoint: The epochs between two checkpoints; there is one after each cut as well.
    """

    flow: Annotated[int, Field(ge=1)] | Literal["none"] = 1
    flow_samples: Annotated[int, Field(ge=1)] = 256
    flow_step: Annotated[float, Field(gt=0)] = 1e-6
    flow_training: Annotated[int, Field(ge=1)] | Literal["none"] = "none"
    cuts: Literal["gradient_norm", "loss", "none"] = "gradient_norm"
    agreement: tuple[str, ...] = ()
    track: TrackSpec = TrackSpec()
    scatter: ScatterSpec = ScatterSpec()
    checkpoint: Annotated[int, Field(ge=1)] = 5
