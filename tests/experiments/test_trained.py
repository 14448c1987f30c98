"""Runs that prune a trained network in stages and train it again: protocol, rows, sharing, resuming, refusals."""

from __future__ import annotations

import pytest
import torch

import flowprune as fp
import flowprune.experiments.job as job_module
from flowprune.experiments.job import run, run_shared
from flowprune.experiments.parts import build
from flowprune.experiments.prefix import identity
from flowprune.experiments.presets import PRESETS
from flowprune.experiments.spec import Spec, override
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.study import cell
from flowprune.experiments.trained import SPLITS
from flowprune.train import evaluate
from tests.experiments.retrained import SPEC, rows, silent


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("runs"), listen=silent)


def test_it_is_trained_twice_with_the_same_rates_and_pruned_in_between(done):
    epochs = rows(done, "epoch")
    assert [row["epoch"] for row in epochs] == list(range(1, 9))
    assert [row["learning_rate"] for row in epochs] == [0.05, 0.05, 0.05, 0.005] * 2
    kinds = [row["kind"] for row in rows(done)]
    dense, retrained = [i for i, kind in enumerate(kinds) if kind == "epoch"][3:5]
    assert kinds[dense + 1 : retrained].count("cut") == 3
    assert set(kinds[dense + 1 : retrained]) == {"cut", "layer", "pruned", "collapse", "collapse_layer"}


def test_the_best_of_validation_is_what_is_pruned(done):
    (pruned,) = rows(done, "pruned")
    dense = rows(done, "epoch")[:4]
    best = max(dense, key=lambda row: (row["valid_accuracy"], -row["valid_loss"]))
    assert pruned["selected_epoch"] == best["epoch"]
    assert pruned["valid_loss_before"] == pytest.approx(best["valid_loss"], rel=1e-6)
    assert pruned["test_accuracy_before"] == best["test_accuracy"]


def test_the_best_is_kept_where_later_epochs_are_worse(tmp_path):
    worse = override(SPEC, {"train.milestones": {"2ep": 2.0}, "prune.rounds": 1})
    folder = run(worse, tmp_path, listen=silent)
    (pruned,) = rows(folder, "pruned")
    assert pruned["selected_epoch"] < 3
    dense = rows(folder, "epoch")[pruned["selected_epoch"] - 1]
    assert pruned["valid_loss_before"] == pytest.approx(dense["valid_loss"], rel=1e-6)


def test_stages_add_up_and_the_schedule_is_exponential(done):
    cuts, (pruned,) = rows(done, "cut"), rows(done, "pruned")
    left = [1 - cut["achieved_sparsity"] for cut in cuts]
    assert left == pytest.approx([0.1 ** (k / 3) for k in (1, 2, 3)], abs=1e-3)
    assert [cut["units_after"] for cut in cuts[:-1]] == [cut["units_before"] for cut in cuts[1:]]
    assert {cut["scored_on"] for cut in cuts} == {cuts[0]["scored_on"]}
    for name in ("predicted_loss_change", "measured_loss_change"):
        assert pruned[name] == pytest.approx(sum(cut[name] for cut in cuts))
    assert cuts[1]["loss"] == pytest.approx(cuts[0]["loss"] + cuts[0]["measured_loss_change"], rel=1e-5)
    assert pruned["stages"] == 3
    assert len(rows(done, "layer")) == 3
    assert sum(row["kept"] for row in rows(done, "layer")) == cuts[-1]["units_after"]


