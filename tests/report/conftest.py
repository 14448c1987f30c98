"""Rows fabricated once for all tests of the report."""

from __future__ import annotations

import pytest

from tests.report import fabricate


@pytest.fixture(scope="session")
def rows():
    return fabricate.rows()


@pytest.fixture(scope="session")
def evidence(rows):
    return fabricate.evidence(rows)
