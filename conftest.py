"""What holds for every test and every documented example: no network, no data of whoever runs them, the same draws."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def nothing_leaves_the_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Downloads are forbidden, and the user's cache is an empty folder; FLOWPRUNE_DATA is left as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWPRUNE_OFFLINE", "1")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def the_same_draws(request: pytest.FixtureRequest) -> None:
    """A test draws the same numbers whenever and beside whatever it runs; others under FLOWPRUNE_TEST_SEED=N."""
    seed = zlib.crc32(f"{request.node.name} {os.environ.get('FLOWPRUNE_TEST_SEED', '')}".encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
