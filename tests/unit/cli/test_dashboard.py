"""The pages of `otel-llm dashboard`, fetched over HTTP from a real store and read as a browser reads them."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from otel_llm import cli, semconv
from otel_llm.cli.usage import parse_moment
from otel_llm.store import db
from otel_llm.store.usage import UsageRow, usage
from tests.unit.cli.browsing import Answer, Browser, Node, browsing
from tests.unit.cli.test_usage import stored
from tests.unit.store.building import HOUR, MS, NOON, call, span, used
from tests.unit.store.test_overview import mixed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE = bytes(range(1, 17))
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt;"
"""What wants to be more than text wherever it stands: in an element, in an attribute, already escaped."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of calls of all kinds, more than one page of them."""
    return stored(tmp_path_factory.mktemp("store") / "store.db", *mixed(300))


@pytest.fixture(scope="module")
def browser(store: Path) -> Iterator[Browser]:
    """A browser in front of that store."""
    with browsing(store) as found:
        yield found


def cells(row: Node) -> list[Node]:
    """The cells of a line of a table."""
    return [child for child in row.children if child.tag in {"th", "td"}]


def lines(table: Node) -> list[Node]:
    """The lines of a table without its head."""
    return table.one("tbody").all("tr")


def headings(table: Node) -> list[str]:
    """What stands above the columns."""
    return [cell.text for cell in table.one("thead").all("th")]


def number_of(row: UsageRow, heading: str) -> object:
    """What the column of this heading is to show exactly; None for a dash."""
    fields = {
        "calls": row.calls,
        "errors": row.errors,
        "tokens in": row.input_tokens,
        "tokens out": row.output_tokens,
        "cost": row.cost_usd,
        "no price": row.unknown_cost_calls,
        "hits": row.cache_hits,
        "p50": row.latency_p50_ms,
        "p95": row.latency_p95_ms,
        "first chunk": row.ttft_p50_ms,
    }
    value = fields[heading]
    return Decimal(repr(value)) if isinstance(value, float) else value


# --- the overview ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {"since": "all"},
        {"since": "all", "tenant": "t1"},
        {"since": "2026-11-02T03:00:00Z", "model": "claude"},
        {"since": "2026-11-02", "until": "2026-11-03T05:00:00+01:00"},
    ],
    ids=str,
)
def test_the_overview_shows_what_usage_says(browser: Browser, store: Path, chosen: dict[str, str]) -> None:
    """Every number of totals and tables is, to the last digit, the one of `otel-llm usage` for the same filter."""
    same = {
        name: parse_moment(value) if name in {"since", "until"} else value
        for name, value in chosen.items()
        if value != "all"
    }
    page = browser.page("/?" + "&".join(f"{name}={quote(value)}" for name, value in {**chosen, "by": "user"}.items()))
    totals = usage(store, (), **same).totals
    cards = {card.attributes["data-name"]: card for card in page.all("div") if card.attributes.get("data-name")}
    for name, heading in (("latency p50", "p50"), ("first chunk p50", "first chunk"), ("cache hits", "hits")):
        assert cards[name].one("p", class_="value").number == number_of(totals, heading)
    for name in ("calls", "errors", "tokens in", "tokens out", "cost"):
        assert cards[name].one("p", class_="value").number == number_of(totals, name)
    assert f"{totals.error_rate:.1%} of calls" in cards["errors"].text
    assert f"{totals.unknown_cost_calls} without a price" in cards["cost"].text
    assert cards["latency p50"].one("p", class_="note").number == number_of(totals, "p95")
    for name in ("tenant", "model", "user"):
        table = page.one("table", data_by=name)
        for line, row in zip(lines(table), usage(store, (name,), **same).rows, strict=True):
            label, *numbers = cells(line)
            assert label.text == (row.labels[name] or "-")
            shown = headings(table)[1:]
            assert [cell.number for cell in numbers] == [number_of(row, heading) for heading in shown]


def test_an_unknown_cost_is_a_dash_and_never_zero(tmp_path: Path) -> None:
    """A call without a price has no cost on any page, and a free one has zero."""
    calls = (call("priceless", attributes=used(1, 2, None)), call("free", attributes=used(1, 2, 0.0)))
    with browsing(stored(tmp_path / "s.db", *calls)) as browser:
        page = browser.page("/?since=all")
        costs = {cells(line)[0].text: cells(line)[5].text for line in lines(page.one("table", data_by="tenant"))}
        assert costs == {"priceless": "-", "free": "$0.00"}
        found = {cells(line)[2].text: cells(line)[6].text for line in lines(browser.page("/calls").one("table"))}
        assert found == {"priceless": "no price", "free": "$0.00"}


