"""Tokens of every kind in shapes that no recording has, streamed or not, sync and async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.http_server import HttpServer
from tests.recordings.harness import Recording
from tests.recordings.shapes import CASES, answering, run, tokens_of
from tests.recordings.versions import IS_1_79

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """The recorder, on."""
    import litellm

    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    with Recording() as made:
        yield made
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.mark.parametrize("name", CASES)
def test_each_names_its_source(name: str) -> None:
    """A shape is somebody's documentation, read on a day, and its file is called after it."""
    case = CASES[name]
    assert case["source"]
    assert case["date"]
    assert case["case"] == name
    assert case["tokens"]["input"] > 0


@pytest.mark.skipif(IS_1_79, reason="litellm 1.79 does not know all of these shapes")
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("name", CASES)
def test_the_span_has_all_tokens_of_the_shape(name: str, asynchronous: bool, recording: Recording) -> None:
    """Every kind that the provider reports, cached ones inside the input, reasoning inside the output, and no other.

    What litellm hides from everybody is said to be an estimate, and fails here once it is hidden no more.
    """
    case: dict[str, Any] = CASES[name]
    with HttpServer(answering(case)) as server:
        recorded = recording.of(lambda: run(case, server.url, asynchronous=asynchronous))
    assert recorded.error is None, recorded.error
    found = tokens_of(recorded.llm_span)
    if "hidden" in case:
        assert found["estimated"] is True, f"no longer so, take it away: {case['hidden']}"
        assert found != case["tokens"]
    else:
        assert found == case["tokens"]
