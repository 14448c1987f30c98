"""docs/loss_models.md: what pruning trained networks costs of the loss, what that tells, and the paper's claims."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from initialization_page import stored

if TYPE_CHECKING:
    from flowprune.experiments.study import Study
    from flowprune.report.evidence import Evidence
    from flowprune.report.values import Row

SMALL = ("laurent2020-mlp-small", "laurent2020-vgg11-small")
ADAPTIVE = "laurent2020-mlp-adaptive"
FULL = ("laurent2020-mlp", "laurent2020-vgg11", "laurent2020-preact-resnet18")

HEAD = """# Loss models: what pruning costs, and what that tells

Generated from the rows in results/laurent2020-mlp-small, results/laurent2020-vgg11-small and
results/laurent2020-mlp-adaptive, each with its spec, seed, versions and hardware. Made by

    flowprune sweep --study laurent2020-mlp-small --data-dir data --runs runs/loss-mlp
    flowprune collect runs/loss-mlp --into results/laurent2020-mlp-small
    flowprune sweep --study laurent2020-vgg11-small --data-dir data --runs runs/loss-vgg11
    flowprune collect runs/loss-vgg11 --into results/laurent2020-vgg11-small
    flowprune sweep --study laurent2020-mlp-adaptive --data-dir data --runs runs/loss-adaptive
    flowprune collect runs/loss-adaptive --into results/laurent2020-mlp-adaptive
    python docs/generate.py

