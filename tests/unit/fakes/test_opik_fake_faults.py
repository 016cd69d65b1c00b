"""The fake Opik's doors and its misbehaviour: keys, limits, fronts, TLS, OTLP's traps, outages and planned faults."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.protobuf.json_format import MessageToDict

from tests.fakes.opik import (
    EVERYTHING,
    OTLP,
    SPANS,
    FakeOpik,
    Fault,
    Front,
    Limit,
    ServerCertificate,
    faults,
    ids,
    needs_openapi,
)
from tests.fakes.opik.client import call, fetch, otlp_request, post_otlp, post_spans, span_item
from tests.fakes.opik.official import needs_official_client, official_read, official_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_openapi


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A fresh installation without authentication."""
    with FakeOpik() as server:
        yield server


# --- doors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({}, 403, "Workspace name should be provided"),
        ({"Comet-Workspace": "acme"}, 401, "API key should be provided"),
        ({"Comet-Workspace": "acme", "Authorization": "wrong"}, 401, "User not found"),
        ({"Comet-Workspace": "acme", "Authorization": "Bearer key"}, 401, "User not found"),
        ({"Comet-Workspace": "other", "Authorization": "key"}, 403, "User not allowed to access workspace"),
    ],
)
def test_keys_and_workspaces_are_checked(headers: dict[str, str], status: int, message: str) -> None:
    """With authentication every wrong key and workspace has its own answer, and nothing is stored."""
    with FakeOpik(api_keys={"key": ["acme"]}) as opik:
        refused = post_spans(opik, span_item(), headers=headers)
        assert (refused.status_code, refused.json()) == (status, {"code": status, "message": message})
        assert call(opik, "GET", "/is-alive/ping").status_code == 200
        assert opik.spans(workspace="acme") == []


def test_a_key_opens_its_own_workspace() -> None:
    """A right key stores in its workspace alone; the name `default` means the user's first one."""
    with FakeOpik(api_keys={"key": ["acme", "beta"]}) as opik:
        for workspace in ("acme", "beta", "default"):
            headers = {"Authorization": "key", "Comet-Workspace": workspace}
            assert post_spans(opik, span_item(), headers=headers).status_code == 204
        assert (len(opik.spans(workspace="acme")), len(opik.spans(workspace="beta"))) == (2, 1)
        named = call(opik, "GET", "/v1/private/auth/workspace", headers=headers).json()
        assert named == {"workspace_name": "acme"}


def test_public_routes_are_no_check_of_a_key() -> None:
    """A wrong key may list projects and sees none, although there are some."""
    with FakeOpik(api_keys={"key": ["acme"]}) as opik:
        post_spans(opik, span_item(), headers={"Authorization": "key", "Comet-Workspace": "acme"})
        headers = {"Authorization": "wrong", "Comet-Workspace": "acme"}
        listed = call(opik, "GET", "/v1/private/projects", headers=headers)
        assert (listed.status_code, listed.json()["content"]) == (200, [])
        assert call(opik, "POST", "/v1/private/projects/retrieve", {"name": "p"}, headers=headers).status_code == 404
        assert call(opik, "POST", "/v1/private/auth", {}, headers=headers).status_code == 401


def test_nginx_answers_html_outside_the_api(opik: FakeOpik) -> None:
    """Behind nginx a path without `/api` gets the UI's page with 200, and a POST there 405."""
    page = fetch("GET", f"{opik.root_url}/is-alive/ping")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html")
    assert fetch("POST", f"{opik.root_url}/v1/private/spans/batch", json={}).status_code == 405
    with FakeOpik(front=Front.BACKEND) as backend:
        assert fetch("GET", f"{backend.root_url}/is-alive/ping").json()["healthy"] is True
        assert fetch("GET", f"{backend.root_url}/api/is-alive/ping").status_code == 404


def test_rate_limits_count_items() -> None:
    """A batch that is larger than what is left is refused whole, with the headers that say how long."""
    with FakeOpik(user_limit=Limit(5, seconds=60), workspace_limit=Limit(100)) as opik:
        first = post_spans(opik, *(span_item() for _ in range(3)))
        assert (first.status_code, first.headers["Opik-User-Remaining-Limit"]) == (204, "2")
        refused = post_spans(opik, *(span_item() for _ in range(3)))
        assert refused.status_code == 429
        assert refused.json()["message"].startswith("Too Many Requests: ")
        assert 1 <= int(refused.headers["RateLimit-Reset"]) <= 60
        assert "Retry-After" not in refused.headers
        assert refused.headers["Opik-Workspace-Remaining-Limit"] == "97"
        assert post_spans(opik, span_item(), span_item()).status_code == 204
        assert len(opik.spans("p")) == 5