def test_labels_and_bars_lead_to_their_calls(browser: Browser, store: Path) -> None:
    """Each name in a table, and each bar, links to a list of exactly the calls it stands for."""
    page = browser.page("/?since=all&by=user")
    for table in page.all("table"):
        for line in lines(table):
            label, count, *_ = cells(line)
            if label.all("a"):
                href = label.one("a").attributes["href"] or ""
                assert len(all_calls(browser, href)) == count.number, href
    charts = page.all("figure")
    assert len(charts) == 2
    bars = [link.attributes["href"] or "" for link in charts[0].all("a") if "href" in link.attributes]
    assert sum(len(all_calls(browser, bar)) for bar in bars) == usage(store, ()).totals.calls


def all_calls(browser: Browser, href: str) -> list[str]:
    """The addresses of the traces of all calls of a list, page after page."""
    found: list[str] = []
    while True:
        page = browser.page(href)
        found += [cells(line)[0].one("a").attributes["href"] or "" for line in lines(page.one("table"))]
        older = page.all("a", rel="next")
        if not older:
            return found
        href = older[0].attributes["href"] or ""


def test_a_long_table_ends_with_the_command_that_prints_it_all(tmp_path: Path) -> None:
    """Of many tenants the most expensive are shown, and how to see the others."""
    calls = [call(f"t{number}", attributes=used(1, 1, number / 100)) for number in range(1, 41)]
    with browsing(stored(tmp_path / "s.db", *calls)) as browser:
        page = browser.page("/?since=2026-01-01")
    assert [cells(line)[0].text for line in lines(page.one("table", data_by="tenant"))][:2] == ["t40", "t39"]
    assert "15 more; all of them: otel-llm usage --by tenant --since 2026-01-01" in page.text


