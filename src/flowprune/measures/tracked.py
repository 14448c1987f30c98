"""A moving average of a score over the last minibatches, as in ``biased_loss_tracked``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.masks import Scores


@dataclass(frozen=True)
class Tracked:
    """S ← α·new + (1 - α)·S, where α weighs the new value; the first value is multiplied by α as well.

    Reset it (build a new one) after every pruning. The published code mixes the gradient of a step with the
    parameters after it, in train mode; feed it scores taken before the step.

    Attributes:
        alpha: Weight of the newest score, in (0, 1]; the published value is 0.8.
        scores: The average so far.

    Example:
        >>> import torch
        >>> one = {"w": torch.tensor([1.0])}
        >>> Tracked(0.5).update(one).update(one).scores["w"]
        tensor([0.7500])
    """

    alpha: float = 0.8
    scores: Scores = field(default_factory=lambda: Scores({}))

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha <= 1.0:
            raise invalid("Tracked(alpha=)", "in (0, 1]", self.alpha)

    def update(self, new: Mapping[str, Tensor]) -> Tracked:
        """The average with one more score in it; ``self`` is unchanged."""
        shapes, old = ({name: tuple(value.shape) for name, value in s.items()} for s in (new, self.scores))
        if self.scores and shapes != old:
            raise invalid("Tracked.update(new=)", f"scores of the same units, {old}", shapes, "Build a new one.")
        mixed = {
            name: self.alpha * value + (1.0 - self.alpha) * self.scores[name] if self.scores else self.alpha * value
            for name, value in new.items()
        }
        described = {key: getattr(new, key, None) for key in ("layout", "fingerprint")}
        return Tracked(self.alpha, Scores(mixed, **described))
