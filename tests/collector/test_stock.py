"""The stock profile: what it leaves in Opik differs from a direct run in exactly what the guide says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.contracts import Batch, Delivered
from otel_llm.otlp_json import from_otlp_json
from tests.collector.running import ROOT, Sidecar, wait_for
from tests.fakes.opik import FakeOpik, needs_openapi

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [needs_openapi, pytest.mark.timeout(1800)]

_GUIDE = ROOT / "docs/collector-stock.md"
_RUN = ROOT / "tests/collector/data/run.json"
"""A run as `otel_llm` records one: the program's own span, a call with much to tell, one that failed, a tool."""

_OF_THE_SERVER = {"created_at", "created_by", "last_updated_at", "last_updated_by", "project_id"}
_LONGEST = 40


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a row by their paths; a list is a leaf."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in _flat(inner, f"{path} / {name}" if path else name).items()
    }


def _rows(opik: FakeOpik) -> dict[str, dict[str, Any]]:
    """All rows by kind and name: ids are one of the differences."""
    rows = [("trace", row) for row in opik.traces("shop")] + [("span", row) for row in opik.spans("shop")]
    return {
        f"{kind} `{row['name']}`": _flat({key: row[key] for key in row.keys() - _OF_THE_SERVER}) for kind, row in rows
    }


def _shown(leaves: dict[str, Any], path: str) -> str:
    if path not in leaves:
        return "absent"
    if path in {"id", "trace_id", "parent_span_id"}:
        return "another id"
    text = json.dumps(leaves[path], ensure_ascii=False, sort_keys=True)
    return f"`{text}`" if len(text) <= _LONGEST else f"`{text[: _LONGEST - 3]}...`"


def _differences(direct: FakeOpik, stock: FakeOpik) -> list[str]:
    """One line of a table for each field that differs, with the values of the first row in which it does."""
    one, other = _rows(direct), _rows(stock)
    assert one.keys() == other.keys(), "a row is missing on one side"
    found: dict[tuple[str, bool, bool], list[str]] = {}
    for name in sorted(one):
        for path in one[name].keys() | other[name].keys():
            here, there = path in one[name], path in other[name]
            if here != there or one[name].get(path) != other[name].get(path):
                found.setdefault((path, here, there), []).append(name)
    lines = []
    for (path, _, _), names in sorted(found.items()):
        rows = "all" if len(names) == len(one) else ", ".join(names)
        lines.append(f"| {path} | {rows} | {_shown(one[names[0]], path)} | {_shown(other[names[0]], path)} |")
    return lines


def _documented() -> list[str]:
    """The table in the guide."""
    _, _, rest = _GUIDE.read_text().partition("| field | rows | direct | through `stock.yaml` |\n|---|---|---|---|\n")
    return rest.partition("\n\n")[0].splitlines()


def test_stock_differs_as_documented(collector: Path, tmp_path: Path) -> None:
    """The same run, direct and through the stock profile, differs in Opik in exactly the fields that the guide has."""
    request = from_otlp_json(json.loads(_RUN.read_text()))
    with FakeOpik() as direct, FakeOpik() as stock:
        backend = OpikBackend(OpikOptions(url=direct.url))
        spans = len(request.resource_spans[0].scope_spans[0].spans)
        assert isinstance(backend.send(Batch(request.SerializeToString(), spans), timeout=30), Delivered)
        backend.close()
        sidecar = Sidecar(collector, tmp_path, stock.url, config=ROOT / "collector/profiles/stock.yaml")
        sidecar.start()
        try:
            assert sidecar.post(request.SerializeToString(), **{"x-opik-project": "shop"}) == 200
            assert wait_for(lambda: len(stock.spans()) == spans), sidecar.log.read_text()
        finally:
            sidecar.kill()
        found = _differences(direct, stock)
    assert found == _documented(), "the differences are:\n" + "\n".join(found)
