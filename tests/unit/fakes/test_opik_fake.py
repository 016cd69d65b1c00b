"""The fake Opik answers as the real one did, refuses what it refused, and fails in every way it is asked to."""

from __future__ import annotations

import gzip
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.opik import SHARED, FakeOpik, Front, ids, needs_openapi
from tests.fakes.opik.client import call, post_otlp, post_spans, span_item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

pytestmark = needs_openapi

OBSERVED = SHARED / "reference" / "data" / "opik-observed"
RECORDINGS = sorted(OBSERVED.glob("*.json"))


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A fresh installation without authentication."""
    with FakeOpik() as server:
        yield server


# --- replaying what the real server did ------------------------------------------------------------------


def recorded_body(recording: Path, step: dict[str, Any]) -> Any:
    """The JSON body of a step; the recording abbreviates the batch of 1001 spans."""
    if step.get("body") != "1001 spans":
        return step["body"]
    good = json.loads(recording.read_text())["steps"][1]["body"]["spans"][0]
    return {"spans": [good] * 1001}


def send_step(opik: FakeOpik, recording: Path, step: dict[str, Any]) -> requests.Response:
    """Send one recorded request to the fake."""
    if "spans" in step:
        return post_otlp(opik, step["spans"], step["project"])
    # The recording left the header out; its note says "wrong workspace".
    workspace = {"Comet-Workspace": "nope"} if step["answer"] == {"code": 404, "message": "Workspace not found"} else {}
    body = recorded_body(recording, step)
    return call(opik, step["method"], step["path"], body, headers=workspace)


def normalised(answer: Any) -> Any:
    """An answer without what two servers cannot have in common.

    * server-made ids of projects and the server's clock in `created_at` and `last_updated_at`
    * the order of `tags`, which the real server keeps as a set
    * Jackson's column numbers, which depend on how the client spelt its JSON
    """
    if isinstance(answer, str):
        answer = json.loads(answer) if answer.startswith("{") else answer
    if not isinstance(answer, dict):
        return answer
    answer = json.loads(re.sub(r"line: 1, column: \d+", "line: 1, column: N", json.dumps(answer)))
    for row in answer.get("content", []):
        for column in ("project_id", "created_at", "last_updated_at"):
            assert row.pop(column)
        row.get("tags", []).sort()
    return answer


def answer_of(response: requests.Response) -> Any:
    """The body of a response: parsed JSON, or text."""
    return response.json() if response.headers.get("Content-Type") == "application/json" else response.text


def test_recordings_are_there() -> None:
    """The replay below is not empty by accident."""
    assert len(RECORDINGS) == 8


@pytest.mark.parametrize("front", list(Front), ids=lambda front: front.value)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_replay(recording: Path, front: Front) -> None:
    """Every recorded request gets the recorded status and the recorded rows, behind nginx and without it."""
    with FakeOpik(front=front) as opik:
        for number, step in enumerate(json.loads(recording.read_text())["steps"]):
            response = send_step(opik, recording, step)
            told = f"step {number}: {step.get('case', '')} {step['method']} {step['path']}"
            assert response.status_code == step["status"], f"{told}: {response.text}"
            assert normalised(answer_of(response)) == normalised(step["answer"]), told
            recorded_type = step.get("headers", {}).get("Content-Type")
            if recorded_type is not None:
                assert response.headers["Content-Type"] == recorded_type, told


# --- requests against the document -----------------------------------------------------------------------


def test_correct_requests_leave_no_violations(opik: FakeOpik) -> None:
    """A request that keeps to the document is not reported, nulls and free JSON included."""
    free = {"deep": {"null": None, "unknown": [1, None]}}
    assert post_spans(opik, span_item(type="llm", input=free, metadata=free, model=None, usage=None)).status_code == 204
    assert opik.violations == []


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        ({"usage": {"prompt_tokens": 1.5}}, "spans[0].usage.prompt_tokens"),
        ({"tokens": 3}, "spans[0].tokens"),
        ({"error_info": {"exception_type": "X"}}, "spans[0].error_info.traceback"),
        ({"name": 7}, "spans[0].name"),
        ({"tags": ["a", "a"]}, "spans[0].tags"),
    ],
)
def test_tolerated_departures_are_reported(opik: FakeOpik, columns: dict[str, Any], where: str) -> None:
    """What the real server lets pass although the document forbids it is stored, and told to the test."""
    assert post_spans(opik, span_item(**columns)).status_code == 204
    assert [(each.departure.where, each.was_refused) for each in opik.violations] == [(where, False)]
    assert len(opik.spans("p")) == 1


@pytest.mark.parametrize(
    ("columns", "status", "message"),
    [
        ({"start_time": None}, 422, "spans[1].startTime must not be null"),
        ({"trace_id": None}, 422, "spans[1].traceId must not be null"),
        ({"environment": "e" * 151}, 422, "spans[1].environment size must be between 0 and 150"),
        ({"start_time": "yesterday"}, 400, "java.time.Instant"),
        ({"trace_id": "abc"}, 400, "java.util.UUID"),
        ({"tags": "a,b"}, 400, "from String"),
        ({"id": "6fb8c953-7163-4d60-a291-517fba8da7f1"}, 400, "Span id must be a version 7 UUID"),
        ({"start_time": "2026-11-22T12:00:60Z"}, 400, "java.time.Instant"),
        ({"usage": {"a": float("nan")}}, 400, "java.lang.Integer"),
        ({"usage": {"a": "many"}}, 400, "java.lang.Integer"),
        ({"source": "banana"}, 400, "banana was not one of [sdk,"),
    ],
)
def test_refused_batches_store_nothing(opik: FakeOpik, columns: dict[str, Any], status: int, message: str) -> None:
    """One item that is not allowed refuses the batch in the server's words, and its good neighbour is not stored."""
    body = json.dumps({"spans": [span_item(), span_item(**columns)]})
    headers = {"Content-Type": "application/json"}
    response = call(opik, "POST", "/v1/private/spans/batch", data=body, headers=headers)
    assert response.status_code == status
    assert message in response.text
    assert opik.spans() == []


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/v1/private/no-such-route", {}, 404),
        ("PUT", "/v1/private/spans/batch", {}, 405),
        ("GET", "/v1/private/datasets", {}, 501),
        ("POST", "/v1/private/spans/batch", {"data": "{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/v1/private/spans/batch", {"data": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ("GET", "/v1/private/spans", {}, 400),
        ("GET", "/v1/private/spans?project_name=unknown", {}, 404),
        ("GET", "/v1/private/spans?project_name=p&size=0", {}, 422),
        ("GET", "/v1/private/spans/no-uuid", {}, 400),
        ("GET", "/is-alive/ping", {"headers": {"X": "y" * 20_000}}, 431),
    ],
)
def test_requests_that_lead_nowhere(opik: FakeOpik, method: str, path: str, sent: dict[str, Any], status: int) -> None:
    """Unknown routes, methods, types and parameters have the statuses of the real server."""
    assert call(opik, method, path, **sent).status_code == status


def test_bodies_may_be_compressed_or_chunked(opik: FakeOpik) -> None:
    """A gzipped body and one of unknown length are read like any other."""
    packed = gzip.compress(json.dumps({"spans": [span_item()]}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert call(opik, "POST", "/v1/private/spans/batch", data=packed, headers=headers).status_code == 204
    chunks = iter([packed[:50], packed[50:]])
    assert call(opik, "POST", "/v1/private/spans/batch", data=chunks, headers=headers).status_code == 204
    assert (opik.span_writes.inserted, opik.span_writes.repeated) == (1, 1)
    assert call(opik, "POST", "/v1/private/spans/batch", data=b"no gzip", headers=headers).status_code == 400


# --- rows ------------------------------------------------------------------------------------------------


def test_the_newest_row_replaces_the_whole_row(opik: FakeOpik) -> None:
    """A later version drops columns that it does not name, and an earlier one that comes late changes nothing."""
    item = span_item(last_updated_at="2026-11-22T12:00:02Z", model="m")
    post_spans(opik, item)
    newer = {key: value for key, value in item.items() if key != "model"} | {"last_updated_at": "2026-11-22T12:00:03Z"}
    post_spans(opik, newer)
    post_spans(opik, item | {"name": "late"})
    [row] = opik.spans("p")
    assert (row["name"], row.get("model")) == ("s", None)
    assert (opik.span_writes.inserted, opik.span_writes.replaced, opik.span_writes.outdated) == (1, 1, 1)
    assert opik.duplicates() == []


@pytest.mark.parametrize("column", ["project_name", "trace_id", "parent_span_id"])
def test_another_place_makes_another_row(opik: FakeOpik, column: str) -> None:
    """The same span id under another project, trace or parent is a duplicate that nobody refuses."""
    item = span_item()
    post_spans(opik, item)
    post_spans(opik, item | {column: ids.new_id()})
    assert len(opik.spans()) == 2
    assert opik.duplicates() == [item["id"]]


def test_a_patch_that_overtakes_the_batch_loses_it(opik: FakeOpik) -> None:
    """A PATCH makes a partial row whose newer time beats the full row that follows."""
    item = span_item(last_updated_at="2026-11-22T12:00:00Z")
    patch = {"project_name": "p", "trace_id": item["trace_id"], "end_time": "2026-11-22T12:00:01Z"}
    assert call(opik, "PATCH", f"/v1/private/spans/{item['id']}", patch).status_code == 204
    assert post_spans(opik, item).status_code == 204
    [row] = opik.spans("p")
    assert (row["start_time"], row.get("name")) == ("1970-01-01T00:00:00Z", None)


def test_a_patch_changes_only_what_it_names(opik: FakeOpik) -> None:
    """On a full row a PATCH edits columns and tags, and has to name the row's own parent."""
    item = span_item(tags=["a", "b"], input={"x": 1})
    post_spans(opik, item)
    patch = {"project_name": "p", "trace_id": item["trace_id"], "name": "new", "tags_to_add": ["c"]}
    path = f"/v1/private/spans/{item['id']}"
    assert call(opik, "PATCH", path, patch | {"tags_to_remove": ["a"]}).status_code == 204
    [row] = opik.spans("p")
    assert (row["name"], row["tags"], row["input"]) == ("new", ["b", "c"], {"x": 1})
    refused = call(opik, "PATCH", path, patch | {"parent_span_id": ids.new_id()})
    assert (refused.status_code, refused.json()) == (
        409,
        {"errors": ["parent_span_id does not match the existing span"]},
    )


def test_single_posts(opik: FakeOpik) -> None:
    """A second POST of a trace is a conflict, of a span is silently ignored; each answers with the row's address."""
    trace = {"id": ids.new_id(), "project_name": "p", "name": "t", "start_time": "2026-11-22T12:00:00Z"}
    made = call(opik, "POST", "/v1/private/traces", trace)
    assert (made.status_code, made.headers["Location"].endswith(trace["id"])) == (201, True)
    assert call(opik, "POST", "/v1/private/traces", trace).status_code == 409
    item = span_item()
    assert call(opik, "POST", "/v1/private/spans", item).status_code == 201
    assert call(opik, "POST", "/v1/private/spans", item | {"name": "other"}).status_code == 201
    assert [row["name"] for row in opik.spans("p")] == ["s"]


def test_search_filters_and_pages(opik: FakeOpik) -> None:
    """Search streams the rows that pass its filters, newest id first, and goes on after the last one seen."""
    post_spans(
        opik, *(span_item(usage={"n": number}, tags=["even" if number % 2 == 0 else "odd"]) for number in range(6))
    )
    wanted = {"project_name": "p", "filters": [{"field": "tags", "operator": "contains", "value": "even"}], "limit": 2}
    seen: list[int] = []
    while True:
        lines = call(opik, "POST", "/v1/private/spans/search", wanted).text.splitlines()
        if not lines:
            break
        rows = [json.loads(line) for line in lines]
        seen += [row["usage"]["n"] for row in rows]
        wanted["last_retrieved_id"] = rows[-1]["id"]
    assert sorted(seen) == [0, 2, 4]
    page = call(opik, "GET", "/v1/private/spans?project_name=p&page=2&size=4").json()
    assert (page["page"], page["size"], page["total"]) == (2, 2, 6)


def test_an_installation_may_refuse_old_ids() -> None:
    """With the window on, an id from two days ago refuses the batch; a fresh one passes."""
    with FakeOpik(id_window_hours=24) as opik:
        old = ids.from_otel(b"x", time.time_ns() // 1_000_000 - 48 * 3_600_000)
        refused = post_spans(opik, span_item(id=old))
        assert (refused.status_code, "reason 'too_old'" in refused.json()["details"]) == (400, True)
        assert post_spans(opik, span_item()).status_code == 204
