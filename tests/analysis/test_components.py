"""Importance of components: formulas by hand, the average, and scores that can be selected from."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import flowprune as fp
from flowprune.analysis import COMPONENT_METRICS, ComponentImportance
from flowprune.analysis.components.assign import UNCOVERED, assign
from flowprune.train import every, fit
from flowprune.train.loss_scale import LossScale
from tests.analysis.components import LAPLACE, PARTS, autoencoder, backward, reconstruction, tracked, under

LIVE = [name for name in COMPONENT_METRICS if COMPONENT_METRICS[name].of_live is not None]

# --- formulas -------------------------------------------------------------------------------------------------------

BY_HAND = {
    "gradient": lambda theta, g: (theta * g).abs(),
    "minibatch_fisher": lambda theta, g: g.square(),
}


@pytest.mark.parametrize("metric", BY_HAND)
def test_a_record_is_the_mean_over_updates_summed_over_each_component(metric: str) -> None:
    model = autoencoder()
    tracker = ComponentImportance(model, components=PARTS, metric=metric)
    expected = {name: torch.zeros_like(param) for name, param in model.named_parameters()}
    for batch in reconstruction():
        for name, g in backward(model, batch).items():
            expected[name] += BY_HAND[metric](model.get_parameter(name).detach(), g) / 3
        tracker.update()
    told = tracker.record()
    assert (told.moment, told.updates) == (1, 3)
    assert list(told.values) == ["encoder", "decoder", UNCOVERED]
    assert tracker.uncovered == ("gain",)
    for name, prefix in (("encoder", "encoder."), ("decoder", "decoder."), (UNCOVERED, "gain")):
        part = under(expected, prefix)
        assert told.values[name].sum == pytest.approx(float(part.sum()), rel=1e-5)
        assert told.values[name].mean == pytest.approx(float(part.mean()), rel=1e-5)
        assert told.values[name].parameters == part.numel()


def test_variance_is_that_of_the_averaged_fisher_and_falls_with_it() -> None:
    model, batch = autoencoder(), reconstruction(1)[0]
    squares = ComponentImportance(model, components=PARTS, metric="minibatch_fisher", alpha=0.5)
    variance = ComponentImportance(
        model, components=PARTS, metric="minibatch_posterior_variance", alpha=0.5, examples=10, prior=2.0
    )
    for _ in range(2):
        backward(model, batch)
        for tracker in (squares, variance):
            tracker.update()
            tracker.record()
        with torch.no_grad():
            model.decoder[0].weight.mul_(2.0)
    for name, fisher in squares.values().items():
        torch.testing.assert_close(variance.values()[name], 1 / (10 * fisher + 2.0))
        torch.testing.assert_close(variance.scores(reduce="sum").get(name, 10 * fisher + 2), 10 * fisher + 2)


def test_the_first_epoch_is_taken_whole_and_each_later_one_by_alpha() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    tracker = ComponentImportance(model, components={"all": "0"}, metric="minibatch_fisher", alpha=0.25)
    for squares in ([4.0], [8.0, 16.0], [0.0]):
        for square in squares:
            model[0].weight.grad = torch.full((1, 1), square**0.5)
            tracker.update()
        tracker.record()
    means = [4.0, 12.0, 0.0]
    average = [means[0]]
    for mean in means[1:]:
        average.append(0.25 * mean + 0.75 * average[-1])
    assert [record.values["all"].sum for record in tracker.records] == pytest.approx(average)
    assert [record.updates for record in tracker.records] == [1, 2, 1]


def test_the_square_of_a_batch_mean_is_not_the_fisher_of_the_examples() -> None:
    """RT-10."""
    model, objective, data = autoencoder(), fp.objectives.mean_squared_error(), reconstruction(1, size=16)
    signals = fp.gather(model, objective, data, needs=("gradient", "fisher", "minibatch_fisher"))
    totals = {}
    for metric in ("fisher", "minibatch_fisher"):
        tracker = ComponentImportance(model, components=PARTS, metric=metric)
        tracker.update_from(signals)
        totals[metric] = tracker.record().values["encoder"].sum
    examples = [(x[None], y[None]) for x, y in zip(*data[0], strict=True)]
    one_by_one = sum(under(backward(model, e), "encoder.").square().sum() for e in examples) / 16
    assert totals["fisher"] == pytest.approx(float(one_by_one), rel=1e-4)
    assert totals["minibatch_fisher"] == pytest.approx(
        float(under(backward(model, data[0]), "encoder.").square().sum())
    )
    assert totals["minibatch_fisher"] < totals["fisher"]
    for metric in ("fisher", "posterior_variance"):
        tracker = ComponentImportance(model, components=PARTS, metric=metric, **LAPLACE[metric])
        with pytest.raises(ValueError, match=r"because \.grad is their mean.*'minibatch_fisher'"):
            tracker.update()


@pytest.mark.parametrize("metric", LIVE)
def test_signals_of_one_batch_and_its_live_gradients_say_the_same(metric: str) -> None:
    model, data = autoencoder(), reconstruction(1)
    live, fed = (ComponentImportance(model, components=PARTS, metric=metric, **LAPLACE[metric]) for _ in range(2))
    backward(model, data[0])
    live.update()
    fed.update_from(fp.gather(model, fp.objectives.mean_squared_error(), data, (COMPONENT_METRICS[metric].reads,)))
    for tracker in (live, fed):
        assert tracker.record().updates == 1
    for name, value in live.values().items():
        torch.testing.assert_close(fed.values()[name], value)


# --- laws -----------------------------------------------------------------------------------------------------------


def test_components_in_a_row_share_the_gradient_metric_and_the_smaller_has_the_larger_fisher() -> None:
    """y = b·a·x: θg is the same for both, while g_a = b·x·δ and g_b = a·x·δ."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.fill_(0.5)
        model[1].weight.fill_(4.0)
    found = {}
    for metric in ("gradient", "minibatch_fisher"):
        tracker = ComponentImportance(model, components={"in": "0", "out": "1"}, metric=metric)
        backward(model, (torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[3.0], [1.0]]).double()))
        tracker.update()
        found[metric] = tracker.record().values
    assert found["gradient"]["in"].sum == pytest.approx(found["gradient"]["out"].sum)
    ratio = found["minibatch_fisher"]["in"].sum / found["minibatch_fisher"]["out"].sum
    assert ratio == pytest.approx((4.0 / 0.5) ** 2)