def test_the_command_that_prints_the_same_asks_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run as the page shows it, it counts the calls that the page counts, whatever is filtered by."""
    attributes = {semconv.USER_ID: "--json", semconv.SESSION_ID: "it's mine"}
    made = [call("all", attributes=attributes), call("all"), call("acme", attributes=attributes)]
    store = stored(tmp_path / "s.db", *made)
    asked = "since=all&tenant=all&user=--json&session=it%27s+mine&provider=openai&operation=chat&service=shop"
    with browsing(store) as browser:
        shown = browser.page(f"/?{asked}").text
    command = shown.split("The same numbers in a terminal: ")[1].splitlines()[0]
    words = shlex.split(command.split("Store ")[0])
    assert words[-2:] == ["--store", str(store)]  # another terminal may be told of another store
    assert cli.main([*words[1:], "--csv", "--by", ""]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("1,")


# --- the list of calls ----------------------------------------------------------------------------------------


def test_pages_of_calls_go_on_where_the_last_one_ended(browser: Browser, store: Path) -> None:
    """Following `older` shows each call once, fifty at a time, newest first."""
    found = all_calls(browser, "/calls")
    with closing(sqlite3.Connection(store)) as connection:
        sql = "SELECT trace_id, span_id FROM spans WHERE is_call = 1 ORDER BY start_ns DESC, id DESC"
        expected = [f"/trace/{trace}?span={own}#span" for trace, own in connection.execute(sql)]
    assert found == expected
    assert len(lines(browser.page("/calls").one("table"))) == 50


def test_the_form_asks_for_what_was_asked(browser: Browser) -> None:
    """Fields keep what they filter by, each filter can be taken away, and calls that match are shown."""
    page = browser.page("/calls?since=all&tenant=t1&status=error&user=u1&model=&trace=")
    rows = lines(page.one("table"))
    assert rows
    assert {(cells(line)[2].text, cells(line)[3].text, cells(line)[10].text) for line in rows} == {
        ("t1", "u1", "Timeout")
    }
    form = page.one("form")
    assert form.one("input", name="tenant").attributes["value"] == "t1"
    assert form.one("option", value="error").attributes.get("selected", "no") is None
    without = [link.attributes["href"] or "" for link in page.one("p", class_="chips").all("a")]
    assert [set(parse_qs(urlsplit(href).query)) for href in without] == [
        {"since", "user", "status"},
        {"since", "tenant", "status"},
        {"since", "tenant", "user"},
    ]


def test_a_trace_is_found_by_its_id_in_any_form(tmp_path: Path) -> None:
    """Hex digits of either case, or the UUID that Opik shows, filter the list by the same trace, and have its page."""
    with browsing(stored(tmp_path / "s.db", call(trace_id=TRACE), call())) as browser:
        hexed = TRACE.hex()
        uuid = f"{hexed[:8]}-{hexed[8:12]}-{hexed[12:16]}-{hexed[16:20]}-{hexed[20:]}"
        for written in (hexed, hexed.upper(), uuid):
            assert len(lines(browser.page(f"/calls?trace={written}").one("table"))) == 1
            assert f"Trace {hexed}" in browser.page(f"/trace/{written}").text


# --- one trace ------------------------------------------------------------------------------------------------


def conversation_span(**fields: object) -> Span:
    """A call with recorded content of every sort."""
    said = [
        {"role": "user", "parts": [{"type": "text", "content": "What is\n  the weather?"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "weather", "arguments": '{"city":"Rome"}'}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "sunny"}]},
    ]
    attributes = {
        **used(10, 20, 0.1),
        semconv.SYSTEM_INSTRUCTIONS: json.dumps([{"type": "text", "content": "Be brief."}]),
        semconv.INPUT_MESSAGES: json.dumps(said),
        semconv.OUTPUT_MESSAGES: json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": "Sunny."}], "finish_reason": "stop"}]
        ),
    }
    made = call(attributes=attributes, **fields)
    event = made.events.add(name="retry", time_unix_nano=made.start_time_unix_nano + 5 * MS)
    event.attributes.add(key="after").value.string_value = "429"
    return made


def test_a_trace_shows_its_tree_and_one_span_in_full(tmp_path: Path) -> None:
    """Spans are indented below their parents with a bar each; the chosen one has messages, events, attributes."""
    root = span(trace_id=TRACE, span_id=b"root----", name="handle order", ms=200)
    child = conversation_span(trace_id=TRACE, parent_span_id=b"root----", start=NOON + 50 * MS, ms=100)
    with browsing(stored(tmp_path / "s.db", root, child)) as browser:
        page = browser.page(f"/trace/{TRACE.hex()}")
        first, second = lines(page.one("table", class_="tree"))
        assert [cells(line)[0].attributes["class"] for line in (first, second)] == ["d0", "d1"]
        assert [cells(line)[0].one("a").text for line in (first, second)] == ["handle order", "chat gpt-4o"]
        bar = second.one("rect").attributes
        assert (float(bar["x"] or 0), float(bar["width"] or 0)) == (250.0, 500.0)
        span_page = page.one("section", id="span")
        messages = [(block.text) for block in span_page.one("section", class_="messages").all("pre")]
        assert messages[:2] == ["Be brief.", "What is\n  the weather?"]
        assert "Rome" in messages[2]
        assert "sunny" in messages[3]
        assert messages[4] == "Sunny."
        assert "finish reason: stop" in span_page.text
        assert "Event retry, after 5 ms" in span_page.text
        assert "429" in span_page.text
        assert semconv.USAGE_INPUT in [name.text for name in span_page.all("dt")]
        other = browser.page(first.one("a").attributes["href"] or "").one("section", id="span")
        assert other.one("h2").text == "handle order"
        assert other.all("section", class_="messages") == []


def test_without_content_the_page_says_how_to_record_it(tmp_path: Path) -> None:
    """A call without messages is no riddle: content is off by default, and one setting turns it on."""
    with browsing(stored(tmp_path / "s.db", call(trace_id=TRACE))) as browser:
        assert "OTEL_LLM_CONTENT=on" in browser.page(f"/trace/{TRACE.hex()}").text


def test_a_span_whose_body_is_gone_is_still_shown(tmp_path: Path) -> None:
    """Where the size limit took attributes, numbers are left, and a sentence that says so."""
    path = stored(tmp_path / "s.db", conversation_span(trace_id=TRACE))
    with closing(sqlite3.Connection(path)) as connection, connection:
        connection.execute("DELETE FROM span_bodies")
    with browsing(path) as browser:
        page = browser.page(f"/trace/{TRACE.hex()}")
    assert "Only the numbers of this span are stored" in page.text
    assert "$0.100" in page.text


@pytest.mark.parametrize(
    "content",
    [
        "plain words",
        "[not json",
        "[]",
        "{}",
        "[1, 2]",
        '[{"role": 5, "parts": {"type": 7}}]',
        '[{"parts": [null, 3, {"type": null, "content": 1}]}]',
        '[{"role": "user", "content": "gen A"}]',
        "[" * 5000,
        '[{"role":"user","parts":[{"type":"text","content":"\\ud800 half"}]}]',
        "[" + "9" * 5000 + "]",
        "\x00\x1b[2J\u202e",
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_any_content_is_shown_in_some_way(tmp_path: Path, content: str) -> None:
    """What is no message of the conventions, or no JSON at all, is shown as it is and breaks nothing."""
    facts = {semconv.INPUT_MESSAGES: content, "list": [1, "two"], "whole": content}
    with browsing(stored(tmp_path / "s.db", call(trace_id=TRACE, attributes=facts))) as browser:
        page = browser.page(f"/trace/{TRACE.hex()}")
    assert page.one("section", class_="messages").one("h3").text == "Input"
    assert "\x00" not in page.text
    assert "\x1b" not in page.text


def test_pages_stay_small_whatever_was_recorded(tmp_path: Path) -> None:
    """Huge messages, many attributes, events and spans are cut, and the page says what is missing."""
    huge = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "x" * 2_000_000}]}] * 3)
    facts = {semconv.INPUT_MESSAGES: huge, **{f"key {number}" + "k" * 5000: "v" * 9000 for number in range(700)}}
    big = call("t" * 3000, "m" * 3000, attributes=facts, trace_id=TRACE, span_id=b"big-----")
    for number in range(2000):
        big.events.add(name=f"event {number}" + "e" * 3000, time_unix_nano=NOON)
    others = [span(trace_id=TRACE, name="n" * 2000, parent_span_id=b"big-----") for _ in range(1500)]
    with browsing(stored(tmp_path / "s.db", big, *others)) as browser:
        answer = browser.ask(f"/trace/{TRACE.hex()}?span={b'big-----'.hex()}")
        assert answer.status == 200
        assert len(answer.body) < 1_500_000
        assert "1,000 spans (the first of them; the others are in the store)" in answer.text
        assert "more characters are in the store" in answer.text
        assert "405 more entries are in the store" in answer.text
        assert "1,700 more events are in the store" in answer.text
        assert len(browser.ask("/?since=all").body) < 200_000
        assert len(browser.ask("/calls").body) < 200_000


# --- hostile input --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evil_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A store in which everything that a program can name is an attack."""
    facts = {
        **used(1, 2, None),
        semconv.PROVIDER_NAME: EVIL,
        semconv.RESPONSE_MODEL: EVIL + "2",
        semconv.USER_ID: EVIL,
        semconv.SESSION_ID: EVIL,
        semconv.INPUT_MESSAGES: json.dumps(
            [{"role": EVIL, "parts": [{"type": "text", "content": EVIL}, {"type": EVIL, "name": EVIL}]}]
        ),
        semconv.OUTPUT_MESSAGES: EVIL,
        EVIL: EVIL,
    }
    made = call(EVIL, EVIL, attributes=facts, error=EVIL, trace_id=TRACE)
    made.name = EVIL
    made.status.message = EVIL
    made.events.add(name=EVIL, time_unix_nano=NOON).attributes.add(key=EVIL).value.string_value = EVIL
    link = made.links.add(trace_id=TRACE, span_id=b"12345678")
    link.attributes.add(key=EVIL).value.string_value = EVIL
    with browsing(stored(tmp_path_factory.mktemp("evil") / "s.db", made)) as found:
        yield found