def test_tls_is_trusted_through_its_own_authority_only(tmp_path: Path) -> None:
    """A client that knows the private CA gets through; one that does not fails the handshake."""
    certificate = ServerCertificate()
    with FakeOpik(tls=certificate) as opik:
        with pytest.raises(requests.exceptions.SSLError):
            call(opik, "GET", "/is-alive/ping")
        ca = certificate.write_ca(tmp_path / "ca.pem")
        assert call(opik, "GET", "/is-alive/ping", verify=str(ca)).json()["healthy"] is True


# --- OTLP ------------------------------------------------------------------------------------------------

SPAN = {
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "span_id": "b7ad6b7169203331",
    "name": "root",
    "start": 1752624000123_456789,
    "end": 1752624001123_456789,
    "attrs": {},
}
CHILD = SPAN | {"span_id": "00f067aa0ba902b7", "parent": SPAN["span_id"], "name": "child"}


def test_otlp_ids_follow_the_servers_rule(opik: FakeOpik) -> None:
    """Ids derived from OTel ids agree with a vector computed independently from the documented rule."""
    assert post_otlp(opik, [SPAN]).status_code == 200
    [row] = opik.spans("p")
    assert row["trace_id"] == "01981087-ec7b-7334-bd2a-4b7838de7d6e"
    assert row["id"] == "01981087-ec7b-70e1-9794-9816e49a8761"


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "double-encoded"])
def test_otlp_json_reads_ids_as_base64(opik: FakeOpik, wrapped: bool) -> None:
    """A hex id of specified OTLP/JSON is taken for base64, so the trace gets another id than over protobuf."""
    message: dict[str, Any] = MessageToDict(otlp_request([SPAN]))
    message["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = SPAN["trace_id"]
    body = json.dumps(message)
    body = json.dumps(body) if wrapped else body
    headers = {"Content-Type": "application/json", "projectName": "p"}
    assert call(opik, "POST", "/v1/private/otel/v1/traces", data=body, headers=headers).status_code == 200
    [row] = opik.spans("p")
    assert row["trace_id"] == "01981087-ec7b-7096-be93-ede3e44ec493"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-protobuf", b"\xff\xff"),
        ("application/json", b'{"resourceSpan": []}'),
        ("application/json", b"{"),
    ],
)
def test_otlp_that_cannot_be_read_is_a_500(opik: FakeOpik, content_type: str, body: bytes) -> None:
    """A body that does not parse, or names an unknown JSON field, is an internal error on that server."""
    headers = {"Content-Type": content_type}
    assert call(opik, "POST", "/v1/private/otel/v1/traces", data=body, headers=headers).status_code == 500
    assert opik.projects() == []


def test_otlp_two_roots_lose_the_request(opik: FakeOpik) -> None:
    """Two parentless spans of one trace in one request leave a trace and not one span."""
    assert post_otlp(opik, [SPAN, SPAN | {"span_id": CHILD["span_id"]}]).status_code == 409
    assert (len(opik.traces("p")), len(opik.spans("p"))) == (1, 0)


def test_otlp_usage_of_parent_and_child(opik: FakeOpik) -> None:
    """A parent's usage goes when a child in the same request has usage too; across requests both are summed."""
    usage = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}
    post_otlp(opik, [SPAN | {"attrs": usage}, CHILD | {"attrs": usage}], "together")
    other = {"trace_id": "11" * 16, "attrs": usage}
    assert post_otlp(opik, [SPAN | other], "apart").status_code == 200
    assert post_otlp(opik, [CHILD | other], "apart").status_code == 200
    assert opik.traces("together")[0]["usage"]["total_tokens"] == 6
    assert opik.traces("apart")[0]["usage"]["total_tokens"] == 12


def test_otlp_memory_of_trace_ids_ends(opik: FakeOpik) -> None:
    """A child that comes after the memory is gone, with a later start, lands in another trace."""
    post_otlp(opik, [SPAN])
    opik.forget_otlp_traces()
    post_otlp(opik, [CHILD | {"start": SPAN["start"] + 5_000_000}])
    assert len({row["trace_id"] for row in opik.spans("p")}) == 2


def test_otlp_exception_event_becomes_error_info(opik: FakeOpik) -> None:
    """The last exception event wins over the status, and all events are kept in metadata."""
    request = otlp_request([SPAN | {"error": "status says this"}])
    span = request.resource_spans[0].scope_spans[0].spans[0]
    event = span.events.add(name="exception", time_unix_nano=1)
    event.attributes.add(key="exception.type").value.string_value = "ValueError"
    event.attributes.add(key="exception.message").value.string_value = "boom"
    headers = {"Content-Type": "application/x-protobuf", "projectName": "p"}
    call(opik, "POST", "/v1/private/otel/v1/traces", data=request.SerializeToString(), headers=headers)
    [row] = opik.spans("p")
    assert row["error_info"] == {"exception_type": "ValueError", "message": "boom", "traceback": "boom"}
    assert row["metadata"]["opentelemetry.events"][0]["name"] == "exception"


