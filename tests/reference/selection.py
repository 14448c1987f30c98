"""Selection as one would write it: a stable sort of everything."""

import torch


def literal_select(scores: dict[str, torch.Tensor], remove: int) -> dict[str, torch.Tensor]:
    flat = torch.cat([score.flatten().double() for score in scores.values()])
    order = torch.argsort(flat, descending=True, stable=True)
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[order[: flat.numel() - remove]] = True
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}