def test_losses_before_and_after_are_of_whole_splits_without_augmentation(tmp_path, monkeypatch):
    seen = {}
    original = job_module.prune_trained

    def watched(parts, *args, **kwargs):
        def losses():
            data = parts.dataset
            return {
                name: evaluate(parts.model, data.inputs(name), data.split(name).labels, objective=parts.objective)
                for name in SPLITS
            }

        seen["before"] = losses()
        yield from original(parts, *args, **kwargs)
        seen["after"] = losses()
        seen["state"] = dict(parts.optimizer.state)

    monkeypatch.setattr(job_module, "prune_trained", watched)
    (pruned,) = rows(run(override(SPEC, {"train.augment": True}), tmp_path, listen=silent), "pruned")
    assert seen["state"] == {}  # momentum is forgotten
    for when in ("before", "after"):
        for name in SPLITS:
            assert pruned[f"{name}_loss_{when}"] == pytest.approx(seen[when][name].loss)
            assert pruned[f"{name}_accuracy_{when}"] == pytest.approx(seen[when][name].accuracy)
    assert pruned["train_loss_after"] > pruned["train_loss_before"]


def test_masks_hold_through_the_second_training_and_selection_is_of_it(done):
    model = fp.load(build(SPEC).model, done.path)
    weights = [p for p in model.parameters() if p.ndim > 1]
    kept, total = sum(int(p.count_nonzero()) for p in weights), sum(p.numel() for p in weights)
    assert kept == total - round(0.9 * total)
    (result,), later = rows(done, "result"), rows(done, "epoch")[4:]
    assert result["epochs"] == 8
    assert result["test_accuracy_final"] == later[-1]["test_accuracy"]
    assert result["valid_accuracy_best"] == max(row["valid_accuracy"] for row in later)
    assert result["selected_epoch"] > 4


def test_the_second_training_sees_the_batches_of_the_first(tmp_path, monkeypatch):
    seen = []
    original = job_module.fit

    def fit(model, optimizer, batches, **kwargs):
        seen.extend([batches(epoch) for epoch in (0, 3, 4, 7)])
        return original(model, optimizer, batches, **kwargs)

    monkeypatch.setattr(job_module, "fit", fit)
    run(override(SPEC, {"prune.rounds": 1}), tmp_path, listen=silent)
    labels = [torch.cat([labels for _, labels in each]) for each in seen]
    assert torch.equal(labels[0], labels[2])
    assert torch.equal(labels[1], labels[3])
    assert not torch.equal(labels[0], labels[1])


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_stopped_run_goes_on_to_the_same_end(stop, done, tmp_path, monkeypatch):
    class Stopped(BaseException):
        pass

    original = job_module._Job._after_epoch

    def stopped(self, now):
        original(self, now)
        if now.epoch == stop:
            raise Stopped

    monkeypatch.setattr(job_module._Job, "_after_epoch", stopped)
    with pytest.raises(Stopped):
        run(SPEC, tmp_path, listen=silent)
    monkeypatch.setattr(job_module._Job, "_after_epoch", original)
    assert rows(run(SPEC, tmp_path, listen=silent)) == rows(done)


def test_the_dense_network_is_trained_once_for_all_that_prune_it(done, tmp_path, monkeypatch):
    starts = []
    original = job_module.fit

    def fit(*args, **kwargs):
        starts.append(kwargs["start"].count)
        return original(*args, **kwargs)

    monkeypatch.setattr(job_module, "fit", fit)
    others = [{}, {"prune.measure": "magnitude", "prune.rounds": 1}, {"prune.step_penalty": 0.1, "prune.sparsity": 0.5}]
    specs = [override(SPEC, changes) for changes in others]
    folders = [run_shared(spec, tmp_path, listen=silent) for spec in specs]
    assert starts == [0, 4, 4]
    assert rows(folders[0]) == rows(done)
    assert rows(folders[1]) == rows(run(specs[1], tmp_path / "alone", listen=silent))
    before = [{k: v for k, v in rows(f, "pruned")[0].items() if k.endswith("_before")} for f in folders]
    assert before[0] == before[1] == before[2]


