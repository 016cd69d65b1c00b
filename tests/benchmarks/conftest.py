"""The benchmark's own servers, run by this interpreter instead of one of its environments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.driver import Bench, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


class HereBench(Bench):
    """Runs every job with this interpreter; no environment is made."""

    def python(self, environment: str) -> Path:
        """The interpreter that runs the tests."""
        del environment
        return Path(sys.executable)


@pytest.fixture
def sink() -> Iterator[Server]:
    """A provider and sink."""
    with serving(Path(sys.executable)) as server:
        yield server


@pytest.fixture
def grpc_sink() -> Iterator[Server]:
    """A sink that speaks gRPC."""
    with serving(Path(sys.executable), "grpc_sink.py") as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, sink: Server, grpc_sink: Server) -> Bench:
    """The driver with one server as provider and as sink."""
    return HereBench(tmp_path, sink, sink, grpc_sink)
