"""What a recipe and the arguments beside it come to, and what is refused before anything is run."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

import flowprune as fp
from flowprune.core.errors import PruningError, UnknownNameError
from flowprune.measures.underflow import underflowing
from flowprune.models.initializers import normal_
from tests.prune.small import examples, mlp, same


def deep(depth: int = 120, width: int = 20, sigma_w: float = 0.3) -> nn.Sequential:
    """Signals and gradients of this network are lost in float32, and are not in float64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(6, width), nn.Tanh()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(width, 3))
    normal_(model, sigma_w, 0.05, generator=torch.Generator().manual_seed(0))
    return model


class TestScoresThatAreTooSmall:
    def test_they_are_taken_in_float64_and_not_by_position(self) -> None:
        """In float32 a third of these scores is exactly zero; in float64 none is, and the first layer dies early."""
        model, batch = deep(), examples()
        plain = fp.score("loss_preservation", fp.gather(model, fp.objectives.cross_entropy(), [batch]))
        assert sum(int((score == 0).sum()) for score in plain.values()) > 10000
        with pytest.raises(PruningError, match=r"largest safe sparsity of these scores is 0\.0"):
            fp.prune(model, recipe="snip", sparsity=0.1, batches=[batch])
        result = fp.prune(model, recipe="snip", sparsity=0.02, batches=[batch], diagnose=False)
        assert all((score > 0).all() for score in result.scores.values())
        assert next(iter(result.scores.values())).dtype == torch.float64
        assert next(result.model.parameters()).dtype == torch.float32
        twin = fp.prune(model.double(), recipe="snip", sparsity=0.02, batches=[(batch[0].double(), batch[1])])
        assert same(result.masks, dict(twin.masks))

    def test_batches_that_cannot_be_read_again_are_told(self) -> None:
        pruner = fp.Pruner(
            deep(), measure="loss_preservation", granularity=fp.Weights(), objective=fp.objectives.cross_entropy(),
            schedule=fp.schedules.one_shot(sparsity=0.02),
        )  # fmt: skip
        with pytest.raises(PruningError, match=r"cannot be read again in float64\. Pass a list"):
            pruner.step(iter([examples()]))

    def test_dead_layers_and_wide_types_are_no_reason(self) -> None:
        assert underflowing({"w": torch.tensor([1.0, 0.0])}) == ()
        assert underflowing({"w": torch.zeros(3)}) == ("w",)
        assert underflowing({"w": torch.zeros(3).double()}) == ()


class TestSeeds:
    @pytest.mark.parametrize("recipe", ["random", "erk", "uniform", "uniform_plus", "phew", "ntk_sap"])
    def test_a_seed_is_of_all_draws(self, recipe: str) -> None:
        model, batch = mlp(6, 30, 20, 3), examples()
        one, again, other = (
            fp.prune(model, recipe=recipe, sparsity=0.6, batches=[batch], seed=s).masks for s in (1, 1, 2)
        )
        assert same(one, dict(again))
        assert not same(one, dict(other))


