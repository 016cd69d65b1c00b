"""Faults of ours are kept from the program, counted, and said once without what they quote."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from otel_llm.faults import fault_counts, guarded, reset_faults

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    reset_faults()
    yield
    reset_faults()


def boom(text: str) -> None:
    """Fail with a message that quotes its input."""
    raise ValueError(text)


def test_a_fault_is_counted_and_the_default_comes_back() -> None:
    """The caller gets the default; the count grows by place."""
    assert guarded("here", boom, "x", default=7) == 7
    assert guarded("here", boom, "x") is None
    assert fault_counts() == {"here": 2}


def test_a_place_is_said_once_and_never_quotes(caplog: pytest.LogCaptureFixture) -> None:
    """Only the first fault of a place is a warning, and a secret in the exception's message is not in it."""
    with caplog.at_level(logging.WARNING):
        guarded("here", boom, "sk-canary")
        guarded("here", boom, "sk-canary")
    assert len(caplog.records) == 1
    assert "sk-canary" not in caplog.text
    assert "ValueError" in caplog.text


def test_what_is_the_programs_own_goes_through() -> None:
    """KeyboardInterrupt and SystemExit are not ours to keep."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded("here", interrupt)
    assert fault_counts() == {}
