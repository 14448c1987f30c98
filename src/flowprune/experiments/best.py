"""The state of a network after the epoch that the validation split chose, kept while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from flowprune.core.errors import PruningError
from flowprune.train import EpochRecord, select


class Best:
    """Keeps a copy of weights and buffers, and puts it back once; see :func:`flowprune.train.select` for the choice.

    Example:
        >>> kept, layer = Best(), nn.Linear(1, 1, bias=False)
        >>> def after(epoch, accuracy):
        ...     return EpochRecord(epoch, epoch, 1.0, 0.5, 1.0, accuracy, 0.5, 0.1, 1.0)
        >>> for records, weight in (([after(1, 0.9)], 1.0), ([after(1, 0.9), after(2, 0.8)], 2.0)):
        ...     _ = nn.init.constant_(layer.weight, weight)
        ...     kept.look(layer, records)
        >>> kept.put_back(layer)
        >>> layer.weight.item(), kept.tensors()
        (1.0, {})
    """

    def __init__(self) -> None:
        self._state: dict[str, Tensor] = {}

    def look(self, model: nn.Module, records: Sequence[EpochRecord]) -> None:
        """Keep the model as it is where the last record is the one that validation chooses."""
        if select(records).selected_epoch == records[-1].epoch:
            self._state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def put_back(self, model: nn.Module) -> None:
        """Make the model what was kept, and keep it no longer.

        Raises:
            PruningError: nothing was kept.
        """
        if not self._state:
            raise PruningError("Best.put_back() must be called after look(), once.")
        model.load_state_dict(self._state)
        self._state = {}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return dict(self._state)

    def restore(self, tensors: Mapping[str, Tensor], model: nn.Module) -> None:
        """Go on where :meth:`tensors` was taken, on the device of a model."""
        device = next(model.parameters()).device
        self._state = {name: value.to(device) for name, value in tensors.items()}
