"""The golden vectors: what each OTLP request becomes in Opik, and that each documented rule has one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from otel_llm.backends.opik.json_client import JsonClient
from otel_llm.backends.opik.mapping import Rows, map_request
from otel_llm.backends.opik.memory import TraceMemory
from otel_llm.backends.opik.packing import pack
from otel_llm.backends.opik.routing import Routing
from otel_llm.otlp_json import from_otlp_json
from tests.fakes.opik import FakeOpik, needs_openapi
from tests.fakes.opik.page import is_drawn

_ROOT = Path(__file__).parents[4]
_VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted((_ROOT / "tests/vectors/opik").glob("*.json"))}
_RULE_ROW = re.compile(r"^\| `([a-z]+(?:\.[a-z-]+)?)` \|", re.MULTILINE)


def _map(vector: dict[str, Any]) -> Rows:
    config = vector["config"]
    routing = Routing(config.get("project"), config.get("service"), config.get("tenants", {}))
    memory = TraceMemory()
    for earlier in vector.get("earlier", ()):
        map_request(from_otlp_json(earlier), routing, memory)
    return map_request(from_otlp_json(vector["otlp"]), routing, memory)


@pytest.mark.parametrize("name", _VECTORS)
def test_vector(name: str) -> None:
    """The request of a vector becomes exactly its rows, as JSON that is strict."""
    vector = _VECTORS[name]
    rows = _map(vector)
    assert vector["name"] == name
    for kind, got in (("traces", rows.traces), ("spans", rows.spans)):
        bodies = [json.loads(parcel.body, parse_constant=pytest.fail) for parcel in pack(kind, got)]
        assert [row for body in bodies for row in body[kind]] == vector["expected"][kind]
    scores = {kind: [row.body for row in got] for kind, got in rows.scores.items()}
    assert scores == {kind: vector["expected"].get(kind, []) for kind in rows.scores}
    assert [entry.span_id for entry in rows.rejections] == vector["expected"].get("rejected", [])
    scored = [row.workspace for got in rows.scores.values() for row in got]
    assert scored == vector["expected"].get("score_workspaces", [None] * len(scored))
    assert [row.workspace for row in rows.spans] == vector["expected"].get("workspaces", [None] * len(rows.spans))


@pytest.mark.parametrize("name", _VECTORS)
def test_mapping_twice_gives_the_same(name: str) -> None:
    """Mapping a request again, in a process that knows nothing of the first time, gives the same rows."""
    assert vars(_map(_VECTORS[name])) == vars(_map(_VECTORS[name]))


def test_every_documented_rule_has_a_vector_and_the_reverse() -> None:
    """The rule tables of docs/opik.md and the rules that vectors name are the same set."""
    documented = _RULE_ROW.findall((_ROOT / "docs/opik.md").read_text())
    assert len(documented) == len(set(documented))
    assert set(documented) == {vector["rule"] for vector in _VECTORS.values()}


def test_there_are_enough_vectors() -> None:
    """There are at least sixty vectors, each with a sentence that says why."""
    assert len(_VECTORS) >= 60
    assert all(vector["why"].endswith(".") for vector in _VECTORS.values())


@pytest.mark.parametrize("name", _VECTORS)
def test_opiks_page_draws_every_conversation(name: str) -> None:
    """Messages and choices of a row are of the roles and shapes that Opik's page knows; else it shows JSON."""
    for row in (*_VECTORS[name]["expected"]["traces"], *_VECTORS[name]["expected"]["spans"]):
        for which, key in (("input", "messages"), ("output", "choices")):
            side = row.get(which)
            if side is not None and isinstance(side.get(key), list):
                assert is_drawn(side, which), side


@needs_openapi
def test_rows_of_all_vectors_are_what_opik_takes() -> None:
    """A server that checks requests against Opik's OpenAPI document takes all expected rows without complaint."""
    with FakeOpik() as opik:
        client = JsonClient(opik.url)
        for kind in ("traces", "spans"):
            rows = [row for vector in _VECTORS.values() for row in vector["expected"][kind]]
            for begin in range(0, len(rows), 1000):
                body = json.dumps({kind: rows[begin : begin + 1000]}).encode()
                assert client.request("POST", f"/v1/private/{kind}/batch", body, timeout=60).status == 204
            key = f"{kind.removesuffix('s')}_scores"
            scores = [row for vector in _VECTORS.values() for row in vector["expected"].get(key, ())]
            body = json.dumps({"scores": scores}).encode()
            assert client.request("PUT", f"/v1/private/{kind}/feedback-scores", body, timeout=60).status == 204
        assert not opik.violations
