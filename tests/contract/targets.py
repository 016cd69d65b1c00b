"""Each backend with a real place to send to, as the contract suite sees it.

A new backend joins with one function here: a context manager that yields a `Target`.
"""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_llm.backends.console import ConsoleBackend
from otel_llm.backends.file import FileBackend
from otel_llm.backends.local import LocalBackend
from otel_llm.backends.none import NoneBackend
from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.backends.otlp import OtlpBackend, OtlpOptions
from otel_llm.backends.otlp_grpc import OtlpGrpcBackend
from tests.fakes.http_server import Reply
from tests.fakes.opik import EVERYTHING, FakeOpik, Fault, Wire
from tests.fakes.otlp_receiver import GrpcReceiver, OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otel_llm.contracts import Backend

__all__ = ["TARGETS", "Target"]


@dataclass
class Target:
    """A backend and what can be done to the place it sends to."""

    backend: Backend
    names: Callable[[], set[str]] | None = None
    """Names of the spans that have arrived; None where nothing is kept."""
    break_down: Callable[[], None] | None = None
    """Make the place fail until the end of the test; None where it cannot."""
    hang: Callable[[], object] | None = None
    """Make the place take requests and never answer; None where there is no server."""
    judges: bool = True
    """Whether ill-formed payloads are noticed."""


@contextmanager
def _none(_directory: Path) -> Iterator[Target]:
    yield Target(NoneBackend(), judges=False)


@contextmanager
def _console(_directory: Path) -> Iterator[Target]:
    stream = io.StringIO()

    def names() -> set[str]:
        documents = [json.loads(line) for line in stream.getvalue().splitlines()]
        return {name for document in documents for name in _names_in_json(document)}

    yield Target(ConsoleBackend(stream, style="json"), names, stream.close)


@contextmanager
def _file(directory: Path) -> Iterator[Target]:
    path = directory / "spans.jsonl"

    def names() -> set[str]:
        return {name for line in path.read_text().splitlines() for name in _names_in_json(json.loads(line))}

    def break_down() -> None:
        path.unlink(missing_ok=True)
        path.mkdir()

    yield Target(FileBackend(path), names, break_down)


@contextmanager
def _local(directory: Path) -> Iterator[Target]:
    path = directory / "store" / "store.db"

    def names() -> set[str]:
        connection = sqlite3.connect(path)
        try:
            return {name for (name,) in connection.execute("SELECT name FROM spans")}
        finally:
            connection.close()

    def break_down() -> None:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(directory / "elsewhere")

    yield Target(LocalBackend(path), names, break_down)


@contextmanager
def _otlp_http(_directory: Path) -> Iterator[Target]:
    with OtlpReceiver() as receiver:
        yield Target(
            OtlpBackend(OtlpOptions(receiver.url)),
            lambda: {span.name for span in receiver.spans},
            receiver.stop,
            lambda: receiver.always(Reply(hang=True)),
        )


@contextmanager
def _otlp_grpc(_directory: Path) -> Iterator[Target]:
    with GrpcReceiver() as receiver:

        def hang() -> None:
            receiver.hang = True

        yield Target(
            OtlpGrpcBackend(OtlpOptions(receiver.url)),
            lambda: {span.name for span in receiver.spans},
            receiver.stop,
            hang,
        )


@contextmanager
def _opik(_directory: Path) -> Iterator[Target]:
    with FakeOpik() as opik:
        yield Target(
            OpikBackend(OpikOptions(url=opik.url, project="contract")),
            lambda: {str(span["name"]) for span in opik.spans()},
            opik.stop,
            lambda: opik.faults.add(EVERYTHING, Fault("hang", wire=Wire.HANG), times=None),
        )


def _names_in_json(document: dict[str, list[dict[str, list[dict[str, list[dict[str, str]]]]]]]) -> Iterator[str]:
    for group in document["resourceSpans"]:
        for scoped in group["scopeSpans"]:
            for span in scoped["spans"]:
                yield span["name"]


TARGETS = {
    "none": _none,
    "console": _console,
    "file": _file,
    "local": _local,
    "otlp over http": _otlp_http,
    "otlp over grpc": _otlp_grpc,
    "opik": _opik,
}