# --- outages and planned faults --------------------------------------------------------------------------


def test_an_outage_keeps_rows_and_port(opik: FakeOpik) -> None:
    """While stopped, connections are refused; afterwards the same rows are at the same address."""
    post_spans(opik, span_item())
    address = opik.url
    opik.stop()
    with pytest.raises(requests.ConnectionError):
        post_spans(opik, span_item())
    opik.start()
    assert opik.url == address
    assert post_spans(opik, span_item()).status_code == 204
    assert len(opik.spans("p")) == 2
    opik.reset()
    assert (opik.spans(), opik.requests, opik.span_writes.total) == ([], [], 0)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 409, 413, 422, 500, 502, 503, 504])
def test_statuses_on_demand(opik: FakeOpik, code: int) -> None:
    """Every status comes with the kind of body it has in the wild, and stores nothing."""
    opik.faults.add(SPANS, faults.status(code))
    failed = post_spans(opik, span_item())
    assert failed.status_code == code
    kind = "text/html" if code in {502, 503, 504} else "application/json"
    assert failed.headers["Content-Type"] == kind
    assert opik.spans() == []
    assert post_spans(opik, span_item()).status_code == 204


def test_faults_strike_in_order_and_count() -> None:
    """Faults take turns by route: the first that has turns left, after those it should let pass."""
    with FakeOpik() as opik:
        planned = opik.faults.add(SPANS, faults.throttled(7), times=2, after=1)
        opik.faults.add("GET *", faults.captive_portal(), times=None)
        assert [post_spans(opik, span_item()).status_code for _ in range(4)] == [204, 429, 429, 204]
        assert planned.hits == 2
        assert "terms of use" in call(opik, "GET", "/is-alive/ping").text
        assert [each.fault for each in opik.requests_to(SPANS)] == [None, "throttled", "throttled", None]
        opik.faults.clear()
        assert call(opik, "GET", "/is-alive/ping").json()["healthy"] is True


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        (faults.throttled(7), {"RateLimit-Reset": "7", "Retry-After": None}),
        (faults.throttled(7, header="Retry-After"), {"RateLimit-Reset": None, "Retry-After": "7"}),
        (faults.throttled("Sun, 22 Nov 2026 18:00:00 GMT", header="Retry-After"), {"RateLimit-Reset": None}),
        (faults.throttled(None), {"RateLimit-Reset": None, "Retry-After": None}),
    ],
)
def test_throttling_in_every_form(opik: FakeOpik, fault: Fault, headers: dict[str, str | None]) -> None:
    """429 says how long to wait in Opik's way, in everybody's way, by date, or not at all."""
    opik.faults.add(SPANS, fault)
    throttled = post_spans(opik, span_item())
    assert throttled.status_code == 429
    assert {name: throttled.headers.get(name) for name in headers} == headers


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        (faults.hang(), 0),
        (faults.commit_then_hang(), 1),
        (faults.reset_before_reading(), 0),
        (faults.reset_after_reading(), 0),
        (faults.reset_after_commit(), 1),
        (faults.cut_body(), 1),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_broken_connections(fault: Fault, stored: int, encrypted: bool, tmp_path: Path) -> None:
    """The client sees no answer, whether or not the rows were stored; the next request is served."""
    certificate = ServerCertificate() if encrypted else None
    more = {"verify": str(certificate.write_ca(tmp_path / "ca.pem"))} if certificate else {}
    with FakeOpik(tls=certificate) as opik:
        opik.faults.add(SPANS, fault)
        with pytest.raises((requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)):
            post_spans(opik, span_item(), timeout=0.5, **more)
        assert len(opik.spans("p")) == stored
        assert post_spans(opik, span_item(), **more).status_code == 204
        assert opik.most_in_flight >= 1


