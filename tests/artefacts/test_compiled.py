"""Compiled models, by a backend that compiles nothing: what is around the compiler is what is tested."""

from __future__ import annotations

import pytest
import torch

import flowprune as fp
from flowprune.core.errors import PruningError
from tests.artefacts.networks import convolutional, drawn


def test_it_gives_what_the_model_gives_and_leaves_the_model_alone():
    model, x = convolutional(), drawn(4, 2, 5, 5)
    random = torch.get_rng_state()
    made = fp.compile(model, x, backend="eager", repeats=3)
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    assert made.difference == 0.0
    assert (made.speed.batch, made.speed.before.repeats) == (4, 3)
    given = made(x)
    assert given.is_inference()
    torch.testing.assert_close(given.clone(), model.eval()(x).detach())
    assert str(made).startswith("compiled in ")
    assert str(made.speed) in str(made)


def test_a_wrong_compiler_is_found_out():
    def wrong(graph, inputs):
        return lambda *args: tuple(x + 1 for x in graph(*args))

    with pytest.raises(PruningError, match=r"compile\(model=\) must give what the model gives"):
        fp.compile(convolutional(), drawn(4, 2, 5, 5), backend=wrong)


def test_a_compiler_that_fails_is_told_in_one_line():
    def failing(graph, inputs):
        raise RuntimeError("no compiler\nand more")

    with pytest.raises(PruningError, match=r"must be a model that .* compiles") as told:
        fp.compile(convolutional(), drawn(4, 2, 5, 5), backend=failing)
    assert len(str(told.value).splitlines()) == 1


def test_shapes_are_fixed_and_former_code_is_gone():
    """A cut model compiled after the dense one is compiled for its own widths, not for dynamic ones."""
    graphs = []

    def watching(graph, inputs):
        graphs.append([x.shape for x in inputs])
        return graph

    dense, x = convolutional(), drawn(2, 2, 5, 5)
    small = fp.remove(dense, {"0.weight": torch.tensor([True, False, True, True])}, example_inputs=x)
    for model in (dense, small):
        fp.compile(model, x, backend=watching, repeats=1)
    assert len(graphs) == 2
    assert all(isinstance(size, int) for shapes in graphs for shape in shapes for size in shape)


def test_repeats_are_checked():
    with pytest.raises(ValueError, match=r"compile\(repeats=\)"):
        fp.compile(convolutional(), drawn(2, 2, 5, 5), repeats=0)
