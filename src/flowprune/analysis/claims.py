"""The founding paper's five observations as claims that a model can contradict.

Each is one row: the statistic is a function of one seed's :class:`~flowprune.analysis.probe.Probe`, and above 0
speaks for the claim. Published are observations on networks and data of the paper's; whether they hold elsewhere,
or at another moment of training, is what the statistics are for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from flowprune.analysis.agreement import agreement
from flowprune.analysis.claim import Claim
from flowprune.analysis.probe import Named, Probe
from flowprune.analysis.rank_correlation import by_shared_factor, spearman, spearman_within, strength


def loss_between(probe: Probe, a: str, b: str) -> float:
    """Mean training loss over the steps after the cut by a, minus that after the cut by b."""
    return probe.courses[a].mean_loss - probe.courses[b].mean_loss


def _after_cuts(probe: Probe, a: str, b: str) -> dict[str, float]:
    """What the two cuts share, and of each the change of loss at once, the mean loss and the loss at the end."""
    fields = ("change", "mean_loss", "last_loss")
    kept = probe.courses[a].kept, probe.courses[b].kept
    both = sum(int((kept[0][name] & kept[1][name]).sum()) for name in kept[0])
    courses = {f"{field}_{name}": getattr(probe.courses[name], field) for field in fields for name in (a, b)}
    return {"overlap": both / kept[0].kept, **courses}


def _details_1(probe: Probe) -> dict[str, float]:
    return _after_cuts(probe, "loss_preservation", "magnitude")


def _speed(probe: Probe) -> Named | None:
    """How far each unit's ‖θ_p‖² moved, in either direction."""
    return None if probe.moved is None else {name: value.abs() for name, value in probe.moved.items()}


def _value_2(probe: Probe) -> float:
    """Over the units that E3 speaks of: it gives those that are scale-invariant in training a speed of zero."""
    importance, moved = (
        {name: value for name, value in (each or {}).items() if name not in probe.invariant}
        for each in (probe.scores["absolute_first_order"], _speed(probe))
    )
    return spearman(importance, moved) if moved else math.nan


def _details_2(probe: Probe) -> dict[str, float]:
    scores, moved = probe.scores, _speed(probe)
    importance = scores["absolute_first_order"]
    falls = {name: -value for name, value in scores["signed_first_order"].items()}
    units = {name: value.numel() for name, value in importance.items()}
    invariant = sum(units[name] for name in probe.invariant) / sum(units.values())
    return {
        "scale_invariant": math.nan if moved is None else invariant,
        "spearman_signed": spearman(falls, probe.moved),
        "spearman_all_units": spearman(importance, moved),
        "spearman_per_layer": spearman_within(importance, moved),
        "spearman_sum_abs": spearman(scores["loss_preservation"], moved),
        "spearman_sum_abs_per_layer": spearman_within(scores["loss_preservation"], moved),
        "spearman_magnitude": spearman(scores["magnitude"], moved),
        **_overlap(probe, importance, moved),
    }


def _details_3(probe: Probe) -> dict[str, float]:
    magnitude, loss = probe.scores["magnitude"], probe.scores["loss_preservation"]
    return {
        "spearman_per_layer": spearman_within(magnitude, loss),
        "spearman_by_shared_factor": spearman(magnitude, by_shared_factor(loss, magnitude, seed=probe.seed)),
        "pearson": agreement(magnitude, loss, sparsity=probe.sparsity).pearson,
        **_overlap(probe, magnitude, loss),
    }


def _details_4(probe: Probe) -> dict[str, float]:
    first, second = probe.scores["signed_first_order"], probe.scores["gradient_norm_increase"]
    return {
        "change_gradient_norm_increase": probe.courses["gradient_norm_increase"].change,
        "change_random": probe.random_change,
        "change_lowest_signed_first_order": probe.harmful_change,
        "spearman_first_second_order": spearman(first, second),
        "spearman_first_second_order_per_layer": spearman_within(first, second),
    }


def _details_5(probe: Probe) -> dict[str, float]:
    return _after_cuts(probe, "gradient_norm_increase", "gradient_norm_preservation")


