"""What holds for every test and every documented example: no network, and no data of whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def nothing_leaves_the_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Downloads are forbidden, and the user's cache is an empty folder; FLOWPRUNE_DATA is left as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWPRUNE_OFFLINE", "1")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
