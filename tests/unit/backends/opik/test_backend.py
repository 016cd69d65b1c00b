"""The backend against a fake Opik: what arrives, and which outcome each kind of trouble becomes."""

from __future__ import annotations

import logging
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.backends.opik import json_client
from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.contracts import Backend, Batch, CheckStatus, Delivered, Rejected, Retry
from otel_llm.errors import ConfigError
from tests.fakes.http_server import HttpServer, Reply, Request, closed_port
from tests.fakes.opik import EVERYTHING, SPANS, TRACES, FakeOpik, Fault, Front, Limit, faults, needs_openapi
from tests.unit.backends.opik.helpers import batch_of, merged, trace_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_openapi

_SECONDS = 10.0


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A fake Opik without authentication."""
    with FakeOpik() as server:
        yield server


def _backend(url: str, **options: Any) -> OpikBackend:
    return OpikBackend(OpikOptions(url=url, service="shop", **options))


def _retry(backend: OpikBackend, batch: Batch | None = None, timeout: float = _SECONDS) -> Retry:
    outcome = backend.send(batch or batch_of(trace_bytes()), timeout=timeout)
    assert isinstance(outcome, Retry)
    return outcome


def test_batch_arrives_once_however_often_it_is_sent(opik: FakeOpik) -> None:
    """Each span has one row and each trace one; sending the same batch twice more changes nothing."""
    backend = _backend(opik.url)
    batch = batch_of(trace_bytes(), trace_bytes(), spans_each=3)
    assert isinstance(backend, Backend)
    assert backend.send(batch, timeout=_SECONDS) == Delivered(6)
    before = opik.traces(), opik.spans()
    assert backend.send(batch, timeout=_SECONDS) == Delivered(6)
    assert _backend(opik.url).send(batch, timeout=_SECONDS) == Delivered(6)
    names = [{k: v for k, v in row.items() if k != "created_at"} for row in (*before[0], *before[1])]
    after = [{k: v for k, v in row.items() if k != "created_at"} for row in (*opik.traces(), *opik.spans())]
    assert after == names
    assert (len(opik.traces("shop")), len(opik.spans("shop"))) == (2, 6)
    assert not opik.duplicates()
    assert not opik.violations


def test_requests_are_compressed_kept_alive_and_in_order(opik: FakeOpik, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces go before spans, over one connection, gzipped; the key goes as it is, with the workspace."""
    monkeypatch.setattr(json_client, "worth_compressing", lambda _base: True)
    backend = _backend(opik.url, api_key="secret-key", workspace="default")
    for _ in range(3):
        assert backend.send(batch_of(trace_bytes(), spans_each=8), timeout=_SECONDS) == Delivered(8)
    assert [request.path.rsplit("/", 2)[-2] for request in opik.requests] == ["traces", "spans"] * 3
    headers = [{key.lower(): value for key, value in request.headers.items()} for request in opik.requests]
    assert {header["authorization"] for header in headers} == {"secret-key"}
    assert {header["comet-workspace"] for header in headers} == {"default"}
    assert all(headers[index]["content-encoding"] == "gzip" for index in (1, 3, 5))
    assert opik.most_in_flight == 1
    assert "secret-key" not in repr(backend._options)


@pytest.mark.parametrize(
    ("base", "worth"),
    [("http://127.0.0.1:5173/api", False), ("http://localhost", False), ("https://opik.example", True)],
)
def test_only_what_leaves_this_machine_is_compressed(base: str, worth: bool) -> None:
    """Bytes that stay on this machine cost less than compressing them."""
    assert json_client.worth_compressing(base) is worth


