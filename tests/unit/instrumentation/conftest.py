"""A provider on loopback, and the recorder writing into memory through the real span pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import litellm
import pytest
from opentelemetry import context as otel_context

from otel_llm import faults
from otel_llm.testing import FakeProvider
from tests.unit.instrumentation.calls import close_loop
from tests.unit.instrumentation.recorded import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator


_CALLBACKS = ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback",
              "_async_success_callback", "_async_failure_callback", "_async_input_callback")  # fmt: skip


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider of language models that does what the test says."""
    with FakeProvider() as serving:
        yield serving


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The recorder, on; what it recorded so far."""
    with Spans() as recorded:
        yield recorded


@pytest.fixture
def full_spans() -> Iterator[Spans]:
    """The recorder, on, with messages on the spans."""
    with Spans(capture_content=True) as recorded:
        yield recorded


@pytest.fixture(autouse=True, scope="session")
def _loop_ends() -> Iterator[None]:
    """The event loop that tests share is closed at the end."""
    yield
    close_loop()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Every test ends in the context that it began in, and leaves neither faults nor clients of a dead provider.

    Nor callbacks: every Router adds some, and litellm takes no more when there are thirty.
    """
    faults.reset_faults()
    before = otel_context.get_current()
    callbacks = {name: list(getattr(litellm, name)) for name in _CALLBACKS}
    yield
    for name, kept in callbacks.items():
        getattr(litellm, name)[:] = kept
    left = otel_context.get_current()
    faults.reset_faults()
    litellm.in_memory_llm_clients_cache.flush_cache()
    assert left is before, "the test left a context behind"


@pytest.fixture(autouse=True)
def _quiet_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Litellm prints advice for every exception unless told not to."""
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
