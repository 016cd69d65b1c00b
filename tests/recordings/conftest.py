"""Fixtures of the recorded cases, and what happens where the recordings are not there."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.recordings.provider import Provider
from tests.recordings.recordings import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.recordings.harness import Recording


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, saying so, where the recordings are absent; in CI their absence is a failure."""
    if FOLDER.is_dir() or os.environ.get("CI"):
        return
    absent = pytest.mark.skip(reason=f"the recordings are not at {FOLDER}; OTEL_LLM_RECORDINGS names another place")
    for item in items:
        if "tests/recordings/" in item.path.as_posix():
            item.add_marker(absent)


@pytest.fixture(autouse=True)
def own_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the recorder has asked for, each with the module that did; there should be none.

    What litellm fetches where a call merely mentions it (images, tokenizers, lists of headers) is not found, at once:
    tests stay on loopback.
    """
    resolve, asked = socket.getaddrinfo, []

    def only_loopback(host: Any, *args: Any, **kwargs: Any) -> Any:
        module = _module_of_ours(sys._getframe())
        if module not in {None, *_AROUND_THE_CALL}:
            asked.append(f"{module} asked for {host}")
        if host not in {"127.0.0.1", "localhost", "::1", None}:
            raise socket.gaierror(socket.EAI_NONAME, f"tests do not ask the internet for {host}")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
    return asked


_AROUND_THE_CALL = tuple(f"otel_llm.instrumentation.litellm.{name}" for name in ("around", "callbacks", "unasked"))
"""Modules whose frames stand around litellm's own work."""
_GATES = frozenset({"otel_llm.instrumentation.http_gates", "otel_llm.instrumentation.httpx_span"})
"""Their frames stand around every request, whoever makes it."""


def _module_of_ours(frame: FrameType | None) -> str | None:
    """The innermost module of otel_llm on the stack, the gates around requests apart."""
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name.startswith("otel_llm.") and name not in _GATES:
            return name
        frame = frame.f_back
    return None


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A provider on loopback that answers as recorded."""
    with Provider() as running:
        yield running


@pytest.fixture
def recording() -> Iterator[Recording]:
    """The recorder, on, with content, into memory."""
    from tests.recordings.harness import Recording

    with Recording() as on:
        yield on