@pytest.mark.parametrize(
    "path",
    [
        "/?since=all&by=user",
        "/?since=all&by=session",
        f"/?since=all&tenant={quote(EVIL)}",
        f"/?since={quote(EVIL)}",
        f"/?{quote(EVIL)}=1",
        "/calls",
        f"/calls?tenant={quote(EVIL)}&model={quote(EVIL)}&user={quote(EVIL)}",
        f"/calls?status={quote(EVIL)}",
        f"/calls?trace={quote(EVIL)}",
        f"/trace/{TRACE.hex()}",
        f"/trace/{quote(EVIL)}",
        f"/{quote(EVIL)}",
    ],
)
def test_nothing_recorded_or_asked_becomes_markup(evil_browser: Browser, path: str) -> None:
    """No script but ours, no handler, no style, no image, and no link that leaves the dashboard, on any page."""
    answer = evil_browser.ask(path)
    assert answer.status in {200, 400, 404}
    page = answer.page
    assert [script.attributes.get("src") for script in page.all("script")] == ["/refresh.js"]
    assert page.all("img") == page.all("iframe") == page.all("b", onerror="") == []
    for element in page.all():
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            target = element.attributes.get(name, "/")
            assert target is not None
            assert target.startswith("/")
            assert not target.startswith("//")
    assert "alert(1)" not in answer.body.decode().replace("&lt;script&gt;alert(1)&lt;/script&gt;", "").replace(
        quote("<script>alert(1)</script>"), ""
    ).replace("%3Cscript%3Ealert%281%29%3C%2Fscript%3E", "")


