"""What a run does to the process it runs in."""

from __future__ import annotations

import pytest
import torch

from flowprune.experiments.machine import visible_devices, whole_float32


def tf32():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_float32_is_whole_inside_and_as_before_after():
    before = tf32()
    assert before[0]  # what PyTorch does by default
    with whole_float32():
        assert tf32() == (False, False)
    assert tf32() == before


def test_float32_is_as_before_after_an_error():
    before = tf32()

    def fails():
        with whole_float32():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert tf32() == before


def test_devices_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 7")
    assert visible_devices() == ("2", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_devices() == ("0", "1")