def test_what_changes_the_dense_network_changes_what_is_shared():
    assert identity(SPEC) != identity(override(SPEC, {"prune.at": "training", "prune.start": "3ep", "prune.rounds": 1,
                                                      "train.epochs": "5ep"}))  # fmt: skip
    same = {"prune.rounds": 1, "prune.measure": "magnitude", "prune.step_penalty": 1.0, "prune.sparsity": 0.1}
    assert {identity(override(SPEC, {field: value})) for field, value in same.items()} == {identity(SPEC)}
    apart = {"seed": 1, "train.epochs": "5ep", "train.augment": True, "train.weight_decay": 0.0}
    assert len({identity(override(SPEC, {field: value})) for field, value in apart.items()} | {identity(SPEC)}) == 5


def test_the_penalty_reaches_the_scores(tmp_path):
    def losses(changes):
        (pruned,) = rows(run_shared(override(SPEC, {"prune.rounds": 1, **changes}), tmp_path, listen=silent), "pruned")
        return pruned["train_loss_after"], pruned["test_accuracy_after"]

    large, magnitude, none = (
        losses(changes) for changes in ({"prune.step_penalty": 1e6}, {"prune.measure": "magnitude"}, {})
    )
    assert large == magnitude
    assert none != magnitude


def test_more_stages_keep_more_of_the_loss(tmp_path):
    """LM-6: one linear model for the whole way is worse than one for each of many short steps."""
    fields = {"train.epochs": "15ep", "train.milestones": {}, "prune.samples": 512}
    base = override(SPEC, {**fields, "model.options": {**SPEC.model.options, "widths": [64, 32]}})

    def loss(rounds):
        specs = [override(base, {"prune.rounds": rounds, "seed": seed}) for seed in range(3)]
        return sum(rows(run_shared(spec, tmp_path, listen=silent), "pruned")[0]["train_loss_after"] for spec in specs)

    once, some, many = (loss(rounds) for rounds in (1, 14, 140))
    assert once > some + 0.6
    assert once > many + 0.6


def test_a_curvature_that_is_asked_for_is_gathered(tmp_path):
    base = override(SPEC, {"prune.measure": "obd", "prune.rounds": 1})
    kinds = ("ggn", "fisher_mc", "empirical", "hutchinson")
    folders = [run_shared(override(base, {"prune.curvature": kind}), tmp_path, listen=silent) for kind in kinds]
    predicted = [rows(folder, "pruned")[0]["predicted_loss_change_second"] for folder in folders]
    assert len(set(predicted)) == 4
    assert predicted[1] == pytest.approx(predicted[0], rel=0.5)  # of few samples, the same in the mean


def test_channels_are_removed_in_stages_too(tmp_path):
    fields = {"prune.granularity": "channels", "prune.rounds": 2, "prune.sparsity": 0.5, "train.epochs": "2ep"}
    folder = run(override(SPEC, fields), tmp_path, listen=silent)
    (result,) = rows(folder, "result")
    assert result["parameters"] < result["parameters_dense"]
    assert rows(folder, "pruned")[0]["stages"] == 2


def test_changes_are_recorded_only_where_they_are_asked_for(tmp_path):
    folder = run(override(SPEC, {"record.cuts": "none", "prune.rounds": 1}), tmp_path, listen=silent)
    (cut,), (pruned,) = rows(folder, "cut"), rows(folder, "pruned")
    assert not [name for row in (cut, pruned) for name in row if "loss_change" in name]
    assert pruned["train_loss_after"] > pruned["train_loss_before"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune.start": "1ep"}, r"prune.start\) must be '0ep' with prune.at='trained'"),
        ({"prune.every": "2ep"}, r"prune.every\) must be '1ep' with prune.at='trained'"),
        ({"prune.when": "early_bird"}, r"prune.when\) must be None with prune.at='trained'"),
        ({"prune.momentum": "slice"}, r"prune.momentum\) must be 'reset' with prune.at='trained'"),
        ({"prune.iterations": 3}, r"prune.iterations\) must be None with prune.at='trained'"),
        ({"prune.recipe": "snip"}, r"prune.recipe\) must be None with prune.at='trained'"),
        ({"prune.measure": "force"}, r"prune.measure\) must be one whose cuts stay cut, with prune.at='trained'"),
        ({"reference_compat": True}, r"reference_compat\) must be False with prune.at='trained'"),
        ({"prune.residual": "inner"}, "'channels' with settings of channels"),
        ({"prune.schedule": "one_shot"}, r"Spec\(prune\.rounds\) must be 1; got 3"),
        ({"prune.step_penalty": -1.0}, r"prune.step_penalty\) must be greater than or equal to 0; got -1.0"),
        (
            {"prune.curvature": "empirical"},
            r"prune.curvature\) must be 'ggn' with prune.measure='lm', which reads none",
        ),
        ({"prune.curvature": "exact"}, r"prune.curvature\) must be 'ggn'"),
    ],
)
def test_what_means_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        override(SPEC, changes)


