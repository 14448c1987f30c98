"""What is done once the masks are known: to them, and to the weights that stay."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from torch import Tensor, nn

from flowprune.core.errors import invalid, renamed, unknown
from flowprune.core.groups import channels_of
from flowprune.core.seeds import derive
from flowprune.masks import Compensation, Masks, expand, masks_of, rescale
from flowprune.masks.ablations import shuffle
from flowprune.masks.compensation.compensate import DAMPING, reconstruct, write_
from flowprune.masks.rescale import PER
from flowprune.models.reinitialize import reinitialize_
from flowprune.prune.carry_out import carry_out_, hold_, removable
from flowprune.prune.options import SCORE_ON
from flowprune.structure import rehearse
from flowprune.structure.example import Example
from flowprune.structure.twin import copied

Build = Callable[[int], nn.Module]
APART: Final = 0.1
"""Weights of another scale than this fraction of what they had are not another draw of the same."""


def _scales(model: nn.Module) -> dict[str, float]:
    """Root mean square of each weight."""
    weights = {name: param for name, param in model.named_parameters() if param.ndim > 1}
    return {name: float(param.detach().double().square().mean().sqrt()) for name, param in weights.items()}


def _another(scale: float, before: float, weight: Tensor) -> bool:
    """Whether scales of two draws differ by more than :data:`APART` and three standard errors of a small layer."""
    return abs(scale - before) > (APART + 3 / weight.numel() ** 0.5) * before


class Pruned(NamedTuple):
    """A pruned copy.

    Attributes:
        model: The copy.
        masks: Of the model that was pruned.
        rescaled: What the kept weights of each layer, or unit, were multiplied with; empty where they were not.
        compensation: How kept weights made up for the others; None where they did not.
    """

    model: nn.Module
    masks: Masks
    rescaled: Mapping[str, Tensor]
    compensation: Compensation | None = None


@dataclass(frozen=True, eq=False)
class Afterwards:
    """Ablations, the rescaling trick and compensation.

    Attributes:
        shuffle: Whether masks are permuted within each layer.
        reinitialize: Whether what stays is drawn anew.
        fresh_draw: Whether the network that is scored has weights of another draw than the one that is pruned.
        rescale: How kept weights are rescaled; None where they are not.
        sigma_w: To which variance.
        compensate: Whether kept weights make up for those that are cut.
        build: Makes a network of a seed, where weights are drawn; None: its modules' own initialisation.
        seed: Of the draws.
    """

    shuffle: bool = False
    reinitialize: bool = False
    fresh_draw: bool = False
    rescale: Literal["layer", "unit"] | None = None
    sigma_w: float | None = None
    compensate: bool = False
    build: Build | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        ablations: Collection[str],
        *,
        seed: int,
        score_on: str = "own_weights",
        rescale: Literal["layer", "unit"] | None = None,
        sigma_w: float | None = None,
        compensate: bool = False,
        build: Build | None = None,
    ) -> Afterwards:
        """From the keywords of ``prune``.

        Raises:
            UnknownNameError: an unknown ``score_on``.
            ValueError: a sigma_w without rescaling, a build that nothing draws with, or compensation of weights that
                are drawn anew or rescaled.
        """
        if score_on not in SCORE_ON:
            raise unknown("prune(score_on=)", score_on, SCORE_ON)
        if rescale is not None and rescale not in PER:
            raise unknown("prune(rescale=)", rescale, PER)
        if sigma_w is not None and rescale is None:
            raise invalid("prune(sigma_w=)", "None where nothing is rescaled", sigma_w, "Pass rescale='layer' with it.")
        fresh = score_on == "fresh_draw"
        if build is not None and not (fresh or "reinitialize" in ablations):
            todo = "Ask for ablations=('reinitialize',) or score_on='fresh_draw'."
            raise invalid("prune(build=)", "None where no weights are drawn", build, todo)
        _require_alone(compensate, "reinitialize" in ablations, rescale)
        return cls(
            "shuffle" in ablations, "reinitialize" in ablations, fresh, rescale, sigma_w, compensate, build, seed
        )

    @property
    def nothing(self) -> bool:
        """Whether the network that was scored is, with its masks, the result."""
        return not (self.shuffle or self.reinitialize or self.fresh_draw or self.rescale or self.compensate)

    def redraw_(self, model: nn.Module, purpose: str) -> None:
        """Draw the weights of a model anew, in place."""
        before = {} if self.build is not None else _scales(model)
        reinitialize_(model, seed=derive(self.seed, purpose), build=self.build)
        after = _scales(model) if before else {}
        apart = [name for name, scale in after.items() if _another(scale, before[name], model.get_parameter(name))]
        if apart:
            warnings.warn(
                f"prune() drew weights anew as their modules do; {apart[0]!r} and {len(apart) - 1} more had another "
                "scale, so that another initialisation is compared. Pass build=, which makes the model of a seed.",
                stacklevel=4,
            )

    def carried_out(
        self,
        model: nn.Module,
        masks: Masks,
        example: Example | None,
        *,
        done: nn.Module | None,
        batches: Iterable[Any] = (),
    ) -> Pruned:
        """A pruned copy of a model, the masks it has, and how its weights were rescaled or compensated.

        Where units leave it, that is first tried on a copy and compared on the example inputs, as in every cut.
        ``done`` is a copy with these masks, and is the result where nothing else is asked for.
        """
        if done is not None and self.nothing:
            return Pruned(done, masks, {})
        copy, factors, compensation = copied(model, "prune"), dict[str, Tensor](), None
        if self.shuffle:
            held = masks_of(copy)
            alive = {name: held[name] for name in masks if name in held and held[name].shape == masks[name].shape}
            masks = shuffle(masks, seed=derive(self.seed, "shuffle"), alive=alive)
        if self.reinitialize:
            self.redraw_(copy, "reinitialize")
        if self.rescale is not None:
            params = dict(copy.named_parameters())
            kept = {name: keep.expand(params[name].shape) for name, keep in expand(params, masks).items()}
            weights = {name: keep for name, keep in kept.items() if keep.dim() > 1}
            with renamed({"rescale(": "prune("}):
                factors = rescale(copy, weights, sigma_w=self.sigma_w, per=self.rescale)
        if self.compensate:
            with renamed({"compensate(": "prune("}):
                found = reconstruct(copy, masks, batches, damping=DAMPING, sequential=True)
            write_(copy, found)
            compensation = found.record
        if any(group.removable for group in masks.layout.values()):
            rehearse(copy, channels_of("prune(masks=)", masks.layout), removable(masks), example)
            carry_out_(copy, masks)
        else:
            hold_(copy, masks, besides=masks_of(copy))
        return Pruned(copy, masks, factors, compensation)


def _require_alone(compensate: object, reinitialize: bool, rescale: str | None) -> None:
    if not isinstance(compensate, bool):
        todo = "For another damping, call fp.compensate on a copy of the model with the masks of the result."
        raise invalid("prune(compensate=)", "True or False", compensate, todo)
    if compensate and reinitialize:
        todo = "Weights that are drawn anew have nothing to make up for."
        raise invalid("prune(compensate=)", "False with ablations=('reinitialize',)", compensate, todo)
    if compensate and rescale is not None:
        todo = "Either changes the weights that stay; pass rescale=None to compensate."
        raise invalid("prune(compensate=)", f"False with rescale={rescale!r}", compensate, todo)
