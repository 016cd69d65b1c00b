"""One Temporal server for a test process, and a program that records what happens on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.faults import reset_faults
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.temporal.kit import Recorded
from tests.temporal.server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Temporal server listens."""
    with running_server(tmp_path_factory.mktemp("temporal")) as found:
        yield found


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """What this process records, as a backend gets it; faults that other tests made ours have are forgotten."""
    reset_faults()
    with OtlpReceiver() as receiver:
        provider = TracerProvider(id_generator=Uuid7IdGenerator(), shutdown_on_exit=False)
        otel_llm.configure(backend="otlp", otlp_endpoint=receiver.url, tracer_provider=provider, spans="all")
        try:
            yield Recorded(receiver)
        finally:
            otel_llm.shutdown()
