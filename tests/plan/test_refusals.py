"""What a plan refuses, and that nothing is touched then."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.files import checksum_of
from tests.structure.comparing import images, randomised
from tests.structure.removable import Plain, Residual


@pytest.fixture
def folder(tmp_path):
    small = fp.remove(randomised(Plain), {"0.weight": torch.arange(6) < 4}, example_inputs=images())
    return fp.save(small, tmp_path / "plan")


def rewrite(folder, change):
    """The plan with something changed, and a checksum to match."""
    path = folder / "plan.json"
    fields = json.loads(path.read_text())
    fields.pop("checksum")
    change(fields)
    path.write_text(json.dumps({**fields, "checksum": checksum_of(fields)}))


def state(model):
    return copy.deepcopy(model.state_dict()), str(model), set(vars(model))


def assert_untouched(model, before):
    tensors, text, attributes = before
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())
    assert (str(model), set(vars(model))) == (text, attributes)


@pytest.mark.parametrize("name", ["plan.json", "plan.safetensors", "model.safetensors"])
@pytest.mark.parametrize("harm", ["truncated", "one byte", "missing"])
def test_damaged_files(tmp_path, name, harm):
    model = nn.Sequential(nn.Linear(4, 99), nn.ReLU(), nn.Linear(99, 2))
    small = fp.remove(model, {"0.weight": torch.arange(99) % 2 > 0}, example_inputs=torch.ones(1, 4))
    path = fp.save(small, tmp_path) / name
    data = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) // 2] if harm == "truncated" else data)
    before = state(model)
    with pytest.raises(fp.PruningError, match=f"{name.replace('.', '[.]')}.*(damaged|missing|cannot be read)"):
        fp.load(model, tmp_path)
    if name != "model.safetensors":
        with pytest.raises(fp.PruningError):
            fp.replay(tmp_path, model)
    else:
        fp.replay(tmp_path, model)  # the weights are not needed
    assert_untouched(model, before)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"format": "1"}', b'{"format": 1}'])
def test_what_is_no_plan(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(fp.PruningError, match="damaged"):
        fp.load(Plain, tmp_path)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(fp.PruningError, match=r"must hold plan\.json"):
        fp.load(Plain, tmp_path / "nowhere")


def test_later_versions_are_refused(folder):
    rewrite(folder, lambda fields: fields.update(format=2))
    with pytest.raises(fp.PruningError, match=r"format 2, a later one.*Update flowprune"):
        fp.load(Plain, folder)


def test_unknown_operations_are_refused(folder):
    rewrite(folder, lambda fields: fields["operations"].append({"kind": "fold"}))
    model = Plain()
    before = state(model)
    with pytest.raises(fp.PruningError, match=r"kind 'fold', which .* does not know: zero, remove, mask"):
        fp.replay(folder, model)
    assert_untouched(model, before)


@pytest.mark.parametrize("key", ["kept", "settings", "units", "zeroed"])
def test_a_plan_with_holes(folder, key):
    rewrite(folder, lambda fields: fields["operations"][0].pop(key))
    with pytest.raises(fp.PruningError, match=f"damaged: KeyError: '{key}'"):
        fp.load(Plain, folder)


@pytest.mark.parametrize("key", ["files", "operations", "model", "versions", "channels_last"])
def test_a_plan_without_a_field(folder, key):
    """With a checksum to match: written by something else, or edited and summed again."""
    rewrite(folder, lambda fields: fields.pop(key))
    for use in (lambda: fp.load(Plain, folder), lambda: fp.plan.verify(folder), lambda: fp.replay(folder, Plain())):
        with pytest.raises(fp.PruningError, match=rf"plan\.json is damaged: it holds no '{key}'"):
            use()


@pytest.mark.parametrize("change", [{"operations": [3]}, {"channels_last": ["nowhere"]}, {"operations": {}}])
def test_a_plan_with_a_field_of_another_kind(folder, change):
    rewrite(folder, lambda fields: fields.update(change))
    with pytest.raises(fp.PruningError, match=r"plan\.json is damaged"):
        fp.load(Plain, folder)


@pytest.mark.parametrize("use", [fp.load, lambda model, path: fp.replay(path, model)], ids=["load", "replay"])
def test_another_architecture(folder, use):
    wider = Plain()
    wider[3] = nn.Conv2d(6, 9, 3, bias=False)
    for model, said in (
        (wider, r"3\.weight of shape \(9, 6, 3, 3\), of shape \(8, 6, 3, 3\) in the plan"),
        (Residual(), r"0\.weight missing, of shape \(6, 3, 3, 3\) in the plan, and .* more tensors differ"),
    ):
        before = state(model)
        with pytest.raises(ValueError, match=said):
            use(model, folder)
        assert_untouched(model, before)


@pytest.mark.parametrize("use", [fp.load, lambda model, path: fp.replay(path, model)], ids=["load", "replay"])
def test_the_same_shapes_with_another_setting(folder, use):
    model = Plain()
    model[0].out_channels = 12
    with pytest.raises(ValueError, match=r"0\.out_channels is 6, as in the one that was pruned; got 12"):
        use(model, folder)


def test_a_model_that_is_pruned_already(folder):
    model = fp.apply(Plain(), {"0.weight": torch.arange(6 * 27).view(6, 3, 3, 3) > 9})
    with pytest.raises(ValueError, match="before it was pruned"):
        fp.replay(folder, model)
    with pytest.raises(ValueError, match=r"0\.weight of shape"):
        fp.replay(folder, fp.load(Plain, folder))


def test_a_replay_that_does_not_compute_the_same(folder):
    """The masked and the cut model differ: a function that the plan knows nothing of."""
    model = randomised(Plain)
    model[2].register_forward_hook(lambda module, args, output: output + 1.0)
    before = state(model)
    with pytest.raises(fp.PruningError, match="must compute what the masked one computes"):
        fp.replay(folder, model, example_inputs=images())
    assert_untouched(model, before)


def test_state_that_is_no_tensor(tmp_path):
    class Counts(nn.Linear):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            del state

    with pytest.raises(ValueError, match="_extra_state: dict"):
        fp.save(Counts(2, 2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [3, "model", nn.Linear])
def test_what_is_no_model(tmp_path, given):
    with pytest.raises(ValueError, match=r"save\(pruned=\)"):
        fp.save(given, tmp_path)


def test_weights_of_another_cut(folder, tmp_path):
    """Files that are whole, from two plans."""
    other = fp.save(Plain().double(), tmp_path / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(fp.PruningError, match="checksum"):
        fp.load(Plain, folder)
    sums = json.loads((other / "plan.json").read_text())["files"]
    rewrite(folder, lambda fields: fields["files"].update(sums))
    with pytest.raises(fp.PruningError, match=r"0\.bias is \(6,\) in the file and \(4,\) in the model"):
        fp.load(Plain, folder)


def test_no_file_holds_a_pickle(folder):
    for path in folder.iterdir():
        data = path.read_bytes()
        assert not data.startswith((b"PK", b"\x80"))
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]