def test_what_was_recorded_is_read_as_it_was(evil_browser: Browser) -> None:
    """Escaping loses nothing: the very text stands on the page, and links with it find the call again."""
    table = evil_browser.page("/?since=all").one("table", data_by="tenant")
    (line,) = lines(table)
    assert cells(line)[0].text == EVIL
    found = evil_browser.page(cells(line)[0].one("a").attributes["href"] or "")
    assert cells(lines(found.one("table"))[0])[2].text == EVIL
    trace = evil_browser.page(f"/trace/{TRACE.hex()}")
    assert EVIL in [block.text for block in trace.all("pre")]
    assert EVIL in [name.text for name in trace.all("dt")]


# --- bad questions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/?since=yesterday", "write for example 24h"),
        ("/?since=", None),
        ("/?since=2026-11-02&until=2026-11-01", "is not before"),
        ("/?tenat=acme", "Did you mean 'tenant'?"),
        ("/?by=day", "none of provider"),
        ("/?tenant=a&tenant=b", "given twice"),
        (f"/?tenant={'a' * 2000}", "longer than 1024"),
        ("/?" + "&".join(f"x{number}=1" for number in range(99)), "cannot be read"),
        ("/?tenant=%ff", "cannot be read"),
        ("/?status=error", "no field 'status'"),
        ("/calls?status=maybe", "none of error, ok"),
        ("/calls?before=1", "no place in the list"),
        ("/calls?before=-1-2", "no place in the list"),
        (f"/calls?before={2**63}-1", "no place in the list"),
        (f"/calls?before={'9' * 5000}-1", "longer than"),
        ("/calls?trace=xyz", "no id of 32 hex digits"),
        (f"/trace/{'a' * 32}?span=1", "no id of 16 hex digits"),
        (f"/trace/{'a' * 32}?since=1h", "no field 'since'"),
        ("/?since=99999999999999999999d", "not a moment"),
    ],
)
def test_a_bad_question_is_answered_with_what_is_wrong(browser: Browser, path: str, why: str | None) -> None:
    """400 and one sentence; fields that a form sends empty are no questions at all."""
    answer = browser.ask(path)
    assert answer.status == (200 if why is None else 400), answer.text
    assert "Traceback" not in answer.text
    if why is not None:
        assert why in answer.text
        assert answer.page.all("a", href="/")


@pytest.mark.parametrize(
    "path", ["/nothing", "/trace/", "/trace/xyz", "/trace/" + "0" * 32, "/../../etc/passwd", "/style.css/"]
)
def test_what_is_not_there_is_said_to_be_not_there(browser: Browser, path: str) -> None:
    """404 with a way back; no file but the three of the dashboard can be had."""
    answer = browser.ask(path)
    assert answer.status == 404
    assert answer.page.all("a")


# --- the store in any state -----------------------------------------------------------------------------------


def test_no_store_yet_says_how_to_begin_and_shows_it_once_it_is_there(tmp_path: Path) -> None:
    """A dashboard may be opened before the first program ran; the page renews itself and then shows the calls."""
    with browsing(tmp_path / "none" / "store.db") as browser:
        answer = browser.ask("/")
        assert answer.status == 503
        assert "There is no local store at" in answer.text
        assert "otel-llm demo" in answer.text
        assert answer.page.one("main").attributes["data-refresh"] == "5"
        stored(tmp_path / "none" / "store.db", call())
        assert "By tenant" in browser.ask("/?since=all").text