def test_large_batches_are_divided_by_number_and_by_bytes(opik: FakeOpik) -> None:
    """No request holds more than 1000 items or about 5 MB, and a larger single span goes alone."""
    backend = _backend(opik.url)
    assert backend.send(batch_of(trace_bytes(), spans_each=2001), timeout=60) == Delivered(2001)
    assert [len(request.json["spans"]) for request in opik.requests_to(SPANS)] == [1000, 1000, 1]
    opik.reset()
    content = "x" * 2_000_000
    assert backend.send(batch_of(trace_bytes(), spans_each=5, content=content), timeout=60) == Delivered(5)
    assert [len(request.json["spans"]) for request in opik.requests_to(SPANS)] == [2, 1, 2]


def test_bad_spans_are_found_and_the_rest_is_delivered() -> None:
    """Two spans with ids too old for the server are rejected with its words; all others arrive."""
    with FakeOpik(id_window_hours=24) as opik:
        good, old = [trace_bytes() for _ in range(20)], trace_bytes(age_hours=48)
        batch = batch_of(*good[:7], old, *good[7:])
        outcome = _backend(opik.url).send(batch, timeout=60)
        assert isinstance(outcome, Delivered)
        assert outcome.accepted == 40
        assert [rejection.reason for rejection in outcome.rejected] == ["too_old", "too_old"]
        assert "ingestion window" in outcome.rejected[0].detail
        assert outcome.rejected[0].span_id == f"{1:016x}"
        assert (len(opik.traces()), len(opik.spans())) == (20, 40)


def test_named_index_saves_halving(opik: FakeOpik) -> None:
    """Where the server names the bad row, that one is tried apart from the others, which go together."""
    opik.faults.add(SPANS, Fault("named", answer=faults.errors(422, "spans[3].name is odd")))
    assert _backend(opik.url).send(batch_of(trace_bytes(), spans_each=8), timeout=_SECONDS) == Delivered(8)
    assert [len(request.json["spans"]) for request in opik.requests_to(SPANS)] == [8, 1, 7]


@pytest.mark.parametrize(
    ("code", "reason"), [(400, "invalid"), (413, "too_large"), (422, "invalid"), (409, "conflict")]
)
def test_what_the_server_never_takes_is_rejected(opik: FakeOpik, code: int, reason: str) -> None:
    """A span that is refused alone is rejected, with the reason and the server's words."""
    opik.faults.add(SPANS, faults.status(code), times=None)
    outcome = _backend(opik.url).send(batch_of(trace_bytes(), spans_each=3), timeout=_SECONDS)
    assert isinstance(outcome, Delivered)
    assert (outcome.accepted, [rejection.reason for rejection in outcome.rejected]) == (0, [reason] * 3)
    assert all(rejection.detail for rejection in outcome.rejected)


def test_refused_trace_row_is_replaced_by_a_bare_one(opik: FakeOpik) -> None:
    """A trace whose full row is refused is still listed, by name and times, and its spans arrive."""
    opik.faults.add(TRACES, faults.status(400))
    assert _backend(opik.url).send(batch_of(trace_bytes()), timeout=_SECONDS) == Delivered(2)
    (trace,) = opik.traces()
    assert trace["name"] == "span 1"
    assert trace["span_count"] == 2


def test_interrupted_batch_goes_on_where_it_was(opik: FakeOpik) -> None:
    """Sent again after trouble in the middle, a batch does not repeat what was answered for."""
    backend = _backend(opik.url)
    batch = batch_of(trace_bytes(), spans_each=1500)
    opik.faults.add(SPANS, faults.status(503), after=1)
    assert _retry(backend, batch, 60).reason == "server_error"
    assert backend.send(batch, timeout=60) == Delivered(1500)
    assert len(opik.requests_to(TRACES)) == 1
    assert [len(request.json["spans"]) for request in opik.requests_to(SPANS)] == [1000, 500, 500]
    assert len(opik.spans()) == 1500


_PASSING = [
    (faults.status(500), "server_error"),
    (faults.status(502), "server_error"),
    (faults.status(503), "server_error"),
    (faults.status(504, commits=True), "server_error"),
    (faults.throttled(7), "throttled"),
    (faults.reset_before_reading(), "reset"),
    (faults.reset_after_reading(), "reset"),
    (faults.reset_after_commit(), "reset"),
    (faults.cut_body(), "reset"),
    (faults.hang(), "timeout"),
    (faults.commit_then_hang(), "timeout"),
    (faults.slow_body(0.2), "timeout"),
]


