"""Rows as a finished sweep would leave them: 11 configurations x seeds x epochs, shapes plausible, numbers invented."""

from __future__ import annotations

import itertools
import math
from random import Random

from flowprune.report.evidence import Evidence

MEASURES = (
    "magnitude",
    "loss_preservation",
    "biased_loss",
    "gradient_norm_increase",
    "gradient_norm_preservation",
)
LAYERS = {
    "stem.conv": 16,
    "blocks.0.conv": 32,
    "blocks.1.conv": 32,
    "blocks.2.conv": 64,
    "blocks.3.conv": 64,
}
CHECKS = ["same function", "live optimizer", "exact sparsity", "zeros stay"]
PENALTY = {
    "magnitude": 0.010,
    "loss_preservation": 0.012,
    "biased_loss": 0.008,
    "gradient_norm_increase": 0.055,
    "gradient_norm_preservation": 0.014,
}


def rows(seeds=(0, 1, 2), epochs=20, rounds=(1, 5), sparsity=0.75, measures=MEASURES):
    """Every kind of row for dense runs and each measure x rounds x seed."""
    found = []
    for seed in seeds:
        found += _run("dense", 0, seed, epochs, sparsity)
        for measure, n in itertools.product(measures, rounds):
            found += _run(measure, n, seed, epochs, sparsity)
    return found


def wanted(figure, found):
    """Rows that a figure draws: one across sparsities is of a second sparsity besides."""
    other = [{**row, "sparsity": 0.9, "run": row["run"][::-1]} for row in found if row["measure"] != "dense"]
    return [*found, *other] if figure.across else found


def _run(measure, rounds, seed, epochs, sparsity):
    rng = Random(f"{measure}-{rounds}-{seed}")
    about = {
        "run": f"{abs(hash_of(measure, rounds, seed)):016x}",
        "measure": measure,
        "rounds": rounds,
        "sparsity": 0.0 if measure == "dense" else sparsity,
        "seed": seed,
        "model": "small_conv",
        "dataset": "digits",
    }
    own = [*_epochs(rng, measure, rounds, epochs), *_flow(rng, rounds, epochs), *_result(rng, measure, rounds, epochs)]
    own += _steps(Random(f"steps-{measure}-{rounds}-{seed}"), epochs)
    if measure != "dense":
        layers = list(_layers(rng, measure, rounds, sparsity))
        own += [*_cuts(rng, measure, rounds, sparsity), *layers, *_agreement(seed)]
        own += _pruned(Random(f"pruned-{measure}-{rounds}-{seed}"), rounds)
        own += [*_looks(), *_collapse(Random(f"idle-{measure}-{rounds}-{seed}"), layers[-len(LAYERS) :], rounds)]
    else:
        own += _watched(Random(f"watched-{seed}"), epochs)
    return [{**about, **row} for row in own]


