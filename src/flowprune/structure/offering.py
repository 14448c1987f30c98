"""What granularities that are found by running a model need of the signals: the model, and what it is called with."""

from __future__ import annotations

from torch import nn

from flowprune.core.errors import invalid
from flowprune.signals import Signals


def model_of(where: str, signals: Signals, what: str) -> nn.Module:
    """The signals' model.

    Raises:
        ValueError: they have none, being built by hand.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1)
        >>> model_of("Heads()", Signals(params=dict(layer.named_parameters()), model=layer), "attention") is layer
        True
    """
    if signals.model is None:
        rule = f"given signals of a model, whose {what}"
        raise invalid(f"{where}.layout(signals=)", rule, signals, "Gather them with fp.gather(model, ...).")
    return signals.model


def called_with(where: str, example_inputs: object, signals: Signals) -> object:
    """The granularity's example inputs, or those that the signals were gathered with.

    Raises:
        ValueError: there are neither.

    Example:
        >>> import torch
        >>> called_with("Channels", None, Signals(params={}, example_inputs=torch.ones(1, 2)))
        tensor([[1., 1.]])
    """
    found = signals.example_inputs if example_inputs is None else example_inputs
    if found is None:
        rule, todo = "what the model is called with", "Pass two examples of the model's input."
        raise invalid(f"{where}(example_inputs=)", rule, None, todo)
    return found