class TestForceInALoop:
    def test_signals_of_a_cut_are_of_the_network_that_is_pruned(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        pruner = fp.Pruner(
            model, measure="force", granularity=fp.Weights(), objective=fp.objectives.cross_entropy(),
            schedule=fp.schedules.exponential(4, sparsity=0.9),
        )  # fmt: skip
        for _ in range(4):
            norm2 = sum(float(p.detach().square().sum()) for p in model.parameters())
            cut = pruner.step([batch])
            assert cut is not None
            assert fp.flow(cut.signals).norm2 == pytest.approx(norm2)


class TestDensities:
    def test_layers_left_out_are_no_part_of_them(self) -> None:
        model = mlp(6, 30, 20, 3)
        result = fp.prune(model, recipe="erk", sparsity=0.6, granularity=fp.Weights(skip=("4.*",)))
        assert set(result.masks) == {"0.weight", "2.weight"}
        assert result.masks.total - result.masks.kept == round(0.6 * result.masks.total)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scope": "local"}, r"prune\(recipe='erk', scope=\) must be left out"),
            ({"protect": ("0.*",)}, r"prune\(recipe='erk', protect=\) must be left out"),
            ({"granularity": fp.NM(2, 4)}, r"prune\(recipe='erk', granularity=\) must be fp.Weights\(\)"),
            ({"sparsity": 0.9999}, r"prune\(sparsity=\) must be at most 0.99"),
        ],
    )
    def test_what_they_leave_no_room_for(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fp.prune(mlp(6, 30, 20, 3), recipe="erk", **{"sparsity": 0.6, **options})  # pyright: ignore


class TestBesideARecipe:
    def test_another_measure_takes_its_place_and_the_result_says_so(self) -> None:
        batch, objective = examples(), fp.objectives.cross_entropy()
        other = fp.prune(
            mlp(6, 9, 3),
            recipe="magnitude",
            measure="loss_preservation",
            sparsity=0.5,
            objective=objective,
            batches=[batch],
        )
        assert (other.measure, other.recipe) == ("loss_preservation", "")

    def test_a_model_that_is_masked_may_be_ahead_of_the_schedule(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        fp.apply(model, fp.prune(model, measure="magnitude", sparsity=0.3).masks)
        before = {n: (p == 0) for n, p in model.named_parameters()}
        for recipe in ("synflow", "iter_snip", "force"):
            result = fp.prune(model, recipe=recipe, sparsity=0.6, batches=[batch])
            assert result.masks.sparsity == pytest.approx(0.6, abs=0.002)
            assert all((result.model.get_parameter(n)[gone] == 0).all() for n, gone in before.items())

    def test_inverted_walks_have_no_rank(self) -> None:
        with pytest.raises(PruningError, match="must rank every unit that is kept"):
            fp.prune(mlp(6, 20, 20, 20), recipe="phew", sparsity=0.5, batches=[examples()], ablations=("invert",))

    def test_a_draw_of_another_scale_is_told(self) -> None:
        model, batch = mlp(6, 20, 10, 3), examples()
        normal_(model, 3.0)
        with pytest.warns(UserWarning, match="another initialisation is compared. Pass build="):
            fp.prune(model, recipe="snip", sparsity=0.5, batches=[batch], ablations=("reinitialize",))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fp.prune(mlp(6, 40, 40, 3), recipe="snip", sparsity=0.5, batches=[batch], ablations=("reinitialize",))


class TestRescaling:
    def test_the_factors_are_told(self) -> None:
        model = mlp(6, 50, 50, 3)
        result = fp.prune(model, measure="random", sparsity=0.75, rescale="layer", seed=0)
        for name, rho in result.rescaled.items():
            kept = model.get_parameter(name)[result.masks[name]]
            assert torch.allclose(result.model.get_parameter(name)[result.masks[name]], rho * kept)
        assert fp.prune(model, measure="random", sparsity=0.75).rescaled == {}

    def test_channels_have_weights_that_are_rescaled(self) -> None:
        x, y = examples()
        units = fp.Channels(example_inputs=x)
        result = fp.prune(
            mlp(6, 20, 10, 3, bias=True), recipe="sbp_rescaled", sparsity=0.5, granularity=units, batches=[(x, y)]
        )
        assert result.model(x).shape == (24, 3)

    @pytest.mark.parametrize("asked", ["layers", False, 3])
    def test_an_unknown_way_is_refused_first(self, asked: object) -> None:
        with pytest.raises((UnknownNameError, ValueError), match=r"prune\(rescale=\)"):
            fp.prune(mlp(6, 5, 3), measure="magnitude", sparsity=0.5, rescale=asked)  # pyright: ignore


class TestDiagnosis:
    def test_no_safe_sparsity_where_a_floor_holds(self) -> None:
        assert fp.prune(mlp(6, 20, 3), measure="magnitude", sparsity=0.5, floor=0.01).collapse.largest_safe is None  # pyright: ignore

    def test_why_paths_are_not_known_is_said(self) -> None:
        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inside = mlp(6, 9, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.inside(torch.fft.fft(x).real)

        found = fp.prune(Odd(), measure="magnitude", sparsity=0.5, batches=[examples()]).collapse
        assert found is not None
        assert found.effective_sparsity is None
        assert any("is not known" in said for said in found.warnings)

    def test_of_a_residual_network_it_is_said_that_paths_go_around(self) -> None:
        x = torch.zeros(2, 3, 8, 8)
        model = fp.models.build("resnet20", width=0.25)
        result = fp.prune(model, recipe="synflow", sparsity=0.5, batches=[(x, None)], schedule=fp.schedules.one_shot())
        assert "paths go around it" in str(result.collapse)
        assert math.isfinite(max((result.collapse.conservation or {}).values()))  # pyright: ignore