def _watched(rng, epochs):
    """What is told of the dense network: correlations, mask distances, and units by first and second order."""
    moments = sorted({0, epochs, *range(0, epochs, max(1, epochs // 6))})
    for epoch in moments:
        rho = 0.9 * (1 - math.exp(-epoch / 3))
        for layer in ("", *LAYERS):
            found = {"pearson": 0.9 * rho + rng.gauss(0, 0.02), "spearman": rho + rng.gauss(0, 0.02)}
            pair = {"a": "magnitude", "b": "loss_preservation", "layer": layer, "units": LAYERS.get(layer, 208)}
            yield {"kind": "correlation", "epoch": epoch, **pair, **found}
        for of, scale in (("magnitude", 0.3), ("loss_preservation", 0.4)):
            distance = scale * math.exp(-epoch / 4) * rng.uniform(0.9, 1.1)
            about = {"kind": "mask_distance", "epoch": epoch, "of": of, "at_sparsity": 0.75}
            if epoch:
                yield {**about, "to": "previous", "distance": distance}
            yield {**about, "to": "final", "distance": distance * (epoch != epochs)}
    for epoch, temperature in itertools.product(sorted({0, epochs // 2, epochs}), (1.0, 200.0)):
        yield scatter(rng, epoch, temperature)


def scatter(rng, epoch, temperature):
    """One row of units, heavy in the tails as real ones are."""
    count = sum(LAYERS.values())
    first = [rng.choice((-1, 1)) * 10 ** rng.uniform(-5, -1) for _ in range(count)]
    second = [value * rng.uniform(0.5, 2) * (1 if temperature < 100 else -1) for value in first]
    units = {"layers": list(LAYERS), "sizes": list(LAYERS.values()), "first": first, "second": second}
    found = {"pearson": 0.8, "spearman": 0.9 + rng.gauss(0, 0.01)}
    return {"kind": "scatter", "epoch": epoch, "temperature": temperature, **units, **found}


def _steps(rng, epochs):
    for epoch in range(0, epochs, 2):
        measured = 10 * math.exp(-epoch / 5) * rng.uniform(0.9, 1.1)
        shares = {"flow": 0.05, "decay": 0.02, "step_size": 0.06, "effective": 1.3, "momentum": 1 + 1e-6}
        predicted = {name: measured * share * rng.uniform(0.99, 1.01) for name, share in shares.items()}
        predicted["momentum"] = measured * shares["momentum"]
        yield {"kind": "training_flow", "epoch": epoch, **predicted, "measured": measured, "steps": 20}


def _looks():
    yield {"kind": "look", "epoch": 1, "event": "early_bird", "value": 0.05, "threshold": 0.1, "fired": True}


def warm(found):
    """Rows of gradient-norm increase again, as of runs scored at temperature 1; accuracies two points lower."""
    for row in found:
        if row["measure"] == "gradient_norm_increase":
            lower = {key: value - 0.02 for key, value in row.items() if "accuracy" in key and key != "setting"}
            yield {**row, **lower, "run": row["run"][::-1], "setting": '{"prune.temperature": 1.0}'}


def hash_of(*parts):
    """A number that depends on nothing but its arguments."""
    return Random("/".join(map(str, parts))).getrandbits(62)


def _accuracy(rng, measure, rounds, epoch):
    lost = PENALTY.get(measure, 0.0) * (0.8 if rounds == 5 else 1.0)
    since = epoch - rounds if epoch > rounds else epoch
    dip = 0.35 * math.exp(-since / 2.2) + (0.03 if 0 < epoch <= rounds else 0)
    return min(1.0, max(0.1, 0.985 - lost - dip + rng.gauss(0, 0.005)))


def _epochs(rng, measure, rounds, epochs):
    for epoch in range(1, epochs + 1):
        accuracy = _accuracy(rng, measure, rounds, epoch)
        yield {
            "kind": "epoch",
            "epoch": epoch,
            "iteration": epoch * 11,
            "train_loss": 2 * (1 - accuracy),
            "train_accuracy": min(1.0, accuracy + 0.01),
            "valid_loss": 2.2 * (1 - accuracy),
            "valid_accuracy": min(1.0, accuracy + rng.gauss(0, 0.004)),
            "test_accuracy": accuracy,
            "learning_rate": 0.1 if epoch < epochs * 0.7 else 0.01,
            "seconds": 0.2,
        }


def _flow(rng, rounds, epochs):
    norm2 = 180 + rng.gauss(0, 3)
    for epoch in range(epochs + 1):
        velocity = 3.0 * math.exp(-epoch / 4) - 0.05 + rng.gauss(0, 0.02)
        acceleration = 40 * math.exp(-epoch / 3) - 0.5 + rng.gauss(0, 0.4)
        if 0 < epoch <= rounds:
            norm2 *= 0.30 if rounds == 1 else 0.72
        norm2 += 4 * velocity
        yield {
            "kind": "flow",
            "epoch": epoch,
            "norm2": norm2,
            "velocity": velocity,
            "acceleration": acceleration,
            "measured_velocity": velocity * (1 + rng.gauss(0, 0.003)),
            "measured_acceleration": acceleration * (1 + rng.gauss(0, 0.04)),
            "loss": 2 * math.exp(-epoch / 4),
            "loss_velocity": -math.exp(-epoch / 3),
        }


def remaining(rounds, sparsity):
    """The shares left after 0, 1, ..., ``rounds`` cuts of the harmonic schedule."""
    return [rounds * (1 - sparsity) / (k * sparsity + rounds * (1 - sparsity)) for k in range(rounds + 1)]


def _cuts(rng, measure, rounds, sparsity):
    total = sum(LAYERS.values())
    left = [round(total * share) for share in remaining(rounds, sparsity)]
    sign = 1 if measure == "gradient_norm_increase" else rng.choice([1, 1, -1])
    for k in range(1, rounds + 1):
        share = 1 - left[k] / left[k - 1]
        predicted = sign * abs(rng.gauss(0.02, 0.05)) * share
        slope = sign * abs(rng.gauss(0.5, 0.6)) * share
        yield {
            "kind": "cut",
            "round": k,
            "epoch": k,
            "target_sparsity": 1 - remaining(rounds, sparsity)[k],
            "achieved_sparsity": 1 - left[k] / total,
            "units_before": left[k - 1],
            "units_after": left[k],
            "predicted_loss_change": predicted,
            "measured_loss_change": predicted + abs(rng.gauss(2.0, 0.7)) * share**2,
            "predicted_gradient_norm2_change": slope,
            "measured_gradient_norm2_change": slope * rng.uniform(0.4, 1.4) + rng.gauss(0, 4) * share**2,
            "gather_seconds": 0.3,
            "cut_seconds": 0.05,
            "checks": CHECKS,
            "gradient_norm2": 0.4,
            "loss": 0.5,
        }


def _layers(rng, measure, rounds, sparsity):
    for k in range(1, rounds + 1):
        for depth, (name, units) in enumerate(LAYERS.items()):
            lean = (depth - 2) * (0.09 if measure == "gradient_norm_increase" else -0.07)
            share = min(1.0, remaining(rounds, sparsity)[k] + lean * k / rounds + rng.gauss(0, 0.02))
            kept = max(round(0.05 * units) or 1, round(share * units))
            hit = share * units < 0.06 * units
            yield {"kind": "layer", "round": k, "layer": name, "units": units, "kept": kept, "floor_hit": hit}


def _collapse(rng, layers, epoch):
    """The diagnosis of what the last cut left: a few kept weights of the lower layers are on no path."""
    idle = {row["layer"]: min(row["kept"] - 1, rng.choice((0, 0, 1, 2))) for row in layers}
    kept, total = sum(row["kept"] for row in layers), sum(row["units"] for row in layers)
    last = [row["layer"] for row in layers if row["kept"] == 1]
    yield {
        "kind": "collapse",
        "epoch": epoch,
        "unit": "weights",
        "effective_sparsity": 1 - (kept - sum(idle.values())) / total,
        "compression": total / kept,
        "largest_safe_sparsity": 0.96 + rng.uniform(0, 0.01),
        "dies_first": "stem.conv",
        "conservation": rng.uniform(0, 0.2),
        "warnings": [f"the last weight is all that is kept of {', '.join(last)}; the next cut may empty it."]
        * bool(last),
    }
    for row in layers:
        counts = {"kept": row["kept"], "total": row["units"], "effective": row["kept"] - idle[row["layer"]]}
        units = {"inputs": 3, "dead_inputs": 0, "outputs": 16, "dead_outputs": idle[row["layer"]]}
        yield {"kind": "collapse_layer", "epoch": epoch, "layer": row["layer"], **counts, **units}


def _pruned(rng, stages):
    """Loss and accuracy right before and right after a cut, as of a network that was trained before it."""
    change = {1: 2.0, 5: 1.2}.get(stages, 0.8) * rng.uniform(0.8, 1.2)
    splits = {"train": 1.0, "valid": 0.9, "test": 0.95}
    before = {f"{name}_loss_before": 0.1 + rng.uniform(0, 0.05) for name in splits}
    yield {
        "kind": "pruned",
        "epoch": 20,
        "selected_epoch": 18,
        "stages": stages,
        **before,
        **{f"{name}_loss_after": before[f"{name}_loss_before"] + share * change for name, share in splits.items()},
        **{f"{name}_accuracy_before": 0.97 for name in splits},
        **{f"{name}_accuracy_after": 1 - 0.4 * change for name in splits},
        "predicted_loss_change": rng.uniform(-0.2, 0.2),
        "predicted_loss_change_second": 0.3 * change,
        "measured_loss_change": change * rng.uniform(0.95, 1.05),
    }


def _agreement(seed):
    for i, j in itertools.combinations(range(len(MEASURES)), 2):
        rng = Random(f"{i}{j}{seed}")
        rho = max(-1.0, min(1.0, 0.95 - 0.28 * (j - i) - (0.5 if j == 3 else 0) + rng.gauss(0, 0.05)))
        yield {
            "kind": "agreement",
            "round": 0,
            "epoch": 1,
            "a": MEASURES[i],
            "b": MEASURES[j],
            "spearman": rho,
            "pearson": rho * 0.9,
            "overlap": 0.25 + 0.7 * max(0.0, rho),
        }


def _result(rng, measure, rounds, epochs):
    pruned = measure != "dense"
    parameters = round(65000 * (0.085 + 0.02 * rng.random())) if pruned else 65000
    final = _accuracy(rng, measure, rounds, epochs)
    yield {
        "kind": "result",
        "test_accuracy_final": final,
        "test_accuracy_selected": min(1.0, final + rng.gauss(0.001, 0.003)),
        "valid_accuracy_best": min(1.0, final + 0.004),
        "epochs": epochs,
        "parameters": parameters,
        "parameters_dense": 65000,
        "nonzeros": parameters,
        "multiply_adds": round(1.9e6 * parameters / 65000 * 1.4) if pruned else 1_900_000,
        "multiply_adds_dense": 1_900_000,
        "bytes": parameters * 4 + 3000,
        "bytes_dense": 65000 * 4 + 3000,
        "latency_ms": (0.9 if pruned else 2.1) * rng.uniform(0.95, 1.05),
        "latency_ms_dense": 2.1 * rng.uniform(0.95, 1.05),
        "latency_iqr_ms": 0.06,
        "latency_iqr_ms_dense": 0.11,
        "latency_batch": 64,
        "latency_threads": 1,
        "train_seconds": 3.5 * rng.uniform(0.9, 1.1),
        "achieved_sparsity": 0.75 if pruned else 0.0,
    }


def evidence(found):
    """The rows with specs and environments beside them, as ``report.evidence.load`` would give them."""
    runs = {row["run"] for row in found}
    spec = {"train.epochs": "20ep", "train.batch": 64, "prune.granularity": "channels", "threads": 1}
    surroundings = {"flowprune": "0.1.0", "torch": "2.13.0", "processor": "a processor", "cores": 2, "threads": 1}
    return Evidence(tuple(found), dict.fromkeys(runs, spec), dict.fromkeys(runs, surroundings))
