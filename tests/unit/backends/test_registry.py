"""Backends by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from otel_llm import backends
from otel_llm.config import BACKENDS, load
from otel_llm.contracts import Backend
from otel_llm.errors import BackendError


def test_every_name_that_can_be_configured_can_be_built() -> None:
    """The settings' table and the registry know the same names, and each gives a backend of that name."""
    assert set(backends.NAMES) == set(BACKENDS)
    for name in backends.NAMES:
        built = backends.build(name, load())
        assert isinstance(built, Backend)
        assert built.name == name
        built.close()


def test_unknown_name_is_answered_with_the_nearest() -> None:
    """A typing error costs one look at the message."""
    with pytest.raises(BackendError, match="Did you mean 'opik'"):
        backends.build("opic", load())
    with pytest.raises(BackendError, match="Known are local, console"):
        backends.build("zzz", load())


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("none", {"urllib3", "grpc", "sqlite3", "google.protobuf"}),
        ("console", {"urllib3", "grpc", "sqlite3"}),
        ("file", {"urllib3", "grpc", "sqlite3"}),
        ("otlp", {"grpc", "sqlite3", "httpx", "opik"}),
        ("opik", {"grpc", "sqlite3", "httpx", "opik"}),
    ],
)
def test_backend_loads_only_what_it_needs(name: str, unwanted: set[str]) -> None:
    """Nobody pays for the libraries of another backend."""
    program = (
        "import sys\n"
        "from otel_llm import backends\n"
        "from otel_llm.config import load\n"
        f"backends.build({name!r}, load())\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert unwanted.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("package", ["urllib3", "google.protobuf"])
@pytest.mark.parametrize("name", ["otlp", "opik", "opik-otlp"])
def test_missing_package_is_named(name: str, package: str) -> None:
    """A backend whose library is not installed says which, in a fresh interpreter, though it is loaded later."""
    program = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from otel_llm import backends, errors\n"
        "from otel_llm.config import load\n"
        "try:\n"
        f"    backends.build({name!r}, load({{'opik_url': 'http://127.0.0.1:9'}}))\n"
        "except errors.BackendError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert f"{name!r} needs the package {package}" in done.stdout