@pytest.mark.parametrize(("fault", "reason"), _PASSING, ids=lambda value: getattr(value, "name", None))
@pytest.mark.parametrize("route", [TRACES, SPANS])
def test_passing_trouble_is_retried_and_nothing_is_lost_or_doubled(
    opik: FakeOpik, fault: Fault, reason: str, route: str
) -> None:
    """After each passing fault the batch is to be retried, and the retry leaves every row exactly once."""
    backend = _backend(opik.url)
    batch = batch_of(trace_bytes(), spans_each=4)
    opik.faults.add(route, fault)
    retry = _retry(backend, batch, timeout=1.0)
    assert (retry.reason, retry.needs_action) == (reason, False)
    assert retry.why.endswith(".")
    assert backend.send(batch, timeout=_SECONDS) == Delivered(4)
    assert (len(opik.traces()), len(opik.spans())) == (1, 4)
    assert not opik.duplicates()


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (faults.throttled(3), 3.0),
        (faults.throttled(4, header="Retry-After"), 4.0),
        (faults.throttled(10**9), 900.0),
        (faults.throttled("soon"), None),
        (faults.throttled(-5), None),
        (faults.throttled(None), None),
        (faults.status(503, headers={"Retry-After": "2"}), 2.0),
    ],
)
def test_the_server_says_how_long_to_wait(opik: FakeOpik, fault: Fault, seconds: float | None) -> None:
    """RateLimit-Reset or Retry-After sets the wait, never beyond 15 minutes; nonsense leaves it to the sender."""
    opik.faults.add(SPANS, fault)
    assert _retry(_backend(opik.url)).after == seconds


def test_retry_after_as_a_date_counts_by_the_servers_clock() -> None:
    """A date in Retry-After is taken relative to the answer's own Date."""
    soon = formatdate(time.time() + 30, usegmt=True)
    with HttpServer(default=Reply(429, {"Retry-After": soon})) as server:
        after = _retry(_backend(server.url)).after
    assert after is not None
    assert 0 < after <= 31


def test_real_rate_limit_is_obeyed() -> None:
    """Over the server's own limit the batch waits for as long as the server says."""
    with FakeOpik(user_limit=Limit(6, seconds=30)) as opik:
        backend = _backend(opik.url)
        assert backend.send(batch_of(trace_bytes(), spans_each=4), timeout=_SECONDS) == Delivered(4)
        retry = _retry(backend, batch_of(trace_bytes(), spans_each=4))
        assert retry.reason == "throttled"
        assert retry.after is not None
        assert 0 < retry.after <= 30


_SETTINGS = [
    (faults.status(401), "unauthorized", "OPIK_API_KEY"),
    (faults.status(402), "quota", "quota"),
    (faults.status(403), "forbidden", "OPIK_WORKSPACE"),
    (faults.status(404), "workspace", "OPIK_WORKSPACE"),
    (faults.html(), "wrong_address", "/api"),
    (faults.html(404), "wrong_address", "/api"),
    (faults.html(405), "wrong_address", "/api"),
    (faults.captive_portal(), "wrong_address", "login page"),
    (faults.redirect("https://login.example.com/?token=abc"), "redirect", "login.example.com"),
    (faults.status(407), "proxy", "HTTPS_PROXY"),
]


