"""Redaction over whole spans: every text, valid JSON, pseudonyms, failures, hostile input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Event
from opentelemetry.trace import Status, StatusCode

from otel_llm import faults, semconv
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.detectors import DETECTORS
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.inline_media import InlineMedia
from otel_llm.processors.known_secrets import secrets_of
from otel_llm.processors.pseudonyms import Substitutes
from otel_llm.processors.redaction import Redaction
from tests.fakes.spans import make_span

if TYPE_CHECKING:
    import re

EVERYTHING = tuple(DETECTORS)
KEY = "sk-proj-Canary0123456789abcdef"


def redacted(text: str, *detectors: str, **options: Any) -> str:
    """A text as it leaves, on an attribute of its own."""
    draft = SpanDraft(make_span(attributes={"text": text}))
    return str(Redaction(detectors or EVERYTHING, **options)(draft).attributes["text"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"my key is {KEY}.", "my key is <key>."),
        ("Incorrect API key provided: sk-canar*******y1234. You can", "Incorrect API key provided: <key>. You can"),
        ("sk-ant-api03-AbCd_123456", "<key>"),
        ("AKIAIOSFODNN7EXAMPLE", "<key>"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "<key>"),
        ("hf_abcdefghijklmnopqrstuvwx", "<key>"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "<key>"),
        ("xoxb-123456-abcdef", "<key>"),
        ("Authorization: Bearer abcDEF123456", "Authorization: Bearer <key>"),
        ("http://me:p@ss@proxy:3128/x", "http://<key>@proxy:3128/x"),
        ("https://h/p?a=1&api_key=zzz&b=2", "https://h/p?a=1&api_key=<key>&b=2"),
        ('{"api_key": "plainword"}', '{"api_key": "<key>"}'),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_def-123", "<jwt>"),
        ("mail ann.b+c@Example.co.uk now", "mail <email> now"),
        ("call +49 151 2345 6789", "call <phone>"),
        ("(415) 555-2671", "<phone>"),
        ("4111 1111 1111 1111", "<card>"),
        ("DE89 3704 0044 0532 0130 00 AND MORE", "<iban> AND MORE"),
        ("from 10.1.2.3:80 and 2001:db8::1", "from <ip>:80 and <ip>"),
    ],
)
def test_secrets_and_personal_data_are_replaced(text: str, expected: str) -> None:
    """Each kind is found where it stands, and nothing around it is touched."""
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the risk-assessment-framework for the sk-learn task",
        "Bearer authentication, and a basic understanding of token handling",
        "api_key = os.environ['X']",
        "password: required",
        "4111 1111 1111 1112",
        "DE88 3704 1144 0532 0130 00",
        "max_tokens: 100, took 12:34:56, std::vector, at 127.0.0.1",
        "2024-01-02T03:04:05.678Z 1732300000000 chatcmpl-123",
        "user@localhost",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    """Wrong check digits, prose, code and times are left as they are."""
    assert redacted(text) == text


def test_every_text_of_a_span_is_searched() -> None:
    """Name, attributes of any shape, status, events with their stack traces: the key is nowhere afterwards."""
    draft = SpanDraft(
        make_span(
            f"GET /?key={KEY}",
            attributes={"plain": KEY, "list": (KEY, "x"), "bytes": KEY.encode(), semconv.REQUEST_MODEL: KEY, "n": 3},
            status=Status(StatusCode.ERROR, f"failed with {KEY}"),
            events=(Event("exception", {semconv.EXCEPTION_STACKTRACE: f"Error: {KEY}\n at line 1"}, 7),),
        )
    )
    Redaction(["keys"])(draft)
    shown = repr((draft.name, draft.attributes, draft.status.description, [e.attributes for e in draft.events]))
    assert KEY not in shown
    assert shown.count("<key>") == 7
    assert (draft.attributes["n"], draft.events[0].timestamp) == (3, 7)


def test_what_was_clean_before_hides_nothing_that_comes_after() -> None:
    """A span with the same short texts as clean ones before it, and one new text with a key, loses the key."""
    redaction = Redaction(["keys"])
    for said in ("clean", "clean", f"a {KEY}", "clean", f"a {KEY}", KEY):
        draft = SpanDraft(make_span("chat m", attributes={semconv.REQUEST_MODEL: "gpt-4o-mini", "said": said}))
        redaction(draft)
        assert draft.attributes == {semconv.REQUEST_MODEL: "gpt-4o-mini", "said": said.replace(KEY, "<key>")}


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.text(max_size=12) | st.sampled_from([KEY, "\nann@x.com", "4111111111111111", '"q"\\']) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=12,
    )
)
def test_json_stays_valid_json(tree: Any) -> None:
    """Whatever JSON goes in, JSON comes out, without the secrets, and JSON inside of JSON too."""
    text = json.dumps({"outer": tree, "inner": json.dumps([tree, "first\nsk-abcdefghijklmnop"])})
    outcome = redacted(text)
    assert json.loads(json.loads(outcome)["inner"])[1] == "first\n<key>"
    assert KEY not in outcome
    assert "ann@x.com" not in outcome


def test_pseudonyms_join_and_need_the_key() -> None:
    """The same value has the same pseudonym in any spelling; another key gives another one; none tells the value."""
    one, other = Substitutes("k" * 16), Substitutes("j" * 16)
    first = redacted("4111 1111 1111 1111", "card", substitutes=one)
    assert first == redacted("4111-1111-1111-1111", "card", substitutes=one)
    assert first.startswith("<card:")
    assert first != redacted("4111 1111 1111 1111", "card", substitutes=other)
    assert "kkk" not in repr(one)


def test_functions_of_the_program_see_texts_and_not_the_schema() -> None:
    """A function gets plain texts, inside JSON too, and neither roles nor the facts of the call."""
    seen: list[str] = []

    def shout(text: str) -> str:
        seen.append(text)
        return text.upper()

    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hello"}]}])
    draft = SpanDraft(make_span(attributes={semconv.INPUT_MESSAGES: messages, semconv.TENANT_ID: "acme"}))
    Redaction([], functions=[shout])(draft)
    (message,) = json.loads(draft.attributes[semconv.INPUT_MESSAGES])
    assert {"hello", "chat m"} <= set(seen)
    assert not {"user", "acme", messages} & set(seen)
    assert "HELLO" in json.dumps(message)
    assert draft.attributes[semconv.TENANT_ID] == "acme"


@pytest.mark.parametrize("answer", [lambda text: 1 / 0, lambda text: None])
def test_a_failing_function_costs_the_texts_and_not_the_span(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Facts, numbers and tenant stay; texts, exception, status and name go; it is counted, and not quoted in a log."""
    faults.reset_faults()
    taken: list[Any] = []

    class Inner(SpanPipeline):
        def on_end(self, span: Any) -> None:
            taken.append(span)

    pipeline = SpanPipeline(Inner(None), on_end=[Redaction([], functions=[answer])])  # type: ignore[arg-type]
    with caplog.at_level("DEBUG", "otel_llm"):
        pipeline.on_end(
            make_span(
                "canary name",
                attributes={"input.value": "canary", semconv.TENANT_ID: "acme", semconv.USAGE_INPUT: 3},
                status=Status(StatusCode.ERROR, "canary"),
                events=(Event("exception", {semconv.EXCEPTION_TYPE: "E", semconv.EXCEPTION_MESSAGE: "canary"}),),
            )
        )
    (span,) = taken
    assert "canary" not in span.to_json()
    assert "canary" not in caplog.text
    assert (span.attributes[semconv.TENANT_ID], span.attributes[semconv.USAGE_INPUT]) == ("acme", 3)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.events[0].attributes) == {semconv.EXCEPTION_TYPE: "E"}
    assert faults.fault_counts() == {"end stage redaction": 1}
    faults.reset_faults()


