"""Masks on disk: files of the first format are read for good."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from flowprune.core.errors import PruningError
from flowprune.masks import Masks


def first_format(path, number: int = 1):
    """A file as the first format has it, written out."""
    tensors = {
        "mask/a.weight": torch.tensor([0b10100000], dtype=torch.uint8),
        "layout/a.weight/1/positions": torch.tensor([2, 0, 1]),
    }
    save_file(tensors, path)
    members = [
        {"name": "a.weight", "axis": 0, "role": "weight", "scored": True, "positions": 3, "units": 3},
        {
            "name": "b.weight",
            "axis": 1,
            "role": "input",
            "scored": False,
            "positions": "layout/a.weight/1/positions",
            "units": 3,
        },
    ]
    header = {
        "format": number,
        "fingerprint": None,
        "sparsity": 1 / 3,
        "shapes": {"a.weight": [3]},
        "layout": {"a.weight": {"size": 3, "removable": True, "members": members}},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(header))
    return path


def test_the_first_format_is_read(tmp_path) -> None:
    masks = Masks.load(first_format(tmp_path / "masks.safetensors"))
    assert masks["a.weight"].tolist() == [True, False, True]
    group = masks.layout["a.weight"]
    assert (group.size, group.removable, masks.channelwise) == (3, True, True)
    assert group.members[1].positions.tolist() == [2, 0, 1]
    again = Masks.load(masks.save(tmp_path / "again.safetensors"))
    assert again.layout["a.weight"].members[1].positions.tolist() == [2, 0, 1]


def test_a_later_format_is_refused(tmp_path) -> None:
    with pytest.raises(PruningError, match=r"reads the formats 1, 2; .* has 3"):
        Masks.load(first_format(tmp_path / "masks.safetensors", 3))
