"""One operation between two layers: its channels can be cut and the cut is the mask, or it says why not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.structure import remove, trace
from tests.structure.comparing import assert_same, drawn, zeroed


class Between(nn.Module):
    """c(f(a(x), b(x))) of convolutions."""

    def __init__(self, f):
        super().__init__()
        self.a, self.b, self.c, self.f = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1), nn.LazyConv2d(4, 1), f

    def forward(self, x):
        return self.c(self.f(self.a(x), self.b(x)))


GRID = functional.affine_grid(torch.eye(2, 3, dtype=torch.float64)[None].expand(2, -1, -1), [2, 3, 5, 5], False)

ALONE = {
    "mT": lambda a: a.mT,
    "adjoint": lambda a: a.adjoint(),
    "swapdims": lambda a: a.swapdims(1, 2).swapdims(1, 2),
    "swapaxes": lambda a: a.swapaxes(1, -1).swapaxes(-1, 1),
    "movedim": lambda a: a.movedim(1, -1).movedim(-1, 1),
    "movedim of several": lambda a: a.movedim((1, 2), (2, 3)).movedim((2, 3), (1, 2)),
    "moveaxis": lambda a: torch.moveaxis(a, 1, 0).moveaxis(0, 1),
    "absolute, negative": lambda a: torch.negative(torch.absolute(a)),
    "clip": lambda a: a.clip(-1, 1),
    "sgn, frac, cumprod": lambda a: a.sgn() + a.frac() + a.cumprod(-1),
    "cumsum": lambda a: a.cumsum(-1),
    "triangles": lambda a: a.tril() + a.triu(1),
    "turned": lambda a: a.rot90(1, (2, 3)),
    "sort, topk, cummax": lambda a: a.sort(-1)[0][..., :3] + a.topk(3, -1)[0] + a.cummax(-1)[0][..., 1:4],
    "windows": lambda a: a.unfold(2, 2, 2).amax(-1),
    "diagonal": lambda a: a.diagonal(dim1=2, dim2=3).unsqueeze(-1),
    "unfold": lambda a: functional.unfold(a, 3).unsqueeze(-1),
    "fold": lambda a: functional.fold(functional.unfold(a, 3, padding=1).relu(), (5, 5), 3, padding=1),
    "tile": lambda a: a.tile(2, 1, 1),
    "vector norm over space": lambda a: a * a.norm(dim=(2, 3), keepdim=True),
    "vector norm over channels": lambda a: a * torch.linalg.vector_norm(a, 3, dim=1, keepdim=True),
    "normalize": lambda a: functional.normalize(a, dim=1),
    "logsumexp behind a gate": lambda a: a * a.logsumexp((2, 3), keepdim=True),
    "adaptive max pool": lambda a: functional.adaptive_max_pool2d(a, 3),
    "max pool and back": lambda a: functional.max_unpool2d(
        *functional.max_pool2d(a[..., :4, :4], 2, 2, return_indices=True), 2
    ),
    "grid sample": lambda a: functional.grid_sample(a, GRID, align_corners=False),
    "numbers like it behind a gate": lambda a: a * torch.full_like(a, 2.0).exp2().sinc(),
    "new zeros beside it": lambda a: torch.cat([a, a.new_zeros(2, 3, 5, 5)], 1),
    "type": lambda a: a.type(torch.float64).cpu(),
}
PAIRED = {
    "multiply": torch.multiply,
    "subtract": torch.subtract,
    "divide": lambda a, b: torch.divide(a, b.exp()) + torch.true_divide(b, a.exp()),
    "fmax, fmin, hypot": lambda a, b: torch.fmax(a, b) - torch.fmin(a, b) + torch.hypot(a, b),
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "addcmul of a gate": lambda a, b: torch.addcmul(a, b.sigmoid(), b, value=0.5),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "lerp by a tensor": lambda a, b: torch.lerp(a, b, b.sigmoid()),
    "copy": lambda a, b: a.clone().copy_(b) * a,
    "baddbmm": lambda a, b: torch.baddbmm(a[:, :, :3, :3].flatten(2).mT @ b[:, :, :3, :3].flatten(2),
                                          a[:, :, :3, :3].flatten(2).mT, b[:, :, :3, :3].flatten(2)).unsqueeze(1),
    "cosine similarity": lambda a, b: functional.cosine_similarity(a, b, 1).unsqueeze(1),
    "unsafe chunk": lambda a, b: torch.cat(torch.cat([a, b], 1).unsafe_chunk(2, 1)[::-1], 1),
}  # fmt: skip
JOINED = {
    "hstack": lambda a, b: torch.hstack([a, b]),
    "column_stack": lambda a, b: torch.column_stack([a, b]),
    "vstack": lambda a, b: torch.vstack([a.transpose(0, 1), b.transpose(0, 1)]).transpose(0, 1),
    "dstack": lambda a, b: torch.dstack([a.transpose(1, 2), b.transpose(1, 2)]).transpose(1, 2),
}
REFUSED = {
    "cumsum over channels": (lambda a: a.cumsum(1), "adds them up one after the other"),
    "sort over channels": (lambda a: a.sort(1)[0], "orders channels"),
    "windows of channels": (lambda a: a.unfold(1, 2, 2).flatten(3), "windows of channels"),
    "a triangle of channels": (lambda a: a.permute(0, 2, 3, 1).tril().permute(0, 3, 1, 2), "triangle of channels"),
    "the diagonal of channels": (lambda a: a.diagonal(dim1=1, dim2=2).unsqueeze(1), "pairs channels with places"),
    "logsumexp over channels": (lambda a: a * a.logsumexp(1, keepdim=True), "counts in a sum over channels"),
    "sinc": (torch.sinc, "not 0"),
    "numbers like it": (lambda a: a + torch.full_like(a, 2.0), "fills in numbers"),
    "places of the maxima": (lambda a: a.topk(5, -1)[1].double(), "a place is a number"),
    "places of a pool": (
        lambda a: functional.max_pool2d(a, 2, return_indices=True)[1].double(),
        "a place is a number",
    ),
    "norm of order zero": (lambda a: a * torch.linalg.vector_norm(a, 0, dim=(2, 3), keepdim=True), "not a positive"),
    "lerp from numbers by a zero": (lambda a: torch.lerp(a.exp(), a.cos(), a), "f(0) is not 0"),
    "lerp of ends that are spread": (
        lambda a: torch.lerp(a.sum(1, keepdim=True), a.sum(1, keepdim=True).exp(), a),
        "spread over all channels",
    ),
    "new zeros as wide": (lambda a: a + a.new_zeros(a.shape), "size cannot shrink"),
}


def built(f, seed=0):
    torch.manual_seed(seed)
    model, x = Between(f).double(), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    model(x)
    return model, x


def assert_cut_is_masked(model, x, expected):
    layout = trace(model, x).groups
    assert {name: group.size for name, group in layout.items() if name != "c.weight"} == expected
    for density in (0.25, 0.5, 0.75):
        masks = drawn(layout, seed=int(100 * density), density=density)
        assert_same(zeroed(model, layout, masks), remove(model, masks, example_inputs=x, verify=False), x)


@pytest.mark.parametrize("f", ALONE.values(), ids=ALONE)
def test_an_operation_on_one(f):
    assert_cut_is_masked(*built(lambda a, b: f(a)), {"a.weight": 8, "b.weight": 8})


@pytest.mark.parametrize("f", PAIRED.values(), ids=PAIRED)
def test_an_operation_on_two(f):
    assert_cut_is_masked(*built(f), {"a.weight": 8})


@pytest.mark.parametrize("f", JOINED.values(), ids=JOINED)
def test_an_operation_that_joins(f):
    assert_cut_is_masked(*built(f), {"a.weight": 8, "b.weight": 8})


@pytest.mark.parametrize(("f", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_explained(f, said):
    found = trace(*built(lambda a, b: f(a)))
    assert set(found.groups) == {"b.weight"}
    assert any(said in refusal.reason for refusal in found.refusals), found.refusals
