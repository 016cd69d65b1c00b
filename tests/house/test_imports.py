"""What importing costs, and which way imports run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "otel_llm"
GUESTS = ("litellm", "opik", "httpx", "aiohttp", "grpc", "sqlite3", "http.server", "temporalio")


def loaded_after(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_importing_the_package_loads_no_guest() -> None:
    """`import otel_llm` loads neither a guest nor anything that only some programs need."""
    loaded = loaded_after("import otel_llm")
    assert loaded.isdisjoint(GUESTS)
    assert not [name for name in loaded if name.startswith("opentelemetry.sdk")]


def test_configuring_loads_neither_litellm_nor_an_http_client() -> None:
    """A configured process that has not imported litellm pays for no guest."""
    loaded = loaded_after("import otel_llm\notel_llm.configure(backend='none')")
    assert loaded.isdisjoint({"litellm", "opik", "httpx", "aiohttp", "grpc"})


def test_every_layer_is_named_in_the_contract() -> None:
    """A new top-level module must be placed in the import contract, or it would escape it."""
    contract = (PACKAGE.parent / "pyproject.toml").read_text()
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    missing = {room for room in rooms if not room.startswith("__") and f"otel_llm.{room}" not in contract}
    assert missing == set()


@pytest.mark.parametrize("guest", ["litellm", "opik"])
def test_guests_are_never_imported(guest: str) -> None:
    """No module of ours has an import statement for a guest, not even a lazy one."""
    pattern = re.compile(rf"^\s*(import {guest}\b|from {guest}\b)", re.MULTILINE)
    offenders = [
        str(path) for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text()) and "cli/demo" not in str(path)
    ]
    assert offenders == []


def test_only_one_room_names_litellm() -> None:
    """Modules outside the litellm room (and the command-line tools that run it) do not reach for the module."""
    pattern = re.compile(r"sys\.modules\[?\.?(get\()?[\"']litellm")
    offenders = [
        str(path)
        for path in PACKAGE.rglob("*.py")
        if pattern.search(path.read_text()) and "instrumentation/litellm" not in str(path)
    ]
    assert offenders == []
