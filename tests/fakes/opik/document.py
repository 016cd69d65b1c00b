"""Opik's OpenAPI document: found, converted once to JSON in a cache, and freed of what no validator understands.

The document stays outside the repository (`../shared/reference/data/opik-openapi.yaml`, or under the directory that
`OTEL_LLM_SHARED` names). Tests that start a fake carry the mark `needs_openapi`: where the document is missing they
skip with a reason, except in CI (`CI` is set), where `FakeOpik` fails instead.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

__all__ = ["SHARED", "DocumentMissing", "load_document", "needs_openapi"]

# Read at import: the suite's own fixture hides OTEL_* from the tests themselves.
SHARED = Path(os.environ.get("OTEL_LLM_SHARED") or Path(__file__).parents[4] / "shared")
_DOCUMENT = SHARED / "reference" / "data" / "opik-openapi.yaml"
_CACHE_FORMAT = "1"
"""Changes when `_clean` does, so that an old cache is not read."""

needs_openapi = pytest.mark.skipif(
    not _DOCUMENT.exists() and not os.environ.get("CI"),
    reason=f"Opik's OpenAPI document is not at {_DOCUMENT}; set OTEL_LLM_SHARED to the shared directory",
)
"""Mark of every test that starts a `FakeOpik`."""


class DocumentMissing(Exception):
    """The OpenAPI document is not where it should be."""


class _Loader(yaml.CSafeLoader):
    """The C loader, which also takes the plain `=` of the document's operator lists for text."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


@functools.lru_cache(maxsize=1)
def load_document() -> dict[str, Any]:
    """The document as plain data, quirks removed. The first load takes half a second, later ones milliseconds."""
    try:
        raw = _DOCUMENT.read_bytes()
    except OSError as error:
        raise DocumentMissing(f"no OpenAPI document at {_DOCUMENT}: set OTEL_LLM_SHARED") from error
    digest = hashlib.sha256(_CACHE_FORMAT.encode() + raw).hexdigest()[:20]
    cached = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "otel-llm-tests"
        / f"opik-openapi-{digest}.json"
    )
    try:
        return dict(json.loads(cached.read_bytes()))
    except (OSError, ValueError):
        document = _clean(yaml.load(raw, Loader=_Loader))  # a subclass of the safe loader
        _keep(cached, document)
        return dict(document)


def _keep(path: Path, document: dict[str, Any]) -> None:
    """Write the cache in one step, so that parallel test runs never read half of it."""
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(document, default=str))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)


def _clean(node: Any) -> Any:
    """Make JSON Schema 2020-12 of what the document's generator wrote.

    * boolean `exclusiveMinimum` and `exclusiveMaximum` belong to OpenAPI 3.0; all of them are false, so they go
    * `type: object` beside an `anyOf` that allows text contradicts it (and the real server takes text); it goes
    * closed objects: a field that the document does not name is worth telling a test about
    """
    if isinstance(node, list):
        return [_clean(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _clean(value) for key, value in node.items()}
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(cleaned.get(bound), bool):
            del cleaned[bound]
    if "anyOf" in cleaned and cleaned.get("type") == "object":
        del cleaned["type"]
    composed = cleaned.keys() & {"anyOf", "allOf", "oneOf", "discriminator"}
    if isinstance(cleaned.get("properties"), dict) and cleaned.get("type") == "object" and not composed:
        cleaned.setdefault("additionalProperties", False)
    return cleaned
