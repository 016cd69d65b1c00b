"""Fixtures: the environments of the client libraries, one process in each for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.clients.elsewhere import Elsewhere, python_of
from tests.recordings.recordings import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, saying so, where the recordings are absent; in CI their absence is a failure."""
    if FOLDER.is_dir() or os.environ.get("CI"):
        return
    absent = pytest.mark.skip(reason=f"the recordings are not at {FOLDER}; OTEL_LLM_RECORDINGS names another place")
    for item in items:
        if "tests/clients/" in item.path.as_posix():
            item.add_marker(absent)


@pytest.fixture(scope="session")
def clients() -> Iterator[Elsewhere]:
    """The newest of all client libraries, with every instrumentation of them."""
    made = Elsewhere(python_of("OTEL_LLM_CLIENTS_PYTHON", ".venv-clients"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def older_google() -> Iterator[Elsewhere]:
    """The google-genai that OpenTelemetry's own instrumentation is for (below 3), without litellm."""
    made = Elsewhere(python_of("OTEL_LLM_GOOGLE_PYTHON", ".venv-google"))
    yield made
    made.close()
