"""What the name of a parameter says of it."""

from __future__ import annotations


def is_bias(name: str) -> bool:
    """Whether a parameter is added: a bias, whatever else its name says, as in ``bias_ih_l0`` and ``in_proj_bias``.

    Example:
        >>> is_bias("lstm.bias_ih_l0"), is_bias("attention.in_proj_bias"), is_bias("biased.weight")
        (True, True, False)
    """
    last = name.rpartition(".")[2]
    return last.startswith("bias") or last.endswith("bias")