def _overlap(probe: Probe, a: Named, b: Named | None) -> dict[str, float]:
    """Of the units that one keeps, the fraction that the other keeps; and of two random kept sets."""
    units = sum(value.numel() for value in a.values())
    found = math.nan if b is None else agreement(a, b, sparsity=probe.sparsity).overlap
    return {"overlap": found, "overlap_by_chance": 1.0 - round(probe.sparsity * units) / units}


def _remark_1(value: float, details: Mapping[str, float]) -> str:
    del value
    return (
        f"Right after the cut the loss changed by {details['change_loss_preservation']:+.3g} (loss preservation) and "
        f"{details['change_magnitude']:+.3g} (magnitude); {details['overlap']:.0%} of what one keeps, the other keeps."
    )


def _moot_2(details: Mapping[str, float]) -> str | None:
    if details["scale_invariant"] != 1.0:
        return None
    return (
        "Every unit is scale-invariant in training, as filters before a batch norm are: Σ θ·g is zero there, so that "
        "the flow moves no unit's norm, and norms grow by the size of the steps alone. Importance, taken with running "
        "statistics, is not their speed: choose loss preservation for the loss it keeps, not for dynamics. The two "
        f"correlate at {details['spearman_all_units']:.2f} in size, which E3 does not explain: with its sign it gives "
        f"{details['spearman_signed']:.2f}."
    )


def _remark_2(value: float, details: Mapping[str, float]) -> str:
    left_out = (
        f" {details['scale_invariant']:.0%} of the units are no part of it: a norm over the batch makes them "
        "scale-invariant, so that E3 gives their norms no speed in training."
        if details["scale_invariant"] > 0.0
        else ""
    )
    return (
        f"The correlation is {strength(value)}; with its sign, as E3 has it, {details['spearman_signed']:.2f} over all "
        f"units.{left_out} Magnitude alone gives {details['spearman_magnitude']:.2f}, the "
        f"published Σ|θ·g| {details['spearman_sum_abs']:.2f}; within layers importance gives "
        f"{details['spearman_per_layer']:.2f}."
    )


def _remark_3(value: float, details: Mapping[str, float]) -> str:
    return (
        f"The correlation is {strength(value)}. Gradients dealt to the wrong units of a layer would leave "
        f"{details['spearman_by_shared_factor']:.2f}, by the factor θ that both share; within layers it is "
        f"{details['spearman_per_layer']:.2f}."
    )


def _remark_4(value: float, details: Mapping[str, float]) -> str:
    del value
    return (
        f"The loss changed by {details['change_gradient_norm_increase']:+.3g} against {details['change_random']:+.3g} "
        f"at random; Σ θ·g and Σ θ·(Hg) correlate at {details['spearman_first_second_order']:.2f}."
    )


def _remark_5(value: float, details: Mapping[str, float]) -> str:
    del value
    return (
        f"Right after the cut the loss changed by {details['change_gradient_norm_increase']:+.3g} (increase) and "
        f"{details['change_gradient_norm_preservation']:+.3g} (preservation); {details['overlap']:.0%} of what one "
        "keeps, the other keeps."
    )


MORE = "Raise the number of seeds or steps to decide."