@pytest.mark.parametrize(("fault", "reason", "words"), _SETTINGS, ids=lambda value: getattr(value, "name", None))
def test_wrong_settings_keep_the_data_and_say_the_remedy(opik: FakeOpik, fault: Fault, reason: str, words: str) -> None:
    """What waiting cannot cure is marked so, names its remedy, and the batch is delivered once it is cured."""
    backend = _backend(opik.url, api_key="secret-key")
    batch = batch_of(trace_bytes())
    opik.faults.add(EVERYTHING, fault)
    retry = _retry(backend, batch)
    assert (retry.reason, retry.needs_action) == (reason, True)
    assert words in retry.why
    assert "secret-key" not in retry.why
    assert "token=abc" not in retry.why
    assert backend.send(batch, timeout=_SECONDS) == Delivered(2)


def test_missing_key_is_another_sentence_than_a_wrong_one() -> None:
    """401 without a key says to set one, with a key that it is wrong."""
    with FakeOpik(api_keys={"right": ["acme"]}) as opik:
        assert "No API key is set" in _retry(_backend(opik.url, workspace="acme")).why
        assert "wrong or was revoked" in _retry(_backend(opik.url, api_key="wrong", workspace="acme")).why
        outcome = _backend(opik.url, api_key="right", workspace="acme").send(batch_of(trace_bytes()), timeout=_SECONDS)
        assert outcome == Delivered(2)
        assert len(opik.spans(workspace="acme")) == 2


def test_wrong_workspace_is_named() -> None:
    """A workspace that the server does not know, or the key may not use, is named in the sentence."""
    with FakeOpik(front=Front.BACKEND) as opik:
        retry = _retry(_backend(opik.url, workspace="nope"))
        assert "'nope'" in retry.why
        assert retry.needs_action


def test_address_of_the_page_instead_of_the_api() -> None:
    """Without /api the web server answers with its page, which is no success."""
    with FakeOpik() as opik:
        retry = _retry(_backend(opik.root_url))
        assert (retry.reason, retry.needs_action) == ("wrong_address", True)
        assert "/api" in retry.why
        assert not opik.spans()


def test_missing_endpoint_is_not_called_a_missing_workspace() -> None:
    """A JSON 404 that does not speak of a workspace means the wrong path."""
    with HttpServer(default=Reply.json({"code": 404, "message": "HTTP 404 Not Found"}, 404)) as server:
        assert _retry(_backend(server.url)).reason == "wrong_address"


def test_unreadable_payload_is_rejected_whole(opik: FakeOpik) -> None:
    """Bytes that are no OTLP are rejected without a request."""
    outcome = _backend(opik.url).send(Batch(b"\xff\xff\xff", span_count=1), timeout=_SECONDS)
    assert isinstance(outcome, Rejected)
    assert not opik.requests


def test_each_tenant_has_its_project_and_workspace() -> None:
    """Tenants land in their own projects and workspaces and nowhere else."""
    with FakeOpik(api_keys={"key": ["main", "acme-team"]}) as opik:
        tenants = {"acme": "prod @acme-team", "globex": "globex-prod"}
        backend = _backend(opik.url, api_key="key", workspace="main", project="{service}-{tenant}", tenants=tenants)
        for tenant in ("acme", "globex", "initech"):
            assert backend.send(batch_of(trace_bytes(), tenant=tenant), timeout=_SECONDS) == Delivered(2)
        assert opik.projects(workspace="acme-team") == ["prod"]
        assert opik.projects(workspace="main") == ["globex-prod", "shop-initech"]
        assert [row["tags"] for row in opik.traces("prod", workspace="acme-team")] == [["acme"]]
        assert len(opik.spans(workspace="main")) == 4


def test_changes_of_state_are_left_to_health(opik: FakeOpik, caplog: pytest.LogCaptureFixture) -> None:
    """Who serves the backend says when trouble begins and ends; said here, too, it would be said twice."""
    backend = _backend(opik.url)
    opik.faults.add(EVERYTHING, faults.status(401), times=3)
    with caplog.at_level(logging.INFO, logger="otel_llm"):
        for _ in range(3):
            _retry(backend)
        backend.send(batch_of(trace_bytes()), timeout=_SECONDS)
        backend.send(batch_of(trace_bytes()), timeout=_SECONDS)
    ours = [record for record in caplog.records if record.name.startswith("otel_llm.backends.opik")]
    assert ours == []


