"""A fake Opik server for tests; see README.md beside this file."""

from __future__ import annotations

from tests.fakes.opik.access import Limit
from tests.fakes.opik.api import Front, Violation
from tests.fakes.opik.document import SHARED, DocumentMissing, needs_openapi
from tests.fakes.opik.faults import EVERYTHING, OTLP, SPANS, TRACES, Fault, Wire
from tests.fakes.opik.server import FakeOpik
from tests.fakes.opik.tls import ServerCertificate
from tests.fakes.opik.transport import Request

__all__ = [
    "EVERYTHING",
    "OTLP",
    "SHARED",
    "SPANS",
    "TRACES",
    "DocumentMissing",
    "FakeOpik",
    "Fault",
    "Front",
    "Limit",
    "Request",
    "ServerCertificate",
    "Violation",
    "Wire",
    "needs_openapi",
]
