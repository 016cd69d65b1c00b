"""What our backend `file` got, read back. Needs nothing but otel_llm: programs of other environments use it too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import otel_llm

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shipped"]


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