@pytest.mark.parametrize(
    ("fault", "status", "kind", "text", "stored"),
    [
        (faults.html(), 200, "text/html", "Opik", 0),
        (faults.captive_portal(), 200, "text/html", "terms of use", 0),
        (faults.redirect("http://login.invalid/"), 302, None, "", 0),
        (faults.truncated_json(), 200, "application/json", '{"message"', 1),
        (faults.status(500, commits=True), 500, "application/json", "logged", 1),
        (faults.slow(0.01), 204, None, "", 1),
        (faults.slow_body(0.001), 200, "application/json", '{"message": "stored"}', 1),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_wrong_answers(opik: FakeOpik, fault: Fault, status: int, kind: str | None, text: str, stored: int) -> None:
    """What comes back is not what Opik would say, or not when, and the rows tell what really happened."""
    opik.faults.add(SPANS, fault)
    response = post_spans(opik, span_item(), allow_redirects=False)
    assert (response.status_code, response.headers.get("Content-Type")) == (status, kind)
    assert text in response.text
    assert len(opik.spans("p")) == stored


def test_wrong_content_type(opik: FakeOpik) -> None:
    """A right answer under a wrong label."""
    opik.faults.add(EVERYTHING, faults.wrong_content_type())
    response = call(opik, "GET", "/is-alive/ping")
    assert (response.headers["Content-Type"], response.json()["healthy"]) == ("text/plain", True)


def test_faults_reach_the_otlp_route(opik: FakeOpik) -> None:
    """A request that was stored but reset meets 409 when it is sent again: OTLP into Opik is not idempotent."""
    opik.faults.add(OTLP, faults.reset_after_commit())
    with pytest.raises(requests.ConnectionError):
        post_otlp(opik, [SPAN])
    assert post_otlp(opik, [SPAN]).status_code == 409


# --- the rest of the API ---------------------------------------------------------------------------------


def test_attachments_and_links(opik: FakeOpik) -> None:
    """A file goes up by the address that upload-start gives, and a browser link leads to the trace's project."""
    trace = {"id": ids.new_id(), "project_name": "p", "start_time": "2026-11-22T12:00:00Z"}
    call(opik, "POST", "/v1/private/traces/batch", {"traces": [trace]})
    path = base64.b64encode(opik.url.encode()).decode()
    entity = {"entity_type": "trace", "entity_id": trace["id"]}
    wanted = {**entity, "file_name": "a.txt", "num_of_file_parts": 1, "path": path}
    begun = call(opik, "POST", "/v1/private/attachment/upload-start", wanted).json()
    assert begun["upload_id"] == "BEMinIO"
    assert fetch("PUT", begun["pre_sign_urls"][0], data=b"hello").status_code == 204
    query = {**entity, "project_id": ids.new_id(), "path": path}
    [listed] = call(opik, "GET", "/v1/private/attachment/list", params=query).json()["content"]
    assert (listed["file_name"], listed["file_size"]) == ("a.txt", 5)
    link = f"/v1/session/redirect/projects/?trace_id={trace['id']}&path={path}"
    assert opik.traces("p")[0]["project_id"] in call(opik, "GET", link, allow_redirects=False).headers["Location"]


def test_small_routes(opik: FakeOpik) -> None:
    """Toggles, permissions, projects and deletion answer as the document describes them."""
    assert set(call(opik, "GET", "/v1/private/toggles").json().values()) == {False}
    assert call(opik, "GET", "/v1/private/workspace-permissions").json()["workspaceName"] == "default"
    assert call(opik, "POST", "/v1/private/projects", {"name": "made"}).status_code == 201
    assert call(opik, "POST", "/v1/private/projects", {"name": "MADE"}).status_code == 409
    assert call(opik, "GET", "/v1/private/projects?name=ad").json()["total"] == 1
    item = span_item()
    post_spans(opik, item)
    assert call(opik, "POST", "/v1/private/traces/delete", {"ids": [item["trace_id"]]}).status_code == 204
    assert opik.spans() == []


@needs_official_client
def test_the_official_client_reads_back_what_it_wrote(opik: FakeOpik) -> None:
    """The opik package writes and reads a trace with usage, cost, tags, thread, error and score, and breaks no rule."""
    written = official_write(opik.url, "official")
    assert written["flushed"] is True
    assert [each for each in opik.violations if each.path.endswith("/batch")] == []
    seen = official_read(opik.url, "official")
    assert seen["project"]["name"] == "official"
    [trace] = seen["traces"]
    assert (trace["id"], trace["thread_id"], sorted(trace["tags"])) == (written["trace_id"], "s1", ["acme", "prod"])
    assert trace["metadata"] == {"providers": ["openai"], "tenant.id": "acme"}
    assert trace["usage"]["total_tokens"] == 1200
    assert trace["total_estimated_cost"] == pytest.approx(0.50027)
    assert trace["error_info"]["exception_type"] == "RateLimitError"
    assert trace["feedback_scores"][0]["value"] == 0.75
    spans = {span["name"]: span for span in seen["spans"]}
    assert spans["tool"]["parent_span_id"] == spans["chat gpt-4o-mini"]["id"]
    assert spans["chat gpt-4o-mini"]["total_estimated_cost_version"] == "1.1"
    assert spans["tool"]["total_estimated_cost"] == 0.5
    assert seen["tagged"] == [spans["chat gpt-4o-mini"]["id"]]
    assert [thread["id"] for thread in seen["threads"]] == ["s1"]