**What is done**, as in "Revisiting Loss Modelling for Unstructured Pruning" (Laurent et al. 2020,
[2006.12279](https://arxiv.org/abs/2006.12279)). A network is trained; its best epoch by validation is pruned in π
stages with nothing in between, signals taken anew before each; what is left is trained again with a new optimizer and
the first learning rates, for as many epochs. A weight's score, of which the lowest go first, is
|−g θ + ½ d θ²| + (λ/2) θ², with g the gradient and d the exact diagonal of the Gauss-Newton matrix on the scoring
samples: *LM* has d = 0, *OBD* has g = 0, *QM* has both, and magnitude pruning has g = 0 and d = 1. The step penalty λ
and the number of stages keep steps local. ΔL is the loss on the whole training set, without augmentation, right after
pruning − right before.

**How to read it.** Means are over the n seeds that are stored, five in a whole study, ± one sample standard deviation.
Each claim has a statistic that is positive where it holds, computed seed by seed; it *holds* where the whole 95 %
interval over the seeds (Student's t; of correlations by Fisher's z) is above zero, *does not hold* where it is below,
and is *undecided* otherwise. Of a claim that two things are alike, the statistic is a margin less the size of their
difference, with the interval of the difference. Where stages or λ are chosen, they are chosen for each seed by the
other four. Images, widths and epochs are a fraction of the paper's: accuracies compare with each other and with no
paper's, and "does not hold" is a statement about these settings.
"""
ADAPTS = """`fp.schedules.adaptive` makes each stage the largest that is found of which the signed change of the loss is
predicted, by the gradient and the whole Hessian, within a tolerance of what is measured; at most 140 of them, and where
the pace that this takes leaves no other choice, one that is not within it. How far that is what it says, and whether it
does better than the most stages of a fixed pace, 1, 14 or 140, that are no more than it takes:"""
NOT_DONE = """The studies at the paper's own size, {runs} runs each with nine step penalties, were not run.
They are made by `flowprune sweep --study NAME --set device=cuda`, with NAME one of {names}; a single run by
`flowprune run --preset NAME`. {stored}The small studies have fewer step penalties, VGG-11 none with 140
stages; the pre-activation ResNet-18 has no small study."""


def page(
    evidence_of: Callable[[str], Evidence], errors_of: Callable[[str], Mapping[str, str]] = lambda study: {}
) -> str:
    """The whole page; empty while no row of either small study is stored.

    Args:
        evidence_of: What is stored of a study, by its name.
        errors_of: What runs of a study said that stopped, by its name; by run id.
    """
    from flowprune.experiments.studies import STUDIES

    found = {name: evidence_of(name) for name in SMALL}
    rows = [row for evidence in found.values() for row in evidence.rows]
    if not any(row.get("kind") == "pruned" for row in rows):
        return ""
    parts = {"The three claims": claims(rows)}
    for name, evidence in found.items():
        study = STUDIES[name]
        title = study.title.partition(": ")[2].partition(",")[0]
        parts[title[0].upper() + title[1:]] = [
            f"{stored(evidence, study)} {scale(study)}",
            "",
            *failed(study, errors_of(name)),
            *results(name, evidence.rows),
        ]
    if found_adaptive := adaptive(evidence_of(ADAPTIVE), STUDIES[ADAPTIVE]):
        parts["Stages as large as the model allows"] = found_adaptive
    parts["What is not done"] = not_done(evidence_of)
    text = [HEAD]
    for title, section in parts.items():
        text += [f"## {title}", "", *section, ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).rstrip("\n") + "\n"


def claims(rows: Sequence[Row]) -> list[str]:
    """What became of each claim of the abstract, network by network."""
    from flowprune.report.reproduction.page import markdown
    from flowprune.report.reproduction.preserving import PRESERVING

    intro = (
        "The abstract says that (1) it is important that pruning steps are local; that (2) models of first and second"
        " order reach similar levels; and that (3) preserving the loss better does not necessarily end at a better"
        " network after the second training."
    )
    return [intro, "", markdown(rows, PRESERVING).replace("\n## ", "\n### ")]


def adaptive(evidence: Evidence, study: Study) -> list[str]:
    """What becomes of stages that are as large as the loss model allows."""
    from flowprune.report.reproduction.adapting import ADAPTING
    from flowprune.report.reproduction.page import markdown
    from flowprune.report.tables import TABLES

    grid = TABLES["preservation"].of(evidence.rows)
    if grid is None:
        return []
    asked = markdown(evidence.rows, ADAPTING).replace("\n## ", "\n### ")
    return [ADAPTS, "", f"{stored(evidence, study)} {scale(study)}", "", asked, grid.markdown(), ""]


def results(name: str, rows: Sequence[Row]) -> list[str]:
    """The table and the figure of a study, with both kinds of correlation; nothing but that where nothing is stored."""
    from flowprune.report.figures import FIGURES
    from flowprune.report.sentences.preservation import correlations
    from flowprune.report.shapes.preservation import preservation
    from flowprune.report.tables import TABLES

    grid, drawn, records = TABLES["preservation"].of(rows), FIGURES["preservation"].of(rows), preservation(rows)
    if grid is None or drawn is None or records is None:
        return ["No run of the study is stored yet."]
    selected = correlations(records, "test_accuracy_selected")
    return [
        grid.markdown(),
        "",
        f"{drawn.sentence} {selected} Five seeds are few for a bootstrap: its intervals are too narrow.",
        "",
        f"`flowprune report results/{name} --figure preservation` draws it anew:",
        "",
        f"![Loss lost by pruning against accuracy after training again]({picture(name)})",
        "",
        f"*{drawn.caption}*",
        "",
    ]


def picture(name: str) -> str:
    """Where the figure of a study stands, from the page."""
    return f"images/{name}.svg"


def scale(study: Study) -> str:
    """How large the runs of a study are, as its specs have it."""
    from flowprune.report.wording import percent

    spec = study.specs[0]
    options = spec.data.options
    width = spec.model.options.get("width", 1.0)
    narrow = "" if width == 1.0 else f" at {width:g} of its width"
    epochs = spec.train.epochs.removesuffix("ep")
    cut = spec.prune
    samples = "" if cut is None else f", {cut.samples} scoring samples"
    held = percent(float(str(options["valid"])), 0)
    return (
        f"{spec.model.name}{narrow}; {options['train_samples']} images, {held} of them for validation,"
        f" {options['test_samples']} test images; twice {epochs} epochs{samples}."
    )


def failed(study: Study, errors: Mapping[str, str]) -> list[str]:
    """The runs that stopped, each with what it said first."""
    from flowprune.experiments.study import cell

    known = [(spec, errors[spec.run_id]) for spec in study.specs if spec.run_id in errors]
    lines = [f"- {cell(spec)}, seed {spec.seed}: {said.partition('. ')[0].rstrip('.')}." for spec, said in known]
    return ["These stopped:", "", *lines, ""] if lines else []


def not_done(evidence_of: Callable[[str], Evidence]) -> list[str]:
    """What of the paper no row here is about, with the commands that would make it."""
    from flowprune.experiments.studies import STUDIES
    from flowprune.report.wording import joined

    counts = {name: len(evidence_of(name).specs) for name in FULL}
    there = [f"{count} of {name}" for name, count in counts.items() if count]
    sizes = joined(sorted({str(len(STUDIES[name].specs)) for name in FULL}))
    names = joined([f"`{name}`" for name in FULL])
    kept = f"Stored are {joined(there)}. " if there else ""
    return [NOT_DONE.format(runs=sizes, names=names, stored=kept)]