def test_a_recipe_says_by_itself_what_a_measure_is_asked():
    fields = {"prune.at": "init", "prune.rounds": 1, "prune.schedule": "rounds", "prune.step_penalty": 0.1}
    with pytest.raises(ValueError, match=r"prune.step_penalty\) must be 0.0 with prune.recipe='snip'"):
        override(SPEC, {**fields, "prune.recipe": "snip"})


def test_a_run_is_told_in_words_and_counted_in_epochs():
    spec = override(SPEC, {"prune.step_penalty": 0.001})
    assert cell(spec) == "mlp on digits, lm, trained, 3 rounds, 90 % of weights, λ = 0.001"
    assert isinstance(spec, Spec)
    assert (spec.epochs, spec.first_cut, spec.last_cut, spec.latest) == (8, 4, 4, 1)
    assert [epoch for epoch in range(9) if spec.may_cut(epoch)] == [4]


@pytest.mark.parametrize(
    ("name", "epochs", "rates", "kept", "stages"),
    [
        ("laurent2020-mlp", 800, [0.01], (266_200, 3_069), (1, 14, 140)),
        ("laurent2020-vgg11", 300, [0.01, 1e-3, 1e-4, 1e-5, 1e-6], (9_747_136, 428_874), (1, 14, 140)),
        ("laurent2020-preact-resnet18", 200, [0.1, 0.01, 1e-3], (11_164_352, 491_231), (1, 14, 140)),
        ("laurent2020-mlp-small", 20, [0.01], (266_200, 3_069), (1, 14, 140)),
        ("laurent2020-vgg11-small", 30, [0.02, 0.002], None, (1, 14, 140)),
    ],
)
def test_the_presets_have_the_papers_protocol(name, epochs, rates, kept, stages):
    spec, study = PRESETS[name], STUDIES[name]
    train, cut = spec.train, spec.prune
    assert spec.epochs == 2 * epochs
    assert [train.learning_rate, *train.milestones.values()] == rates
    assert (train.momentum, train.weight_decay, cut.at, cut.schedule) == (0.9, 5e-4, "trained", "exponential")
    assert {each.prune.rounds for each in study.specs} == set(stages)
    assert {each.seed for each in study.specs} == {1111, 1112, 1113, 1114, 1115}
    assert {each.prune.measure for each in study.specs} == {"magnitude", "lm", "qm", "obd"}
    penalties = len({each.prune.step_penalty for each in study.specs})
    unpenalised = 5 * 3 * (penalties - 1) if name == "laurent2020-vgg11-small" else 0  # of its 140 stages
    assert len(study.specs) == 5 * (1 + 3 * len(stages) * penalties) - unpenalised
    if kept is not None:
        options = {"in_features": 784} if spec.model.name == "mlp" else {}
        model = fp.models.build(spec.model.name, **options, **spec.model.options)
        total = sum(p.numel() for p in model.parameters() if p.ndim > 1)
        assert (total, total - round(cut.sparsity * total)) == kept
    if not name.endswith("small"):
        assert (train.batch, cut.samples, penalties) == (100, 1000, 9)
        assert len(study.specs) == 410
