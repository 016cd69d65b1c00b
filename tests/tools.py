"""Commands that tests run and that may be missing on a user's machine, and what a backend got."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import otel_llm

__all__ = ["shipped", "tool"]


def tool(name: str, package: str) -> str:
    """The path of a command; where it is missing, CI fails and everybody else skips with a line that says so."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        message = f"{name} is missing: install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def shipped(path: Path, *, timeout: float = 30.0) -> list[dict[str, Any]]:
    """The spans that our backend `file` wrote to `path`, after a flush; attributes and resource as plain dicts."""
    otel_llm.flush(timeout)
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        for resource in json.loads(line)["resourceSpans"]:
            around = _plain(resource.get("resource", {}).get("attributes", ()))
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    facts = {"attributes": _plain(span.get("attributes", ())), "resource": around}
                    found.append({**span, **facts, "scope": scope["scope"]["name"]})
    return found


def _plain(attributes: Any) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}