@pytest.mark.parametrize("metric", LIVE)
def test_a_component_that_the_loss_does_not_use_is_the_least_important(metric: str) -> None:
    model = autoencoder()
    tracker = ComponentImportance(model, components=PARTS, metric=metric, **LAPLACE[metric])
    model.encoder(reconstruction(1)[0][0]).square().mean().backward()
    tracker.update()
    values = tracker.record().values
    idle = 0.5 if COMPONENT_METRICS[metric].variance else 0.0  # 1 / prior
    assert values["decoder"].mean == pytest.approx(idle)
    assert values["encoder"].mean < idle if COMPONENT_METRICS[metric].variance else values["encoder"].mean > idle
    scores = tracker.scores_by_component(reduce="sum")
    assert min(s.min() for s in scores["encoder"].values()) >= max(s.max() for s in scores["decoder"].values())


def test_importance_shifts_when_training_turns_to_another_component() -> None:
    model = autoencoder()
    tracker = ComponentImportance(model, components=PARTS, alpha=0.5)
    (x, _), *_ = reconstruction(1)
    for part, data in (("encoder", x), ("decoder", x[:, :3]), ("decoder", x[:, :3]), ("decoder", x[:, :3])):
        model.zero_grad()
        getattr(model, part)(data).square().mean().backward()
        tracker.update()
        tracker.record()
    encoder, decoder = ([r.values[c].sum for r in tracker.records] for c in PARTS)
    assert all(b == pytest.approx(a / 2) for a, b in itertools.pairwise(encoder))
    assert decoder[0] == 0.0
    assert decoder == sorted(decoder)