def test_secrets_of_the_process_are_found_by_value() -> None:
    """Keys without a format, from settings, environment and proxy addresses, are found as they are and encoded."""
    from otel_llm.config import load

    environ = {"AZURE_API_KEY": "plain/canary+value1", "HTTPS_PROXY": "http://me:proxycanary1@h:1", "CI_TOKEN": "short"}
    secrets = secrets_of(load({"opik_api_key": "opikcanaryvalue1"}, environ=environ), environ)
    assert secrets == ["opikcanaryvalue1", "plain/canary+value1", "proxycanary1"]
    text = "plain/canary+value1 plain%2Fcanary%2Bvalue1 opikcanaryvalue1 proxycanary1 short"
    assert redacted(text, "keys", secrets=secrets) == "<key> <key> <key> <key> short"


SECRETS = [
    KEY,
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "ya29.abcdefghijklmnopqrstu",
    "hf_abcdefghijklmnopqrstuvwx",
    "github_pat_abcdefghijklmnopqrst",
    "xoxb-123456-abcdef",
    "sk_live_abcdefghij12",
    "abcdefgh12*eyJhbGciOiJI",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_def-123",
]
SAID = [
    ("Authorization: Bearer ", "abc/DEF123456"),
    ("basic ", "dXNlcjpwYXNz"),
    ("authorization by token ", "ABCdef12345"),
    ("api_key = ", "abcdefgh12"),
    ("PASSWORD='", "hunter2hunter2"),
    ("Incorrect API key provided: ", "abc12345def"),
    ("Wrong password provided: ", "abc12345def"),
    ("invalid credentials provided: ", "abc12345def"),
    ("credentials: '", "abcd1234efgh"),
    ("access_to\u212aen=", "abcdefgh12"),
    ("https://h/p?a=1&X-Amz-Signature=", "abcdef"),
    ("http://", "me:p@ss@proxy"),
    ("-----BEGIN RSA ", "PRIVATE KEY-----\nMIIabc"),
]


