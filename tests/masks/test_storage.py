"""Masks on disk: files of the first format are read for good."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from flowprune.core.errors import PruningError
from flowprune.core.files import checksum_of
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


@pytest.fixture
def saved(tmp_path):
    """Masks of 54 weights, of which the first half is kept: 7 bytes, of which the last has two unused bits."""
    masks = Masks({"a.weight": (torch.arange(54) < 27).view(2, 3, 3, 3), "b.weight": torch.arange(16) > 3})
    return masks.save(tmp_path / "masks.safetensors")


def rewrite(path, change, *, old: bool = False, whole: bool = False) -> None:
    """Edit the JSON file: as if written before it had a checksum of its own, or with one to match."""
    header = path.with_suffix(".json")
    fields = json.loads(header.read_text())
    change(fields)
    if old or whole:
        fields.pop("checksum", None)
    header.write_text(json.dumps({**fields, "checksum": checksum_of(fields)} if whole else fields))


@pytest.mark.parametrize("old", [False, True], ids=["checksummed", "older file"])
@pytest.mark.parametrize(
    "shape", [[10000, 3, 3, 3], [1, 3, 3, 3], [53], [55], [56], [57], [0], [-1, 3], "54", None, [[54]]]
)
def test_shapes_that_were_edited_are_refused(saved, shape, old) -> None:
    rewrite(saved, lambda fields: fields["shapes"].update({"a.weight": shape}), old=old)
    with pytest.raises(PruningError, match=r"masks\.json is damaged.*Save the masks again"):
        Masks.load(saved)


@pytest.mark.parametrize("old", [False, True], ids=["checksummed", "older file"])
def test_names_that_were_edited_are_refused(saved, old) -> None:
    rewrite(saved, lambda fields: fields["shapes"].pop("a.weight"), old=old)
    with pytest.raises(PruningError, match="is damaged"):
        Masks.load(saved)


def test_any_edit_of_the_header_is_seen(saved) -> None:
    rewrite(saved, lambda fields: fields.update(fingerprint="0123456789ab"))
    with pytest.raises(PruningError, match=r"masks\.json is damaged: its checksum does not hold"):
        Masks.load(saved)


def test_a_header_without_a_checksum_of_its_own_is_read(saved) -> None:
    expected = Masks.load(saved)
    rewrite(saved, lambda fields: None, old=True)
    found = Masks.load(saved)
    assert {name: mask.tolist() for name, mask in found.items()} == {n: m.tolist() for n, m in expected.items()}


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"format": 2}', '{"format": [2]}', "{", ""])
def test_what_is_no_header_is_damaged(saved, content) -> None:
    saved.with_suffix(".json").write_text(content)
    with pytest.raises(PruningError, match=r"masks\.json.*Save the masks again"):
        Masks.load(saved)


@pytest.mark.parametrize("key", ["shapes", "layout", "sha256", "fingerprint", "sparsity"])
def test_a_key_that_was_renamed_is_damage(saved, key) -> None:
    for whole in (False, True):
        rewrite(saved, lambda fields: fields.update(renamed=fields.pop(key, None)), old=not whole, whole=whole)
        with pytest.raises(PruningError, match=r"masks\.json is damaged"):
            Masks.load(saved)


@pytest.mark.parametrize("change", [{"size": 4}, {"members": [{}]}, {"members": 3}, {"size": "3"}])
def test_a_layout_that_does_not_fit_is_damage(tmp_path, change) -> None:
    path = first_format(tmp_path / "masks.safetensors")
    rewrite(path, lambda fields: fields["layout"]["a.weight"].update(change), old=True)
    with pytest.raises(PruningError, match=r"masks\.json is damaged"):
        Masks.load(path)


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(PruningError, match=r"nowhere\.json"):
        Masks.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("place", ["file/masks.safetensors", "folder.safetensors"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, place) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"Masks\.save\(path=\) must be a file that can be written"):
        Masks({"w": torch.tensor([True])}).save(tmp_path / place)
