"""docs/initialization.md: every recipe, cell and verdict is what the rows give, and what is missing is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import flowprune as fp
from flowprune.core.recipes import RECIPES
from flowprune.report.evidence import Evidence
from tests.report import studied

DOCS = Path(__file__).parents[2] / "docs"


def page(generator, benchmarks=(), **accuracy):
    """The page of both studies, or of those of which something is stored."""

    def evidence(name):
        return studied.evidence(studied.rows(name, accuracy[name])) if name in accuracy else Evidence(())

    def rows(name):
        return [row for row in benchmarks if row["benchmark"] == name]

    return generator.initialization_page.page(evidence, rows)


@pytest.fixture(scope="module")
def whole(generator):
    return page(generator, init_small=studied.small, depth=studied.deep)


def section(text, title):
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_page_is_what_is_stored(generator):
    assert (DOCS / "initialization.md").read_text() == generator.initialization()


def test_every_recipe_is_there_with_all_its_deviations(generator):
    text = section(page(generator), "The recipes")
    for name in RECIPES:
        line = next(each for each in text.splitlines() if each.startswith(f"| `{name}` |"))
        assert RECIPES[name].source.arxiv in line
        assert line.endswith(f"| {RECIPES[name].rounds} |")
        assert all(f"    - {words}" in text for words in RECIPES[name].deviations)


def test_what_is_missing_is_said_and_never_an_error(generator):
    text = page(generator)
    assert "0 of 126 runs are stored." in text
    for words in (
        "No run of the study",
        "No run with an ablation",
        "No diagnosis is",
        "No two sparsities",
        "Not measured",
    ):
        assert words in text
    assert "images/depth.png" not in text
    half = page(generator, init_small=studied.small)
    assert "No two sparsities" in half
    assert "126 of 126 runs are stored." in half
    assert "VGG-16 at 0.25 of its width and ResNet-32 at 0.5 of its width; 3000 training images, 9 epochs." in text


def test_accuracies_stand_in_tables_by_method_and_sparsity(whole):
    def exact(measure, sparsity):
        lost = {"dense": 0, "snip": 2, "random": 12}[measure]
        return 40 - lost - (200 * (sparsity - 0.9) if measure != "dense" else 0)

    text = section(whole, "VGG-16 and ResNet-32").partition("### ResNet-32")[0]
    lines = {line.split(" | ")[0].removeprefix("| "): line.strip("| ").split(" | ")[1:] for line in text.splitlines()}
    for name, measure in (("dense", "dense"), ("SNIP", "snip"), ("random", "random")):
        for cell, sparsity in zip(lines[name], (0.9, 0.95, 0.98), strict=True):
            assert float(cell.strip("*†").split(" ± ")[0]) == pytest.approx(exact(measure, sparsity), abs=3)
    assert lines["chance"] == ["10.00"] * 3
    assert "SynFlow is highest in the mean" in text
    assert "beyond the spread below it:" in text
    assert "SBP-SR, stable network" in section(whole, "VGG-16 and ResNet-32")


def test_a_dense_network_that_hardly_trains_is_said_to(generator, whole):
    assert "hardly begun" not in whole
    slow = page(generator, init_small=lambda spec, rng: 0.15 if spec.prune is None else studied.small(spec, rng))
    assert "the dense network, at 15.0 ± 0.0 %, has hardly begun to train in these epochs" in slow


def ablated(**points):
    """SNIP as it is at 30 %, and each ablation so many points beside it, with a spread of half a point."""

    def accuracy(spec, rng):
        if spec.prune is None or spec.prune.recipe != "snip":
            return 0.3
        words = [*spec.prune.ablations, *(["fresh_draw"] if spec.prune.score_on == "fresh_draw" else [])]
        extra = 0.005 * (spec.seed - 1) if words else 0.0
        return 0.3 + sum(points.get(word, 0.0) for word in words) / 100 + extra

    return accuracy


def test_ablations_are_judged_by_their_interval(generator):
    text = section(
        page(generator, init_small=ablated(shuffle=-5, reinitialize=5, invert=-9)), "Does it matter which weights?"
    )
    assert "| shuffled | 25.00 ± 0.50 | 3 | −5.0 (−6.2 to −3.8) | lower |" in text
    assert "- VGG-16, shuffled: it costs accuracy, against the claim." in text
    assert "- VGG-16, reinitialized: it gains accuracy; the claim, that it costs none, holds." in text
    assert "- ResNet-32, inverted: it costs accuracy, as it ought to." in text
    text = page(generator, init_small=ablated())
    assert "- VGG-16, shuffled: no cost is shown, as claimed; one of 1.2 points is not excluded." in text
    assert "- VGG-16, inverted: a cost is not shown." in text
    assert "| scored on a fresh draw | 30.00 ± 0.50 | 3 | 0.0 (−1.2 to +1.2) | undecided |" in text


def test_methods_are_held_against_random_pruning(whole, generator):
    assert "- VGG-16: the methods beat random pruning, as claimed, in 12 of 12 comparisons" in whole
    text = page(generator, init_small=lambda spec, rng: studied.small(spec, rng) - 0.1 * (spec.prune is not None))
    assert "as claimed" in text

    def worse(spec, rng):
        return (
            0.39 + rng.gauss(0, 0.001) if spec.prune and spec.prune.recipe == "random" else studied.small(spec, rng) / 2
        )

    assert "in 0 of 12 comparisons and are beaten by it in 12; 0 are undecided." in page(generator, init_small=worse)


def test_collapse_names_the_layer_that_dies_first_and_networks_that_are_cut_through(generator, whole):
    text = section(whole, "Layer collapse")
    assert text.count("| b (3) |") == 19 + 21
    assert "Nothing that is kept" not in text
    found = studied.evidence(studied.rows("init_small", studied.small))
    cut = [
        {**r, "effective_sparsity": 1.0} if r["measure"] == "snip" and r["sparsity"] == 0.98 else r for r in found.rows
    ]
    said = generator.initialization_page.collapse(cut)
    assert said.count("Nothing that is kept is on a path from input to output: SNIP at 98 % (3 of 3).") == 2


def test_the_phases_of_deep_networks_are_computed(whole):
    text = section(whole, "A hundred layers")
    for words in ("relu, edge of chaos, σ_b = 0 (χ = 1.00)", "tanh, edge of chaos, σ_b = 0.05 (χ = 1.00)"):
        assert f"### {words}\n" in text
    assert "### relu, σ_w = 1.2, σ_b = 0: ordered phase (χ = 0.72)\n" in text  # σ_w² / 2
    assert "σ_w = 1, σ_b = 0.2: ordered phase" in text
    assert "σ_w = 2, σ_b = 0.2: chaotic phase" in text


def test_where_the_theory_holds_and_where_it_fails(generator, whole):
    text = " ".join(section(whole, "A hundred layers").split())
    assert "(1) Dense networks: all 5 as predicted." in text
    assert "(2) Pruned off the edge: as predicted in 24 of 24 combinations" in text
    assert "(3) Pruned on the edge, not rescaled: at the largest sparsity 4 of 4 combinations" in text
    assert "(4) Pruned on the edge, rescaled: as predicted in 13 of 16 combinations" in text
    assert "does not train: relu, edge of chaos, σ_b = 0, SBP (`snip`), rescaled at 80 %, 90 % and 95 %." in text
    assert (
        "Rescaling does not bring the relu network back after SBP (at 80 %, 90 % and 95 %), while after MBP it" in text
    )
    assert "does and the tanh network trains after SBP." in text
    text = " ".join(page(generator, depth=lambda spec, rng: 0.9).split())
    assert "Where the theory fails" not in text
    assert "against it, relu, σ_w = 1.2, σ_b = 0 (ordered phase) trains;" in text
    assert "(2) Pruned off the edge: as predicted in 0 of 24 combinations" in text


def test_networks_of_which_one_is_stored_are_known_from_their_specs(generator):
    from flowprune.experiments.studies import STUDIES

    specs = [spec for spec in STUDIES["depth"].specs if spec.model.options["activation"] == "tanh"][:40]
    specs = [spec for spec in specs if spec.model.options["initial"] == "edge_of_chaos"]
    found = studied.evidence(studied.rows("depth", studied.deep, specs))
    text = "\n".join(generator.initialization_page.initialization_depth.section(found))
    assert "### tanh, edge of chaos, σ_b = 0.05 (χ = 1.00)" in text


def variances(activation, recipe, sparsity):
    """The variance of signals in the last hidden layer of a pruned and rescaled network of thirty layers."""
    import torch

    torch.manual_seed(0)
    x, y = torch.randn(128, 64), torch.randint(0, 10, (128,))
    options = {"in_features": 64, "widths": [100], "repeat": 30, "activation": activation, "seed": 0}
    sigma_b = 0.0 if activation == "relu" else 0.05
    model = fp.models.build("mlp", num_classes=10, initial="edge_of_chaos", sigma_b=sigma_b, **options)
    kept = {"rescale": "layer", "floor": 0.0, "diagnose": False, "batch_sizes": ()}
    pruned = fp.prune(model, recipe=recipe, sparsity=sparsity, batches=[(x, y)], **kept).model
    found = []
    layers = [module for module in pruned.modules() if isinstance(module, torch.nn.Linear)]
    layers[-2].register_forward_hook(lambda _, __, out: found.append(float(out.double().square().mean())))
    with torch.no_grad():
        pruned(x)
    return found[0]


def test_what_the_page_says_of_rescaled_networks_is_so():
    assert all(variances("relu", "snip", sparsity) > 1e15 for sparsity in (0.8, 0.9))
    assert all(variances("relu", "magnitude", sparsity) < 10 for sparsity in (0.8, 0.9))
    assert all(variances("tanh", recipe, 0.9) < 10 for recipe in ("snip", "magnitude"))


def test_costs_are_the_newest_rows_beside_what_was_aimed_at(generator):
    machine = {"processor": "a processor", "torch": "2.13.0"}
    about = {"benchmark": "synflow", "model": "vgg16", "density": 0.1, "rounds_of_pruning": 100, "machine": machine}
    about |= {"rounds": 3, "time": "2"}
    ratio = {"ratio": 0.25, "ratio_low": 0.2, "ratio_high": 0.5}
    rows = [
        {
            **about,
            "candidate": "engine",
            "median_ms": 9e3,
            "ratio": 0.5,
            "ratio_low": 0.5,
            "ratio_high": 0.5,
            "time": "1",
        },
        {**about, "candidate": "literal", "median_ms": 40e3, "ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0},
        {**about, "candidate": "engine", "median_ms": 10e3, **ratio},
        {"benchmark": "synflow_memory", "candidate": "engine", "model": "vgg16", "extra_mib": 642.1, "time": "1"},
    ]
    text = section(page(generator, rows), "What it costs")
    assert "| VGG-16 | 100 | 90% | 40.0 | 10.0 | 4.00 (2.00 to 5.00) | 3 | – | 642 | 3 | reached |" in text
    assert "Hardware: a processor, torch 2.13.0; one thread." in text
    slower = [{**row, "ratio": 0.4} if row["candidate"] == "engine" else row for row in rows]
    assert "| missed |" in section(page(generator, slower), "What it costs")
    assert "Not measured yet." in page(generator, rows[:1])


def test_an_evidence_of_another_machine_is_told(generator):
    found = studied.evidence(studied.rows("init_small", studied.small))
    other = replace(
        found, environments={"a": {"processor": "one", "torch": "2"}, "b": {"processor": "two", "torch": "2"}}
    )
    from flowprune.experiments.studies import STUDIES

    said = generator.initialization_page.stored(other, STUDIES["init_small"])
    assert "Hardware: one, torch 2; two, torch 2; one thread a run." in said


def test_a_method_that_would_empty_a_layer_is_told_from_one_that_was_not_run(generator):
    found = studied.rows("init_small", studied.small)
    gone = [r for r in found if not (r["measure"] in ("magnitude", "synflow") and r["sparsity"] == 0.98)]
    safe = {"largest_safe_sparsity": 0.96}
    rows = [{**row, **safe} if row["kind"] == "collapse" and row["measure"] == "magnitude" else row for row in gone]
    evidence = studied.evidence(rows)
    text = generator.initialization_page.page(
        lambda name: evidence if name == "init_small" else Evidence(()), lambda _: []
    )
    lines = [line for line in section(text, "VGG-16 and ResNet-32").splitlines() if line.startswith(("| mag", "| Syn"))]
    assert [line.split(" | ")[-1] for line in lines] == ["– |", "‡ |"] * 2
    where = "vgg16 on cifar10, {}, before training, 98 % of weights, seeds 0, 1 and 2"
    assert f"- {where.format('magnitude')}: beyond the largest safe sparsity (96.0 %)." in text
    assert f"- {where.format('synflow')}: not known from the rows." in text
    assert "has none" not in text
    assert "leaves rows" not in page(generator, init_small=studied.small)


def test_a_run_that_stopped_says_what_it_said(generator):
    from flowprune.experiments.studies import STUDIES

    gone = next(spec for spec in STUDIES["depth"].specs if spec.prune is not None and spec.prune.rescale == "layer")
    found = [row for row in studied.rows("depth", studied.deep) if row["run"] != gone.run_id]
    evidence = studied.evidence(found)
    text = generator.initialization_page.page(
        lambda name: evidence if name == "depth" else Evidence(()),
        lambda _: [],
        lambda name: {gone.run_id: "fit() stopped: the loss is nan in epoch 1. Lower it."} if name == "depth" else {},
    )
    network = "activation = tanh and initial = edge_of_chaos and sigma_b = 0.05"
    assert f", rescaled ({network}), seed {gone.seed}: fit() stopped: the loss is nan in epoch 1." in text