def test_an_empty_store_says_where_calls_come_from(tmp_path: Path) -> None:
    """A store with spans and no calls, and one without anything, name the commands that record some."""
    with browsing(stored(tmp_path / "s.db", span())) as browser:
        for path in ("/", "/calls"):
            text = browser.ask(path).text
            assert "No calls are recorded here yet" in text
            assert "otel-llm demo" in text
            assert "otel-llm run python app.py" in text


def test_a_period_without_calls_leads_to_one_with_some(browser: Browser) -> None:
    """Who looks at the last hour, and has calls of last week, is led there."""
    page = browser.page("/?since=2020-01-01&until=2020-01-02")
    assert "No calls from 2020-01-01 until 2020-01-02" in page.text
    there = next(link for link in page.all("a") if link.text == "Show that day").attributes["href"] or ""
    assert "By tenant" in browser.page(there).text


def test_a_store_of_a_newer_version_says_upgrade(tmp_path: Path) -> None:
    """What this version cannot read is left alone, and the page says why and what to do."""
    path = stored(tmp_path / "s.db", call())
    with closing(sqlite3.Connection(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with browsing(path) as browser:
        answer = browser.ask("/calls")
    assert answer.status == 503
    assert "newer than the" in answer.text
    assert "Upgrade this installation" in answer.text


@pytest.mark.parametrize("path", ["/", "/calls", f"/trace/{TRACE.hex()}"])
def test_a_damaged_store_is_a_page_not_a_traceback(
    tmp_path: Path, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Zeros, or another kind of file, in the place of the store: what failed, why, and what examines it."""
    store = stored(tmp_path / "s.db", *(call() for _ in range(200)))
    size = store.stat().st_size
    with store.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with browsing(store) as browser:
        damaged = browser.ask(path)
        store.write_bytes(b"this is no database at all" * 100)
        other = browser.ask(path)
    for answer in (damaged, other):
        assert answer.status == 503, answer.text
        assert "cannot be read" in answer.text
        assert "otel-llm doctor --backend local" in answer.text
    assert capfd.readouterr() == ("", "")


def test_a_locked_store_is_said_to_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process keeps the whole file, the page says so instead of waiting for ever."""
    monkeypatch.setattr(db, "_READER_BUSY_SECONDS", 0.1)
    path = stored(tmp_path / "s.db", call())
    with closing(sqlite3.Connection(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        with browsing(path) as browser:
            answer = browser.ask("/calls")
    assert answer.status == 503
    assert "Another program has held it for long" in answer.text


def test_a_question_that_takes_too_long_is_a_page(store: Path) -> None:
    """The time limit of a question ends in a page that says to ask for less."""
    with browsing(store, seconds=0) as browser:
        answer = browser.ask("/?since=all")
    assert answer.status == 503
    assert "Ask for a shorter period" in answer.text


def test_pages_are_whole_while_a_program_writes(tmp_path: Path) -> None:
    """A writing process is not held up, calls never become fewer, and every page is of one moment."""
    path = stored(tmp_path / "s.db", call(attributes=used(1, 2, 0.001)))
    command = [sys.executable, "-m", "tests.unit.store.writing_process", str(path), "40", "25"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as writer, browsing(path) as browser:
        seen: list[Decimal] = []
        while writer.poll() is None:
            page = browser.page("/?since=all")
            calls, tokens = (
                page.one("div", data_name=name).one("p", class_="value").number for name in ("calls", "tokens in")
            )
            assert calls is not None
            assert calls == tokens
            seen.append(calls)
            browser.page("/calls")
        assert writer.returncode == 0, writer.stderr and writer.stderr.read().decode()
        assert seen == sorted(seen)
        assert browser.page("/?since=all").one("div", data_name="calls").number == 1001


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """No page writes into the store: its bytes are the same after every one of them."""
    path = stored(tmp_path / "s.db", conversation_span(trace_id=TRACE), call(start=NOON + HOUR))
    before = path.read_bytes()
    with browsing(path) as browser:
        answers: list[Answer] = [browser.ask(it) for it in ("/", "/?since=all", "/calls", f"/trace/{TRACE.hex()}")]
    assert [answer.status for answer in answers] == [200] * 4
    assert path.read_bytes() == before


def test_a_name_cannot_be_shown_as_another(tmp_path: Path) -> None:
    """Characters that turn the direction of writing are spelt out, as in a terminal."""
    with browsing(stored(tmp_path / "store.db", call("\u202eemca", "m", start=NOON))) as browser:
        page = browser.page("/?since=all").text
    assert "\\u202eemca" in page
    assert "\u202e" not in page