# --- in training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", LIVE)
def test_watching_changes_nothing_of_the_training(metric: str) -> None:
    data, ends = reconstruction(), []
    for watched in (False, True):
        model = autoencoder()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        tracker = ComponentImportance(model, components=PARTS, metric=metric, **LAPLACE[metric])
        how = {"objective": fp.objectives.mean_squared_error(), "epochs": "2ep"}
        if watched:
            with tracker.watch(optimizer) as same:
                assert same is tracker
                fit(model, optimizer, data, callbacks=[every("1ep", tracker)], **how)
            assert [r.updates for r in tracker.records] == [3, 3]
        else:
            fit(model, optimizer, data, **how)
        ends.append((model.state_dict(), {n: p.grad for n, p in model.named_parameters()}, torch.get_rng_state()))
        backward(model, data[0])
        optimizer.step()  # not watched any more
        assert len(tracker.records) == (2 if watched else 0)
    for a, b in zip(*(end[:2] for end in ends), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(ends[0][2], ends[1][2])


def test_a_watched_gradient_meets_the_parameters_it_was_taken_at() -> None:
    model, batch = autoencoder(), reconstruction(1)[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    tracker = ComponentImportance(model, components=PARTS)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    gradient = backward(model, batch)
    with tracker.watch(optimizer):
        optimizer.step()
    tracker.record()
    for name, value in tracker.values().items():
        torch.testing.assert_close(value, (before[name] * gradient[name]).abs())


@pytest.mark.parametrize("metric", LIVE)
def test_a_resumed_tracker_goes_on_bit_for_bit(metric: str) -> None:
    model, data = autoencoder(), reconstruction(5)

    def fresh() -> ComponentImportance:
        return ComponentImportance(model, components=PARTS, metric=metric, alpha=0.3, **LAPLACE[metric])

    straight, resumed = fresh(), fresh()
    for index, batch in enumerate(data):
        again = fresh()
        again.resume(load(save(resumed.tensors())), json.loads(json.dumps(resumed.numbers())))
        resumed = again
        backward(model, batch)
        for tracker in (straight, resumed):
            tracker.update()
            if index % 2:
                tracker.record()
    for tracker in (straight, resumed):
        tracker.record()
    assert straight.records == resumed.records
    assert len(straight.records) == 3
    assert all(torch.equal(value, resumed.values()[name]) for name, value in straight.values().items())


def test_half_precision_is_squared_in_single() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False)).half()
    tracker = ComponentImportance(model, components={"all": "0"}, metric="minibatch_fisher")
    model[0].weight.grad = torch.full((2, 2), 1e-4, dtype=torch.float16)
    tracker.update()
    assert tracker.record().values["all"].mean == pytest.approx(1e-8, rel=1e-2)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_prefix_is_a_path_and_not_the_beginning_of_a_word() -> None:
    names = {n: n for n in ("layers.1.weight", "layers.10.weight", "head.weight")}
    assert assign(names, {"first": "layers.1", "last": ("head.weight",)}) == {
        "first": ("layers.1.weight",),
        "last": ("head.weight",),
        UNCOVERED: ("layers.10.weight",),
    }


def test_a_tied_parameter_belongs_to_one_component() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
            self.decoder.weight = self.encoder.weight

    with pytest.raises(ValueError, match=r"disjoint; got \"'encoder\.weight' in 'encoder' and 'decoder'\""):
        ComponentImportance(Tied(), components={"encoder": "encoder", "decoder": "decoder"})
    tracker = ComponentImportance(Tied(), components={"encoder": "encoder.bias", "decoder": "decoder"})
    assert tracker.components["decoder"] == ("encoder.weight", "decoder.bias")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": {}}, "at least one"),
        ({"components": {UNCOVERED: "encoder"}}, "none called"),
        ({"components": {"a": "enc"}}, "The model has decoder, encoder, gain"),
        ({"components": {"a": ""}}, "path of a module"),
        ({"components": {"a": ()}}, "at least one prefix"),
        ({"components": {"a": "encoder", "b": "encoder.0"}}, "disjoint"),
        ({"metric": "gradent"}, "Did you mean 'gradient'"),
        ({"alpha": 0.0}, r"\(0, 1\]"),
        ({"alpha": 1.5}, "for a decay d pass 1 - d"),
        ({"examples": 10}, "no use for them"),
        ({"metric": "posterior_variance", "prior": 1.0}, "number of training examples"),
        ({"metric": "posterior_variance", "examples": 10}, "precision above 0"),
        ({"metric": "posterior_variance", "examples": 10, "prior": 0.0}, "precision above 0"),
    ],
)
def test_bad_options_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ComponentImportance(autoencoder(), **{"components": PARTS, **change})


