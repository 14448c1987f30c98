"""What is finite, and what is not."""

import pytest
import torch

from flowprune.core.tensors import require_finite


def test_finite_numbers_whose_sum_overflows_are_finite() -> None:
    require_finite("here", {"w": torch.full((4,), 3e38), "v": torch.full((4,), 60000.0, dtype=torch.float16)})
    require_finite("here", {"empty": torch.zeros(0), "ints": torch.ones(3, dtype=torch.int64)})


@pytest.mark.parametrize("bad", [[float("nan")], [float("inf"), -float("inf")], [-float("inf"), 1.0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_not_finite_is_counted(bad: list[float], dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, *bad], dtype=dtype)
    count = int((~torch.isfinite(values)).sum())
    with pytest.raises(ValueError, match=f"here must be finite everywhere; got \"{count} of .* 'w' NaN or infinite"):
        require_finite("here", {"v": torch.ones(2), "w": values})
