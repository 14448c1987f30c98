"""The claims of the founding paper that stored rows can bear on, each with a statistic that is positive where it holds.

All that its observations, its first figure and table, and one figure that could be read off, say of what is stored,
whether it comes out or not; no accuracy of the paper is a target.
"""

from __future__ import annotations

from flowprune.report.reproduction import correlations as along
from flowprune.report.reproduction import cutting, flowing, profiles, settling
from flowprune.report.reproduction.claim import Claim, together
from flowprune.report.reproduction.outcomes import compared, final, once, speed
from flowprune.report.reproduction.reading import BIASED, INCREASE, INCREASE_1, LOSS, MAGNITUDE, PRESERVATION

TRAIN, TEST = speed("train_accuracy"), speed("test_accuracy")
SPEED = together(
    compared(MAGNITUDE, LOSS, TRAIN, "train accuracy"),
    compared(MAGNITUDE, LOSS, TEST, "test accuracy"),
)
"""The first claim, which the figure of convergence quotes."""
BETTER = {each: compared(PRESERVATION, each, final) for each in (INCREASE, INCREASE_1)}
"""The claims of Observation 5 that its figure quotes."""

SPEEDS = (
    Claim(
        "magnitude converges faster",
        "Observation 1, Figure 1: networks cut by magnitude converge faster than those cut by loss preservation.",
        "mean accuracy over the epochs after the last cut, magnitude − loss preservation",
        "points",
        SPEED,
    ),
    Claim(
        "the loss falls faster under magnitude",
        "Observation 1: keeping large parameters makes the pruned model's loss fall faster.",
        "mean train loss over the epochs after the last cut, loss preservation − magnitude",
        "nats",
        compared(LOSS, MAGNITUDE, speed("train_loss", by=1.0)),
    ),
    Claim(
        "magnitude converges faster than the second order",
        "The abstract: models converge faster than under measures that know nothing of magnitude.",
        "mean train accuracy over the epochs after the last cut, magnitude − the other measure",
        "points",
        together(*(compared(MAGNITUDE, o, TRAIN, o.name) for o in (INCREASE, INCREASE_1, PRESERVATION))),
    ),
)
ENDS = (
    Claim(
        "magnitude ends higher",
        "Table 1: magnitude does better than loss preservation, consistently.",
        "final test accuracy, magnitude − loss preservation",
        "points",
        compared(MAGNITUDE, LOSS, final),
    ),
    Claim(
        "the bias helps",
        "Table 1: loss preservation biased to remove small parameters narrows the gap, or wins.",
        "final test accuracy, biased loss − loss preservation",
        "points",
        compared(BIASED, LOSS, final),
    ),
)
FIRST_ORDER = (
    Claim(
        "loss preservation preserves the loss",
        "Observation 2 and E6: it removes what changes the loss least.",
        "size of the change of the loss at the first cut, magnitude − loss preservation",
        "nats",
        cutting.loss_changes(MAGNITUDE, LOSS, size=True),
    ),
    Claim(
        "loss preservation suits networks that were hardly trained",
        "Observation 2: it suits minimally trained models. Here: all is cut at once, after the first epoch.",
        "final test accuracy of runs cut in 1 round, loss preservation − magnitude",
        "points",
        once(compared(LOSS, MAGNITUDE, final)),
    ),
)
LINK = (
    Claim(
        "unrelated before training",
        "Observation 3 and its figure: magnitude and loss preservation hardly correlate at the start (0.1 to 0.2).",
        "0.3 − the correlation before training",
        "",
        along.moment(along.start, most=0.3),
    ),
    Claim(
        "related soon",
        "The figure of Observation 3: the correlation jumps within the first epochs.",
        "Fisher's z of the correlation at the first record after training began − before training",
        "z",
        along.change(along.soon),
    ),
    Claim(
        "less related until the learning rate falls",
        "The same figure: after the jump the correlation sags until the learning rate falls.",
        "Fisher's z at the first record after training began − at the last before the learning rate falls",
        "z",
        along.change(along.sag),
    ),
    Claim(
        "more related after the learning rate falls",
        "The same figure: then it rises.",
        "Fisher's z at the end − at the last record before the learning rate falls",
        "z",
        along.change(along.recovery),
    ),
    Claim(
        "related more and more",
        "Observation 3: they agree more as training goes on.",
        "Fisher's z at the end − at the first record after training began",
        "z",
        along.change(along.whole_course),
    ),
    Claim(
        "more related in VGG-13 than in MobileNet-V1",
        "The same figure: VGG-13 ends near 0.6, MobileNet-V1 near 0.37.",
        "Fisher's z at the end, VGG-13 − MobileNet-V1",
        "z",
        along.between_networks,
    ),
    Claim(
        "masks settle where the learning rate falls",
        "The same figure: the mask distance drops there.",
        "mask distance at the last record before the learning rate falls − at the first after",
        "",
        together(settling.settles("magnitude"), settling.settles("loss_preservation")),
    ),
    Claim(
        "masks stand still after the learning rate fell",
        "The same figure: the mask distance is near 0 from there on.",
        f"{settling.STILL:g} − mask distance at the first record after the learning rate fell",
        "",
        together(settling.stands("magnitude"), settling.stands("loss_preservation")),
    ),
)
INCREASING = (
    Claim(
        "θ·g and θ·Hg go together",
        "Observation 4: the units whose removal raises the gradient norm are those whose removal raises the loss.",
        "correlation of θ·g and θ·Hg over units",
        "",
        along.aligned(0.0),
    ),
    Claim(
        "Hg is nearly along g",
        "The argument behind Observation 4: Hg is nearly aligned with g.",
        "correlation of θ·g and θ·Hg over units − 0.5",
        "",
        along.aligned(0.5),
    ),
    Claim(
        "increase raises the loss",
        "Observation 4: what gradient-norm increase removes raises the loss.",
        "measured change of the loss, mean over the cuts of a run, at the temperature it was scored at",
        "nats",
        cutting.own_changes((INCREASE, INCREASE_1), "loss"),
    ),
    Claim(
        "increase (T = 200) raises the loss more than preservation",
        "Observation 4: it removes what raises the loss most.",
        "measured change of the loss at the first cut, at one temperature, increase (T = 200) − preservation",
        "nats",
        cutting.loss_changes(INCREASE, PRESERVATION, size=False),
    ),
    Claim(
        "increase (T = 1) raises the loss more than preservation",
        "The same, scored at T = 1.",
        "measured change of the loss at the first cut, at one temperature, increase (T = 1) − preservation",
        "nats",
        cutting.loss_changes(INCREASE_1, PRESERVATION, size=False),
    ),
    Claim(
        "increase raises the gradient norm",
        "E7 and the name of the measure.",
        "measured change of ‖g‖² as a share of ‖g‖², mean over the cuts of a run, at the temperature it was scored at",
        "",
        cutting.own_changes((INCREASE, INCREASE_1), "gradient norm"),
    ),
    Claim(
        "increase cuts early layers",
        "It damages early layers.",
        "share kept of the later layers − of the first third of the layers, after the last cut",
        "points",
        profiles.within,
    ),
    Claim(
        "increase cuts early layers more than every other measure",
        "It damages early layers, as no other measure does.",
        "that deficit of early layers, increase − the largest of any other measure",
        "points",
        profiles.against_others,
    ),
)
PRESERVING = (
    *(
        Claim(
            f"preservation beats increase (T = {each.temperature:g})",
            "Observation 5: preserving the gradient norm gives better models than increasing it.",
            f"final test accuracy, preservation − increase at T = {each.temperature:g}",
            "points",
            cases,
        )
        for each, cases in BETTER.items()
    ),
    Claim(
        "preservation trains better",
        "Observation 5: its networks train better than under increase.",
        "mean train accuracy over the epochs after the last cut, preservation − increase",
        "points",
        together(*(compared(PRESERVATION, o, TRAIN, f"increase at T = {o.temperature:g}") for o in BETTER)),
    ),
    Claim(
        "preservation keeps the loss",
        "Observation 5: it keeps the model's loss as well.",
        "size of the change of the loss at the first cut, at one temperature, increase (T = 1) − preservation",
        "nats",
        cutting.loss_changes(INCREASE_1, PRESERVATION, size=True),
    ),
    Claim(
        "preservation keeps the gradient norm",
        "The name of the measure.",
        "size of the change of ‖g‖² at the first cut as a share of ‖g‖², increase (T = 1) − preservation",
        "",
        cutting.norm_changes(INCREASE_1, PRESERVATION),
    ),
)
FRAMEWORK = (
    Claim(
        "derivatives of the norm are computed right",
        "E3 and E4, which are identities of gradient flow: a check of this library, not of training.",
        "share of moments at which a difference along a short flow agrees within 1 % − 90 %",
        "points",
        flowing.derivatives,
    ),
    Claim(
        "real steps follow gradient flow",
        "E3 along real training, alone and with one correction more in each line.",
        "share of moments at which the predicted change of the squared norm over 20 steps is within 10 % − 50 %",
        "points",
        flowing.steps,
    ),
    Claim(
        "the loss changes in the predicted direction",
        "E6: what a cut does to the loss, to first order.",
        "balanced accuracy of the predicted sign over the cuts of a run − 50 %",
        "points",
        cutting.signs("loss_change"),
    ),
    Claim(
        "the gradient norm changes in the predicted direction",
        "E7: what a cut does to the squared gradient norm, to first order.",
        "balanced accuracy of the predicted sign over the cuts of a run − 50 %",
        "points",
        cutting.signs("gradient_norm2_change"),
    ),
    Claim(
        "changes of the loss are ranked as predicted",
        "E6, whatever the scale.",
        "Spearman's correlation of predicted and measured changes over the cuts of a run",
        "",
        cutting.ranks("loss_change"),
    ),
    Claim(
        "changes of the gradient norm are ranked as predicted",
        "E7, whatever the scale.",
        "Spearman's correlation of predicted and measured changes over the cuts of a run",
        "",
        cutting.ranks("gradient_norm2_change"),
    ),
)
CLAIMS: tuple[Claim, ...] = (*SPEEDS, *ENDS, *FIRST_ORDER, *LINK, *INCREASING, *PRESERVING, *FRAMEWORK)
"""In the order of the paper."""