def test_the_project_named_after_the_service_is_said(opik: FakeOpik, caplog: pytest.LogCaptureFixture) -> None:
    """Without a configured project the backend says once where spans go."""
    with caplog.at_level(logging.INFO, logger="otel_llm"):
        _backend(opik.url)
        _backend(opik.url, project="p")
    assert [("'shop'" in record.message) for record in caplog.records] == [True]


def test_settings_that_cannot_be_understood_are_errors() -> None:
    """A placeholder that does not exist and an address that is none are refused when the backend is built."""
    with pytest.raises(ConfigError, match="placeholder"):
        _backend("http://localhost:5173/api", project="{team}-x")
    with pytest.raises(ConfigError, match="address"):
        _backend("gopher://host")


@pytest.mark.parametrize(
    "options",
    [{"api_key": "key-canary\nx"}, {"workspace": "caf\u00e9-canary"}, {"tenants": {"acme": "p @caf\u00e9-canary"}}],
)
def test_what_no_header_can_carry_is_refused_without_being_shown(options: dict[str, Any]) -> None:
    """A key or workspace with a line break or a letter outside ASCII is an error at once, which does not hold it."""
    with pytest.raises(ConfigError, match="header cannot carry") as refused:
        _backend("http://localhost:5173/api", **options)
    assert "canary" not in str(refused.value)


_PROMPT = "a prompt canary in a sentence of some length, as people write them to models"