CLAIMS = (
    Claim(
        number=1,
        title="magnitude",
        claim="a model that keeps its large parameters trains faster than one pruned without regard to magnitude",
        statistic="training loss over the steps, cut by loss preservation - by magnitude",
        formula="(1/S) Σ_s L_s(cut by Σ|θ·g|) - (1/S) Σ_s L_s(cut by (Σθ²)^½)",
        value=lambda probe: loss_between(probe, "loss_preservation", "magnitude"),
        details=_details_1,
        advice={
            "holds": "Cut by magnitude, this model trains on with the lower loss: where training goes on after a cut, "
            "prefer magnitude, or biased_loss, which weighs loss preservation by it.",
            "does not hold": "Cut by magnitude, this model trains on with the higher loss: prefer loss_preservation "
            "here, which suits models that have hardly been trained.",
            "undecided": f"No lead beyond the spread: of two so alike, magnitude needs no data. {MORE}",
        },
        remark=_remark_1,
        trainings=("loss_preservation", "magnitude"),
    ),
    Claim(
        number=2,
        title="loss preservation",
        claim="its importance is, up to a constant, the speed of a unit's norm, so it removes the slowest units",
        statistic="rank correlation of importance and measured change of ‖θ_p‖²",
        formula="ρ(|Σ θ·g|, |Σ θ²(after S steps) - Σ θ²(before)|)",
        value=_value_2,
        details=_details_2,
        advice={
            "holds": "Loss preservation tends to cut units whose norm changes little in the steps that follow, which "
            "suits a model that is still changing fast; rely on it as far as the strength goes.",
            "does not hold": "Loss preservation tends to cut units whose norm changes more in the steps that follow: "
            "training is far from gradient flow here. Do not choose a measure for its dynamics; compare losses (1, 5).",
            "undecided": f"It is open whether importance tells which units change slowly in the steps that follow: "
            f"choose loss preservation for the loss it keeps, not for dynamics. {MORE}",
        },
        remark=_remark_2,
        moot=_moot_2,
        trainings=("none",),
    ),
    Claim(
        number=3,
        title="link",
        claim="magnitude and loss preservation agree, the more so the longer a model was trained",
        statistic="rank correlation of magnitude and loss preservation",
        formula="ρ((Σ θ²)^½, Σ|θ·g|)",
        value=lambda probe: spearman(probe.scores["magnitude"], probe.scores["loss_preservation"]),
        details=_details_3,
        advice={
            "holds": "Magnitude, which needs no data, agrees with loss preservation beyond the spread; let it stand in "
            "as far as the strength goes.",
            "does not hold": "The two contradict each other at this moment: cutting by magnitude tends to remove what "
            "the loss needs. Use loss_preservation or biased_loss, or cut later.",
            "undecided": "It is open whether the two agree at this moment: do not take magnitude as a stand-in for "
            "loss preservation before a later checkpoint, or more seeds, say so.",
        },
        remark=_remark_3,
    ),
    Claim(
        number=4,
        title="increase of gradient norm",
        claim="removing what raises the gradient norm removes what raises the loss most",
        statistic="change of loss, cut by gradient-norm increase - at random",
        formula="L(cut by Σ θ·(Hg)) - L(as many units of each layer cut at random)",
        value=lambda probe: probe.courses["gradient_norm_increase"].change - probe.random_change,
        details=_details_4,
        advice={
            "holds": "Cutting by gradient_norm_increase does more harm at once than chance: do not use it where little "
            "training follows. Whether training makes up for it, 5 says.",
            "does not hold": "Cutting by gradient_norm_increase does less harm at once than chance: the paper's "
            "warning does not apply here. Whether it helps training, 5 says.",
            "undecided": "The loss right after the cut does not tell gradient_norm_increase from chance, beyond the "
            "spread: it gives no reason for or against it. Whether it helps training, 5 says.",
        },
        remark=_remark_4,
    ),
    Claim(
        number=5,
        title="preservation of gradient norm",
        claim="preserving the gradient norm gives better models than increasing it",
        statistic="training loss over the steps, cut by gradient-norm increase - by preservation",
        formula="(1/S) Σ_s L_s(cut by Σ θ·(Hg)) - (1/S) Σ_s L_s(cut by |Σ θ·(Hg)|)",
        value=lambda probe: loss_between(probe, "gradient_norm_increase", "gradient_norm_preservation"),
        details=_details_5,
        advice={
            "holds": "Of the two measures of second order, use gradient_norm_preservation.",
            "does not hold": "Of the two measures of second order, gradient_norm_increase (GraSP) leaves the model "
            "that trains better.",
            "undecided": f"The two measures of second order do not differ beyond the spread. {MORE}",
        },
        remark=_remark_5,
        trainings=("gradient_norm_increase", "gradient_norm_preservation"),
    ),
)
"""The five, in the paper's order."""
