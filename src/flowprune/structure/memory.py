"""The last trace of each live model, so that rounds of pruning do not capture the same graph again."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

from torch import nn

from flowprune.core.fingerprint import fingerprint
from flowprune.structure.records import Trace

PLAIN = (bool, int, float, str)
_TRACES: WeakKeyDictionary[nn.Module, tuple[str, str, Trace]] = WeakKeyDictionary()


def remember(model: nn.Module, found: Trace, signature: str) -> None:
    """Keep a trace of a model as it is now; its earlier one is forgotten."""
    _TRACES[model] = (_key(model), signature, found)


def recall(model: nn.Module, signature: str | None = None) -> Trace | None:
    """The last trace of this very model, if its modules and shapes, and the inputs' shapes, are still the same."""
    entry = _TRACES.get(model)
    if entry is None or entry[0] != _key(model) or signature not in (None, entry[1]):
        return None
    return entry[2]


def signature_of(model: nn.Module) -> str | None:
    """The shapes of the inputs that the model was last traced with."""
    entry = _TRACES.get(model)
    return None if entry is None else entry[1]


def _key(model: nn.Module) -> str:
    """What a trace depends on, short of the code of ``forward``: modules, their settings, names and shapes."""
    settings = [
        sorted((key, value) for key, value in vars(module).items() if key != "training" and isinstance(value, PLAIN))
        for module in model.modules()
    ]
    described = hashlib.sha256(f"{model!r}{settings}".encode()).hexdigest()
    return f"{fingerprint(dict(model.named_parameters()))}/{described}"
