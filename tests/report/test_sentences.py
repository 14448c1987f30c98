"""Sentences claim what the rows support and no more."""

from __future__ import annotations

import pytest

from flowprune.report.figures import FIGURES
from flowprune.report.sentences import accuracy as words
from flowprune.report.sentences import cuts as cut_words
from flowprune.report.sentences import layers as layer_words
from flowprune.report.shapes.accuracy import accuracy
from flowprune.report.shapes.cuts import cuts
from flowprune.report.shapes.layers import layers
from tests.report import fabricate


def curve(measure, values, rounds=1):
    rounds = 0 if measure == "dense" else rounds
    return [
        {
            "kind": "epoch",
            "measure": measure,
            "rounds": rounds,
            "seed": s,
            "epoch": 1,
            "test_accuracy": v,
            "run": str(s),
        }
        for s, v in enumerate(values)
    ]


def test_a_clear_lead_is_called_one():
    rows = curve("dense", (0.98, 0.99)) + curve("magnitude", (0.97, 0.96)) + curve("random", (0.5, 0.51))
    said = words.say(accuracy(rows))
    assert "magnitude ended highest at 96.5 ± 0.7 %, 2.0 points below dense (beyond the spread)" in said
    assert "it leads random beyond the spread over seeds" in said


def test_a_lead_within_the_spread_is_not_called_one():
    said = words.say(accuracy(curve("magnitude", (0.97, 0.95)) + curve("obd", (0.96, 0.95))))
    assert "its lead over the others is within the spread" in said
    assert "beyond" not in said


def test_one_seed_claims_no_ranking():
    said = words.say(accuracy(curve("magnitude", (0.97,)) + curve("obd", (0.5,))))
    assert "no ranking is claimed" in said
    assert "(n = 1)" in said


def test_the_first_order_is_not_said_to_size_big_cuts_it_misses():
    def cut(share, predicted, measured):
        about = {"kind": "cut", "measure": "magnitude", "rounds": 5, "units_before": 100}
        changes = {"predicted_loss_change": predicted, "measured_loss_change": measured}
        return {**about, "units_after": 100 * (1 - share), **changes}

    good = [cut(0.01 * k, 0.1 * k, 0.1 * k) for k in range(1, 4)]
    bad = [cut(0.5 + 0.1 * k, 0.1 * k, 10.0 * k) for k in range(1, 4)]
    said = cut_words.say(cuts(good + bad))
    assert "it does not give the size of a big cut" in said
    assert "n = 6 cuts" in said
    assert "it does not give" not in cut_words.say(cuts([*good, cut(0.6, 1.0, 1.1), cut(0.7, 2.0, 2.1)]))


def test_floors_are_counted(rows):
    hits = {(r["run"], r["layer"]) for r in rows if r["kind"] == "layer" and r["floor_hit"]}
    said = layer_words.say(layers(rows))
    assert (f"in {len(hits)} of 150" in said) if hits else ("No layer reached its floor" in said)


@pytest.mark.parametrize("name", FIGURES)
def test_sentences_and_captions_are_whole_and_without_nan(rows, name):
    drawn = FIGURES[name].of(fabricate.wanted(FIGURES[name], rows))
    for said in (drawn.sentence, drawn.caption):
        assert said.endswith(".")
        assert "nan" not in said.lower().split()
        assert "None" not in said
