"""Blocks and N:M as one would write them: loops over entries."""

import torch


def literal_blocks(matrix: torch.Tensor, rows: int, cols: int) -> dict[tuple[int, int], list[float]]:
    """The entries of each block, by its place in the grid."""
    found: dict[tuple[int, int], list[float]] = {}
    for i, row in enumerate(matrix.tolist()):
        for j, value in enumerate(row):
            found.setdefault((i // rows, j // cols), []).append(value)
    return found


def literal_n_m(scores: torch.Tensor, n: int, m: int, alive: torch.Tensor | None = None) -> torch.Tensor:
    """The n best of every m along axis 1 at each place of the other axes; ties to the lower position."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    values = scores.movedim(1, -1)
    living = torch.ones_like(mask) if alive is None else alive
    for place in torch.cartesian_prod(*[torch.arange(s) for s in values.shape[:-1]]).reshape(-1, values.dim() - 1):
        where = tuple(place.tolist())
        for start in range(0, values.shape[-1], m):
            live = [p for p in range(start, start + m) if bool(living.movedim(1, -1)[(*where, p)])]
            for p in sorted(live, key=lambda p: (-float(values[(*where, p)]), p))[:n]:
                mask.movedim(1, -1)[(*where, p)] = True
    return mask
