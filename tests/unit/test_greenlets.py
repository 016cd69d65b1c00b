"""What a fork copies under gevent does not do the parent's work a second time."""

from __future__ import annotations

import os
import time

import pytest

from otel_llm.greenlets import rest_in_copy


class WaitedError(Exception):
    """Somebody rests."""


def test_only_the_copy_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the work began it goes on at once; in another process it waits, and looks again, for ever."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise WaitedError

    monkeypatch.setattr(time, "sleep", sleep)
    rest_in_copy(os.getpid())
    assert waits == []
    with pytest.raises(WaitedError):
        rest_in_copy(os.getppid())
    assert len(waits) == 3
