"""Rows fabricated once for all tests of the report."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.report import fabricate

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="session")
def rows():
    return fabricate.rows()


@pytest.fixture(scope="session")
def evidence(rows):
    return fabricate.evidence(rows)


@pytest.fixture(scope="module")
def generator():
    """The module that writes the pages from the rows that are stored."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
