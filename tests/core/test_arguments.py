"""Calls with arguments from outside."""

from __future__ import annotations

import pytest

from flowprune.core.arguments import call


def one(a, *, b=2):
    return a, b


def many(a, **rest):
    return a, rest


def test_names_are_checked_against_the_function():
    assert call("one()", one, {"a": 1}) == (1, 2)
    with pytest.raises(ValueError, match=r"one\(\) must be given its own arguments \(a, b\); got 'with c'"):
        call("one()", one, {"a": 1, "c": 3})
    with pytest.raises(ValueError, match="without a"):
        call("one()", one, {})


def test_a_function_of_any_names_takes_them():
    assert call("many()", many, {"a": 1, "c": 3}) == (1, {"c": 3})
    with pytest.raises(ValueError, match="without a"):
        call("many()", many, {"c": 3})