@pytest.mark.parametrize("detectors", [("keys", "jwt"), EVERYTHING])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_secret_is_found_however_the_text_around_it_is_written(
    detectors: tuple[str, ...], data: st.DataObject
) -> None:
    """In prose, in JSON in any spelling, in JSON inside of JSON, beside other alphabets: the secret is gone."""
    lead, secret = data.draw(st.sampled_from([("", secret) for secret in SECRETS] + SAID))
    around = st.sampled_from(
        ["", " ", "\n", "é ", "中文 ", "İ ", '"', "many words: see a-b_c@d = 9 ", "- " * 40, ": " * 40]
    )
    text = data.draw(around) + lead + secret + data.draw(st.sampled_from(["", " ", "\n", " é", '"', ", and more"]))
    for _ in range(data.draw(st.integers(0, 3))):
        text = json.dumps({"content": text}, ensure_ascii=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            text = text.replace("/", "\\/")
    spelt = data.draw(st.integers(0, 2)) == 0 and text.startswith("{")
    if spelt:
        at = text.index(lead + secret) if lead + secret in text else -1
        text = text.replace(lead + secret, "".join(f"\\u{ord(one):04x}" for one in lead + secret)) if at >= 0 else text
    outcome = redacted(text, *detectors)
    flat = outcome
    while flat.startswith("{"):
        flat = json.loads(flat)["content"]
    assert secret not in flat


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api_key = hunter2hunter2", "api_key = <key>"),
        ("Cookie=aaaabbbb1111", "Cookie=<key>"),
        ('{"password": "abc"}', '{"password": "<key>"}'),
        ('{"password"  :\n "abc"}', '{"password"  :\n "<key>"}'),
        ("sk-ab…[truncated, 90 characters]", "<key>…[truncated, 90 characters]"),
    ],
)
def test_keys_that_only_their_name_tells_are_found_by_the_detector_of_keys_alone(text: str, expected: str) -> None:
    """No other detector has to be switched on for it."""
    assert redacted(text, "keys") == expected


HOSTILE = [
    "a",
    "1",
    "sk-",
    "eyJ",
    "eyJ.",
    "@",
    "a.",
    "a@",
    "://",
    "-",
    "_",
    "AB12",
    "1 ",
    ":",
    "1:",
    "1.",
    "\\n",
    "key=",
]
HOSTILE += [
    "-----BEGIN PRIVATE KEY-----",
    "api_key=",
    "api_key: ",
    '"',
    "{",
    "password=(",
    "a@a.",
    "+1",
    "data:a/b;base64,",
]


pieces = st.one_of(
    st.sampled_from(
        sorted(
            {literal for detector in DETECTORS.values() for way in detector.patterns for literal in way.sign.literals}
            | {"api_key", "token", "secret_key", "password", "cookie", "credentials", "Authorization"}
            | {"Bearer ", "Basic "}
            | {KEY, "AbCd0123456789abcdef", "plainword", "ann@example.org", "4111 1111 1111 1111", "10.1.2.3", "://"}
            | {"DE89 3704 0044 0532 0130 00", "+49 151 2345 6789", "2001:db8::1", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.abc"}
        )
    ),
    st.sampled_from([" ", "=", ":", ": ", '"', "\\n", "\n", " provided: ", "&", ".", "-", "İ"]),
    st.text(max_size=6),
)


@pytest.mark.parametrize("name", DETECTORS)
@settings(max_examples=300)
@given(st.lists(pieces, max_size=12).map("".join))
def test_what_a_quick_look_rules_out_is_not_there(name: str, text: str) -> None:
    """A detector that looks for literals first, because that is fast, finds what its expressions find by themselves."""
    detector = DETECTORS[name]

    def placeholder(match: re.Match[str]) -> str:
        found = detector.check(match)
        if found is None:
            return match.group()
        return f"{match.string[match.start() : found.start]}<{detector.label}>{match.string[found.end : match.end()]}"

    slowly = text
    for way in detector.patterns:
        slowly = way.regex.sub(placeholder, slowly)
    assert detector.replace(text, lambda label, _: f"<{label}>") == slowly


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_is_searched_in_linear_time(piece: str) -> None:
    """A quarter of a megabyte of the beginnings of everything is searched in time; quadratic would take hours."""
    draft = SpanDraft(make_span(attributes={"text": "token=key:sk-@ " + piece * (262_144 // len(piece))}))
    Redaction(EVERYTHING)(InlineMedia()(draft))
    assert draft.attributes["text"]


def test_long_base64_becomes_type_size_and_hash() -> None:
    """Images of other instrumentations leave as a description, and their JSON stays valid."""
    data = "iVBORw0KGgo" * 200
    value = json.dumps({"url": f"data:image/png;base64,{data}", "raw": data, "word": "w" * 500})
    draft = InlineMedia()(SpanDraft(make_span(attributes={"input.value": value})))
    made = json.loads(draft.attributes["input.value"])
    assert made["url"].startswith("<image/png, 1650 bytes, sha256 of base64 ")
    assert made["raw"].startswith("<base64, 1650 bytes")
    assert made["word"] == "w" * 500