def test_a_frozen_component_is_refused_and_a_frozen_layer_not_counted() -> None:
    model = autoencoder()
    model.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="of components that train"):
        ComponentImportance(model, components=PARTS)
    model.encoder[2].requires_grad_(True)
    tracker = tracked(model)
    assert tracker.records[0].values["encoder"].parameters == 5 * 3 + 3
    with pytest.raises(fp.PruningError, match=r"Weights\(skip=\('encoder\.0\.weight',\)\)"):
        tracker.scores(reduce="sum")
    assert "encoder.2.weight" in tracker.scores(fp.Weights(skip=("encoder.0.*",)), reduce="sum")


def test_what_came_at_the_wrong_time_is_told() -> None:
    model = autoencoder()
    tracker = ComponentImportance(model, components=PARTS)
    with pytest.raises(ValueError, match="before zero_grad"):
        tracker.update()
    with pytest.raises(fp.PruningError, match="must follow an update"):
        tracker.record()
    with pytest.raises(fp.PruningError, match=r"Call record\(\) first"):
        tracker.scores(reduce="sum")
    with pytest.raises(ValueError, match=r"Signals\.gradient must be gathered"):
        tracker.update_from(fp.gather(model, None, (), needs=()))
    other = nn.Linear(2, 2)
    strange = fp.gather(other, fp.objectives.mean_squared_error(), [(torch.ones(2, 2), torch.ones(2, 2))])
    with pytest.raises(ValueError, match="of this model"):
        tracker.update_from(strange)
    backward(model, reconstruction(1)[0])
    model.gain.grad[0] = float("nan")
    tracker.update()
    with pytest.raises(ValueError, match="1 of 6 entries of 'gain' NaN"):
        tracker.record()


def test_a_model_that_was_cut_needs_a_new_tracker() -> None:
    model = autoencoder()
    tracker, x = tracked(model), reconstruction(1)[0][0]
    fp.Pruner(model, None, measure="magnitude", granularity=fp.Channels(example_inputs=x), objective=None,
              schedule=fp.schedules.one_shot(0.3)).step()  # fmt: skip
    backward(model, reconstruction(1)[0])
    with pytest.raises(fp.PruningError, match="Build a new one after every cut"):
        tracker.update()


def test_a_checkpoint_of_other_options_or_another_model_is_refused() -> None:
    tracker = tracked(autoencoder())
    other = ComponentImportance(autoencoder(), components=PARTS, alpha=0.7)
    with pytest.raises(ValueError, match="Resume with the same options"):
        other.resume(tracker.tensors(), tracker.numbers())
    fresh = ComponentImportance(autoencoder(), components=PARTS)
    tensors = {name: value for name, value in tracker.tensors().items() if "gain" not in name}
    with pytest.raises(ValueError, match="of this model's parameters"):
        fresh.resume(tensors, tracker.numbers())


# --- steps that are skipped -----------------------------------------------------------------------------------------


def test_a_step_that_loss_scaling_skips_is_no_update() -> None:
    """At an overflow the scale takes the gradients away before the step: there is nothing to take in."""
    loss, good = fp.objectives.mean_squared_error(), reconstruction(1)[0]
    sums = []
    for overflows in (False, True):
        model = autoencoder()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # the same gradient at every step
        scale = LossScale(optimizer)
        tracker = ComponentImportance(model, components=PARTS)
        with tracker.watch(optimizer):
            for factor in (1.0, 1e38, 1.0) if overflows else (1.0, 1.0):
                optimizer.zero_grad()
                (scale(loss(model, good)) * factor).backward()
                optimizer.step()
        told = tracker.record()
        assert told.updates == 2
        assert scale.scale == (2.0**15 if overflows else 2.0**16)
        sums.append(told.values["encoder"].sum)
    assert sums[0] == pytest.approx(sums[1], rel=1e-6)


def test_an_update_without_gradients_by_hand_is_still_refused() -> None:
    with pytest.raises(ValueError, match="while there are gradients"):
        ComponentImportance(autoencoder(), components=PARTS).update()


def test_after_gradients_that_were_not_finite_the_next_records_are_sound() -> None:
    model, (good, *_) = autoencoder(), reconstruction()
    tracker = ComponentImportance(model, components=PARTS)
    backward(model, good)
    tracker.update()
    first = tracker.record()
    model.gain.grad[0] = torch.inf
    tracker.update()
    with pytest.raises(ValueError, match="finite"):
        tracker.record()
    assert tracker.records == (first,)
    with pytest.raises(fp.PruningError, match="must follow an update"):  # what was refused is gone
        tracker.record()
    backward(model, good)
    tracker.update()
    assert tracker.record().updates == 1