@pytest.mark.parametrize("status", [400, 401, 404, 422, 502])
@pytest.mark.parametrize("shape", ["{sent}", "unknown key {key}", '{{"errors": ["bad content: {prompt}"]}}'])
def test_an_echo_is_not_shown(status: int, shape: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of an answer that repeats the request neither prompts nor the key get into the outcome or the log."""

    def echo(request: Request) -> Reply:
        key = request.headers["Authorization"]
        sent = request.body.decode()
        said = shape.format(sent=f"{sent} {key}", key=key, prompt=_PROMPT if _PROMPT in sent else "")
        return Reply(status, {"Content-Type": "text/plain"}, said.encode())

    with HttpServer(answer=echo) as server, caplog.at_level(logging.DEBUG, logger="otel_llm"):
        outcome = _backend(server.url, api_key="key-canary").send(
            batch_of(trace_bytes(), content=_PROMPT), timeout=_SECONDS
        )
        assert _PROMPT.encode() in b"".join(request.body for request in server.requests)
    assert "canary" not in repr(outcome)
    assert "canary" not in caplog.text


def test_words_about_ids_are_shown(opik: FakeOpik) -> None:
    """An id in an error is the request's too, and helps to find the row."""
    said = "Trace 01a20320-a200-7abc-8d00-000000000001 of project shop exists in another one"
    opik.faults.add(SPANS, faults.status(409, body=said.encode()), times=None)
    outcome = _backend(opik.url).send(batch_of(trace_bytes()), timeout=_SECONDS)
    assert said in repr(outcome)


def _statuses(backend: OpikBackend) -> dict[str, CheckStatus]:
    return {finding.check: finding.status for finding in backend.check()}


def test_check_of_a_good_server(opik: FakeOpik) -> None:
    """All is well: nothing is sent that makes a row or a project."""
    assert set(_statuses(_backend(opik.url)).values()) == {CheckStatus.OK}
    assert not opik.projects()


def test_check_of_the_page_says_so() -> None:
    """The web page answers the health check with 200 and HTML, which is a failure with its remedy."""
    with FakeOpik() as opik:
        findings = {finding.check: finding for finding in _backend(opik.root_url).check()}
    assert findings["opik.server"].status is CheckStatus.FAILED
    assert "/api" in findings["opik.server"].remedy
    assert "web page" in findings["opik.server"].evidence
    assert findings["opik.project"].status is CheckStatus.SKIPPED


def test_check_of_a_wrong_key() -> None:
    """Credentials are checked where they matter: the public endpoints would answer without them."""
    with FakeOpik(api_keys={"right": ["acme"]}) as opik:
        findings = {finding.check: finding for finding in _backend(opik.url, api_key="wrong").check()}
        assert findings["opik.server"].status is CheckStatus.OK
        assert findings["opik.credentials"].status is CheckStatus.FAILED
        assert "OPIK_API_KEY" in findings["opik.credentials"].remedy


def test_check_says_whether_a_key_was_asked_for() -> None:
    """A server without login takes anybody: it says nothing about a key that nobody gave."""
    with FakeOpik() as opik:
        findings = {finding.check: finding for finding in _backend(opik.url).check()}
    assert findings["opik.credentials"].evidence == "Opik asks for no key for workspace 'default'."
    with FakeOpik(api_keys={"right": ["acme"]}) as opik:
        findings = {finding.check: finding for finding in _backend(opik.url, api_key="right", workspace="acme").check()}
    assert findings["opik.credentials"].evidence == "Opik accepts the key for workspace 'acme'."


def test_check_without_a_server() -> None:
    """Nothing listens: one failure that says so, the rest is skipped."""
    statuses = _statuses(_backend(f"http://127.0.0.1:{closed_port()}/api"))
    assert statuses == {
        "opik.address": CheckStatus.OK,
        "opik.server": CheckStatus.FAILED,
        "opik.credentials": CheckStatus.SKIPPED,
        "opik.project": CheckStatus.SKIPPED,
    }


def test_a_closed_workspace_of_a_tenant_is_named_and_holds_up_no_other_in_the_batch() -> None:
    """The sentence names the tenant's workspace and its setting; rows for other workspaces go meanwhile."""
    with FakeOpik(api_keys={"key": ["main"]}) as opik:
        options: dict[str, Any] = {"api_key": "key", "workspace": "main", "project": "shop"}
        backend = _backend(opik.url, **options, tenants={"acme": "shop @acme-taem"})
        batch = merged(batch_of(trace_bytes(), tenant="acme"), batch_of(trace_bytes(), tenant="globex"))
        retry = _retry(backend, batch)
        assert (retry.reason, retry.needs_action) == ("forbidden", True)
        assert "'acme-taem'" in retry.why
        assert "opik.tenants" in retry.why
        assert "'main'" not in retry.why
        assert {tuple(row["tags"]) for row in opik.spans("shop", workspace="main")} == {("globex",)}
        findings = [found for found in backend.check() if found.status is CheckStatus.FAILED]
        assert ["'acme-taem'" in found.evidence and "opik.tenants" in found.remedy for found in findings] == [True]


def test_a_key_with_the_word_bearer_is_told_apart() -> None:
    """Opik takes the bare key; who writes `Bearer` before it hears that, and not that the key is wrong."""
    with FakeOpik(api_keys={"right": ["acme"]}) as opik:
        retry = _retry(_backend(opik.url, api_key="Bearer right", workspace="acme"))
        assert retry.reason == "unauthorized"
        assert "Bearer" in retry.why
        assert "revoked" not in retry.why


def test_a_deprecated_endpoint_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """What the server announces in `X-Opik-Deprecation` is in the log, once for each endpoint; nothing is held up."""
    reply = Reply(204, {"X-Opik-Deprecation": "use /v2 by May"})
    with HttpServer(default=reply) as server, caplog.at_level(logging.WARNING):
        backend = _backend(server.url)
        for _ in range(3):
            assert backend.send(batch_of(trace_bytes()), timeout=_SECONDS) == Delivered(2)
    said = [record.getMessage() for record in caplog.records if "use /v2 by May" in record.getMessage()]
    assert [sentence.split(" is deprecated")[0].rpartition(" ")[2] for sentence in said] == [
        "/v1/private/traces/batch",
        "/v1/private/spans/batch",
    ]
