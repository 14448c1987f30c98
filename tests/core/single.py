"""Tensors of a device without float64, as Apple's is: they say that they are there, and refuse what it refuses."""

from __future__ import annotations

import torch


class Single(torch.Tensor):
    """A tensor that claims to be on ``mps``; only :meth:`cpu` leads away from there."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__self__", None) is torch.Tensor.device:
            return torch.device("mps")
        wide = function is torch.Tensor.double or any(each is torch.float64 for each in (*args, *kwargs.values()))
        if wide:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        found = super().__torch_function__(function, types, args, kwargs)
        return found.as_subclass(torch.Tensor) if function is torch.Tensor.cpu else found


def single(values) -> Single:
    """Such a tensor with these values."""
    return torch.as_tensor(values, dtype=torch.float32).as_subclass(Single)
