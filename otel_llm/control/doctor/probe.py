"""One marked span through the very pipeline that programs use, and the look whether it has arrived."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from otel_llm import semconv
from otel_llm.clock import monotonic
from otel_llm.control import running
from otel_llm.control.doctor.examination import failed, ok, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.trace import Span

    from otel_llm.config import Config
    from otel_llm.contracts import Finding

__all__ = ["Probe", "find_again", "send_probe"]

_NAME: Final = "otel-llm doctor"
_PAUSE_SECONDS: Final = 0.1
_REQUEST_SECONDS: Final = 3.0
_TAIL_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Probe:
    """The span that was sent."""

    span: Span
    report: running.FlushReport
    status: running.Status

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return f"{self.span.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return f"{self.span.get_span_context().span_id:016x}"


def send_probe(backend: tuple[str, ...], config: Config, seconds: float) -> Probe:
    """Configure as a program would, end one span named `otel-llm doctor`, flush, and stop again.

    Raises `ConfigError`, `BackendError` and `InstrumentationError` as `configure` does.
    """
    port = {} if config.health_port is None else {"health_port": 0}  # the program itself may be using that port
    running.configure(backend=list(backend), **port)  # type: ignore[arg-type]  # settings are checked by `configure`
    try:
        span = trace.get_tracer("otel_llm.doctor").start_span(_NAME, attributes={semconv.DOCTOR: uuid.uuid4().hex})
        span.end()
        report = running.flush(seconds)
        return Probe(span, report, running.status())
    finally:
        running.shutdown(1.0)


def find_again(backend: str, probe: Probe, config: Config, seconds: float) -> Iterator[Finding]:
    """Whether `backend` has the span: read back from where it can be, else as far as the backend has answered."""
    name = f"probe.{backend}"
    found = next((one for one in probe.status.backends if one.name == backend), None)
    if found is None:
        yield failed(name, "The pipeline has no such backend.", "Look at the setting `backend`.")
        return
    if not found.delivered:
        cause = found.cause or "no answer came in time"
        yield failed(name, f"The marked span was not delivered: {cause}", "It waits in the spool; cure what is named.")
        return
    reader = _READERS.get(backend)
    if reader is None:
        yield _accepted(name, backend, found.waiting)
        return
    evidence = _eventually(lambda: reader(probe, config), seconds)
    if evidence is None:
        remedy = "The server took it and does not show it: look at its log and its storage, then try again."
        yield failed(name, f"{backend} accepted the span {probe.span_id}, and it cannot be read back.", remedy)
    else:
        yield ok(name, evidence)


def _accepted(name: str, backend: str, waiting: int) -> Finding:
    if waiting:
        evidence = f"{backend} takes spans, and {waiting} still wait."
        return warning(name, evidence, "Run the doctor again: the number should fall.")
    return ok(name, f"{backend} accepted the marked span; it has no way to read spans back.")


def _eventually(look: Callable[[], str | None], seconds: float) -> str | None:
    """What `look` finds, asked again until there is something: servers store in their own time."""
    end = monotonic() + seconds
    while True:
        found = look()
        if found is not None or monotonic() >= end:
            return found
        time.sleep(_PAUSE_SECONDS)


def _in_store(probe: Probe, config: Config) -> str | None:
    from otel_llm.store.db import open_reader  # noqa: PLC0415  (loads sqlite3)

    connection = open_reader(config.store_path)
    try:
        found = connection.execute(
            "SELECT service FROM spans WHERE trace_id = ? AND span_id = ?", (probe.trace_id, probe.span_id)
        ).fetchone()
    finally:
        connection.close()
    return f"The store {config.store_path} has the marked span, service {found[0]}." if found else None


def _in_file(probe: Probe, config: Config) -> str | None:
    has = probe.span_id.encode() in _tail(config.file_path)
    return f"{config.file_path} ends with the marked span." if has else None


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read()


def _in_opik(probe: Probe, config: Config) -> str | None:
    """`GET /v1/private/traces/{id}`, as Opik's own page asks."""
    from otel_llm.backends.http import HttpClient, NoAnswerError, Tls  # noqa: PLC0415  (others do without it)
    from otel_llm.backends.opik.address import resolve_address  # noqa: PLC0415
    from otel_llm.backends.opik.links import opik_trace_id_of, opik_url_of  # noqa: PLC0415

    opik = config.opik
    headers = {"Comet-Workspace": opik.workspace, "Accept": "application/json"}
    if opik.api_key:
        headers["Authorization"] = opik.api_key.strip()
    client = HttpClient(resolve_address(opik.url, opik.api_key).base, headers, Tls(check=opik.check_tls))
    try:
        path = f"/v1/private/traces/{opik_trace_id_of(probe.span)}"
        answer = client.request("GET", path, timeout=_REQUEST_SECONDS)
    except NoAnswerError:
        return None
    finally:
        client.close()
    if answer.status != 200 or _name_of(answer.body) != _NAME:
        return None
    link = opik_url_of(probe.span, opik.url, opik.api_key)
    project = opik.project or config.service_name
    return f"Opik has the marked span in workspace {opik.workspace!r}, project {project!r}: {link}"


def _name_of(body: bytes) -> Any:
    try:
        told = json.loads(body)
    except ValueError:
        return None
    return told.get("name") if isinstance(told, dict) else None


_READERS: Final[dict[str, Callable[[Probe, Config], str | None]]] = {
    "local": _in_store,
    "file": _in_file,
    "opik": _in_opik,
}
"""Backends that can be asked what they have."""
