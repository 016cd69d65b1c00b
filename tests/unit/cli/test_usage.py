"""`otel-llm usage`, run as a person, a pipe and a spreadsheet run it."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import pty
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_llm import cli, semconv
from otel_llm.backends.local import LocalBackend
from otel_llm.cli.tables import Column, safe_text, write_csv, write_table
from otel_llm.cli.usage import to_json
from otel_llm.contracts import Delivered
from otel_llm.store.dashboard.question import SHARED
from otel_llm.store.human import human_count, human_duration, human_usd
from otel_llm.store.moments import parse_moment
from tests.unit.store.building import HOUR, NOON, batch_of, call, used

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

COMMAND = [sys.executable, "-c", "import sys; from otel_llm.cli import main; sys.exit(main())", "usage"]
DAY = 24 * HOUR


def stored(path: Path, *spans: Span) -> Path:
    """Put `spans` into the store at `path`."""
    backend = LocalBackend(path, min_free_bytes=0)
    assert backend.send(batch_of(*spans), timeout=10) == Delivered(len(spans))
    backend.close()
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four calls of two tenants on two days."""
    return stored(
        tmp_path / "store.db",
        call("acme", "gpt-4o", ms=100, attributes=used(1_000_000, 5, 0.1)),
        call("acme", "gpt-4o", ms=2500, attributes=used(234_567, 6, 0.2), start=NOON + DAY),
        call("globex", "claude", ms=50, attributes=used(7, 8, None)),
        call("globex", "claude", ms=70, error="Timeout"),
    )


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run `otel-llm usage` in this process: exit code, stdout, stderr. Captured, so not a terminal."""
    try:
        code = cli.main(["usage", *map(str, words)])
    except SystemExit as leaving:  # argparse
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def on_a_terminal(*words: object) -> str:
    """Run `otel-llm usage` with a pseudo terminal for stdout, and return what appears on it."""
    ours, theirs = pty.openpty()
    wide = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen([*COMMAND, *map(str, words)], stdout=theirs, stderr=subprocess.DEVNULL, env=wide):
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # the other end is closed: all has been read
            pass
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


# --- forms ----------------------------------------------------------------------------------------------------


def test_json_has_numbers_as_numbers_and_exact_money(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0.1 + 0.2 reads as 0.3 in the text itself; totals and rows carry every number under one set of names."""
    code, out, err = run(capsys, "--store", store, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out, parse_float=Decimal)
    assert report["group_by"] == ["tenant", "model"]
    acme, globex = report["rows"]
    assert (acme["tenant"], acme["model"]) == ("acme", "gpt-4o")
    assert (acme["cost_usd"], acme["cost_nano_usd"]) == (Decimal("0.3"), 300_000_000)
    assert (acme["calls"], acme["input_tokens"], acme["latency_p95_ms"]) == (2, 1_234_567, 2500)
    assert (globex["cost_usd"], globex["unknown_cost_calls"], globex["errors"]) == (None, 1, 1)
    assert globex["error_rate"] == Decimal("0.5")
    assert report["totals"]["calls"] == 4
    assert set(acme) - {"tenant", "model"} == set(report["totals"])


def test_json_keeps_digits_that_a_double_would_lose() -> None:
    """Money beyond a double's precision is printed in full, and text of any kind stays valid JSON."""
    exact = Decimal("123456789.123456789")
    text = to_json({"cost": exact, "rows": [], "who": 'a"\n雪', "list": [{"x": None}]})
    assert json.loads(text, parse_float=Decimal) == {"cost": exact, "rows": [], "who": 'a"\n雪', "list": [{"x": None}]}


def test_a_pipe_gets_every_digit_and_no_escape_sequences(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Piped, the table has full numbers, the names that JSON uses, a totals line, and nothing but printable text."""
    code, out, _ = run(capsys, "--store", store)
    assert code == 0
    assert "\x1b" not in out
    head, rule, acme, globex, _, total = out.splitlines()
    assert head.split()[:6] == ["tenant", "model", "calls", "errors", "input_tokens", "output_tokens"]
    assert set(rule) == {"-", " "}
    named = dict(zip(head.split(), acme.split(), strict=True))
    assert (named["tenant"], named["input_tokens"], named["cost_usd"]) == ("acme", "1234567", "0.3")
    assert dict(zip(head.split(), globex.split(), strict=True))["cost_usd"] == "-"
    assert total.split()[:2] == ["total", "4"]


def test_a_terminal_gets_units_and_only_columns_that_say_something(store: Path) -> None:
    """At a terminal counts, money and times are short, empty columns are left out, unknown prices are explained."""
    shown = on_a_terminal("--store", store)
    assert re.search(r"acme +gpt-4o +2 +0 +1\.23M +11 +\$0\.300", shown)
    assert "1 (50%)" in shown
    assert "2.5 s" in shown
    assert "reasoning" not in shown
    assert "first chunk" not in shown
    assert "price is not known" in shown


def test_csv_is_read_back_as_it_was(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per group, every digit, unknown as an empty cell."""
    code, out, _ = run(capsys, "--store", store, "--csv", "--by", "tenant")
    assert code == 0
    acme, globex = csv.DictReader(io.StringIO(out))
    assert (acme["tenant"], acme["cost_usd"], acme["input_tokens"]) == ("acme", "0.3", "1234567")
    assert (globex["cost_usd"], globex["unknown_cost_calls"]) == ("", "1")


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_csv_cells_cannot_be_taken_for_formulas(start: str) -> None:
    """Text that a spreadsheet would run is disarmed; numbers are left alone."""
    out = io.StringIO()
    write_csv(out, ["tenant", "number"], [[start + "SUM(A1)", -1], ["fine", None]])
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert rows == [["tenant", "number"], ["'" + start + "SUM(A1)", "-1"], ["fine", ""]]


@pytest.mark.parametrize("control", ["\r", "\n", "\r\n", "\t", "\x00"])
def test_a_csv_cell_cannot_begin_a_new_row(control: str) -> None:
    """A line break in a name does not let the rest of it stand at the beginning of a row, as a formula."""
    out = io.StringIO()
    write_csv(out, ["tenant", "number"], [[f"a,{control}=cmd", 1]])
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith('"a,\\')


def test_names_from_outside_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, newlines and direction marks in a tenant's name are spelt out; other scripts are shown."""
    store = stored(tmp_path / "s.db", call("\x1b[2Jevil\nline\u202e"), call("Bücher 雪"))
    _, out, _ = run(capsys, "--store", store, "--by", "tenant")
    assert "\\x1b[2Jevil\\nline\\u202e" in out
    assert "Bücher 雪" in out
    assert len(out.splitlines()) == 6


def test_wide_characters_keep_the_columns_straight() -> None:
    """A character that takes two columns counts as two, a combining one as none."""
    out = io.StringIO()
    write_table(out, [Column("name"), Column("n", numeric=True)], [["雪雪", "1"], ["e\u0301e\u0301ab", "22"]])
    assert out.getvalue() == "name   n\n----  --\n雪雪   1\ne\u0301e\u0301ab  22\n"
    assert safe_text("plain") == "plain"


def test_an_ascii_only_stream_gets_escapes_instead_of_an_error(tmp_path: Path) -> None:
    """A name that the output's encoding lacks does not end the command with a traceback."""
    store = stored(tmp_path / "s.db", call("雪"))
    command = [*COMMAND, "--store", str(store), "--by", "tenant"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert rb"\u96ea" in done.stdout


# --- questions ------------------------------------------------------------------------------------------------


def test_the_window_and_the_filters_choose_what_is_added(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--since, --until, --tenant, --model and --by reach the query."""

    def calls(*words: str) -> int:
        return int(json.loads(run(capsys, "--store", store, "--json", *words)[1])["totals"]["calls"])

    assert calls("--since", "2026-11-02") == 1
    assert calls("--until", "2026-11-02") == 3
    assert calls("--since", "2026-11-01T13:00:00+01:00", "--until", "2026-11-01T12:00:01Z") == 3
    assert calls("--tenant", "globex") == 2
    assert calls("--model", "gpt-4o") == 2
    by_day = json.loads(run(capsys, "--store", store, "--json", "--by", "day")[1])["rows"]
    assert [(row["day"], row["calls"]) for row in by_day] == [("2026-11-01", 3), ("2026-11-02", 1)]


@pytest.mark.parametrize(
    ("fact", "mine", "other", "attribute"),
    [
        ("provider", "aws.bedrock", "openai", semconv.PROVIDER_NAME),
        ("operation", "embeddings", "chat", semconv.OPERATION_NAME),
        ("user", "u1", "u2", semconv.USER_ID),
        ("session", "s1", "s2", semconv.SESSION_ID),
        ("tenant", "--json", "acme", semconv.TENANT_ID),
    ],
)
def test_each_fact_filters_alone_and_with_others(
    fact: str, mine: str, other: str, attribute: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only calls with the named value count, and what else is asked must hold as well."""
    store = stored(
        tmp_path / "s.db",
        call(model="m1", attributes={attribute: mine}),
        call(model="m2", attributes={attribute: mine}),
        call(model="m1", attributes={attribute: other}),
        call(model="m1"),
    )

    def models(*words: str) -> list[str]:
        found = json.loads(run(capsys, "--store", store, "--json", "--by", "model", *words)[1])
        assert found["totals"]["calls"] == sum(row["calls"] for row in found["rows"])
        return sorted(row["model"] for row in found["rows"] for _ in range(row["calls"]))

    assert models(f"--{fact}={mine}") == ["m1", "m2"]
    assert models(f"--{fact}={mine}", "--model", "m2") == ["m2"]
    assert models(f"--{fact}=nobody") == []


def test_a_service_is_one_of_many_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--service counts the calls of the programs of that name."""
    store = stored(tmp_path / "s.db", call("acme"))
    backend = LocalBackend(store, min_free_bytes=0)
    backend.send(batch_of(call("globex"), resource={semconv.SERVICE_NAME: "worker"}), timeout=10)
    backend.close()
    rows = json.loads(run(capsys, "--store", store, "--json", "--service", "worker")[1])["rows"]
    assert [row["tenant"] for row in rows] == ["globex"]


def test_usage_filters_by_what_the_dashboard_filters_by(capsys: pytest.CaptureFixture[str]) -> None:
    """Every field that the overview's address may have is an option of the same name."""
    _, out, _ = run(capsys, "--help")
    assert [name for name in SHARED if f"--{name} " not in out] == []


def test_the_configured_store_is_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --store the path comes from the configuration."""
    monkeypatch.chdir(tmp_path)
    path = stored(tmp_path / "mine.db", call("configured"))
    monkeypatch.setenv("OTEL_LLM_STORE_PATH", str(path))
    code, out, _ = run(capsys, "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["tenant"] == "configured"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-11-10T10:30:00+00:00"),
        ("24h", "2026-11-09T12:00:00+00:00"),
        ("7d", "2026-11-03T12:00:00+00:00"),
        ("2w", "2026-10-27T12:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T08:30", "2026-11-01T08:30:00+00:00"),
        ("2026-11-01T08:30:00Z", "2026-11-01T08:30:00+00:00"),
        ("2026-11-01T08:30:00+01:00", "2026-11-01T07:30:00+00:00"),
    ],
)
def test_moments_can_be_said_in_several_ways(text: str, expected: str) -> None:
    """Back from now, a date, or an ISO moment; what names no zone is UTC."""
    now = datetime(2026, 11, 10, 12, tzinfo=timezone.utc)
    assert parse_moment(text, now=now).isoformat() == expected


def test_a_moment_back_from_now_is_back_from_now() -> None:
    """Without `now` the clock is used."""
    before = datetime.now(timezone.utc)
    assert before <= parse_moment("1h") + timedelta(hours=1) <= datetime.now(timezone.utc)


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["yesterday", "24", "7 days", "2026-13-01", "999999w", "", "-1h"])
def test_a_wrong_moment_ends_with_an_example_of_a_right_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, nothing on stdout, and what could have been written."""
    code, out, err = run(capsys, f"--since={text}")
    assert (code, out) == (2, "")
    assert "24h, 7d, 2026-11-01" in err


def test_a_wrong_grouping_names_the_nearest_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a suggestion, or the whole list where nothing is near."""
    code, _, err = run(capsys, "--by", "tennant")
    assert (code, "did you mean 'tenant'" in err) == (2, True)
    code, _, err = run(capsys, "--by", "zzz")
    assert (code, "choose from tenant, model" in err) == (2, True)


def test_a_window_that_ends_before_it_begins_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, since the answer could only be nothing."""
    code, out, err = run(capsys, "--store", store, "--since", "2026-11-02", "--until", "2026-11-01")
    assert (code, out) == (2, "")
    assert "not before" in err


def test_no_store_yet_is_a_sentence_and_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that nothing has been recorded, where it looked, and what to do; it creates nothing."""
    code, out, err = run(capsys, "--store", tmp_path / "none.db")
    assert (code, out) == (1, "")
    assert str(tmp_path / "none.db") in err
    assert "otel-llm demo" in err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not taken for a broken disk, and the file in it is named."""
    code, out, err = run(capsys, "--store", store.parent)
    assert (code, out) == (1, "")
    assert f"is a directory, no local store. Name the file in it, for example {store}." in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full is a device of Linux")
def test_a_full_disk_is_a_sentence_and_no_traceback(store: Path) -> None:
    """Exit code 1, and nothing is said a second time at the end of the interpreter."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "--store", str(store)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "otel-llm: writing failed, because the disk is full. Free some space, and try again.\n"


def test_a_question_that_nothing_answers_says_so(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The form asked for is printed with nothing in it, a note goes to stderr, and the exit code is 0."""
    code, out, err = run(capsys, "--store", store, "--tenant", "nobody", "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["totals"]["calls"]) == (0, [], 0)
    assert "--tenant nobody" in err
    assert "--user nobody" in run(capsys, "--store", store, "--user", "nobody")[2]


def test_a_tenant_whose_calls_name_nobody_has_an_empty_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the spans do not say is null in JSON, not a made-up name; a missing tenant is the agreed `unknown`."""
    store = stored(tmp_path / "s.db", call(""))
    rows = json.loads(run(capsys, "--store", store, "--json", "--by", "tenant,user")[1])["rows"]
    assert [(row["tenant"], row["user"]) for row in rows] == [(semconv.UNKNOWN_TENANT, None)]


# --- units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (123_456, "123k"), (4_560_000, "4.56M")],
)
def test_counts_are_short(count: int, shown: str) -> None:
    """Three digits and a unit."""
    assert human_count(count) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "-"),
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.3", "$0.300"),
        ("0.0123456", "$0.0123"),
        ("0.000000015", "$0.0000000150"),
    ],
)
def test_money_is_short_but_never_rounded_to_nothing(amount: str | None, shown: str) -> None:
    """Cents for dollars, three significant digits below one."""
    assert human_usd(None if amount is None else Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("ms", "shown"), [(None, "-"), (0.5, "0.5 ms"), (850.4, "850 ms"), (1250.0, "1.25 s"), (125_000.0, "2 min 5 s")]
)
def test_durations_have_the_unit_that_fits(ms: float | None, shown: str) -> None:
    """Milliseconds, seconds, minutes."""
    assert human_duration(ms) == shown


def test_a_very_long_name_leaves_the_numbers_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal gets its beginning, a pipe all of it."""
    path = stored(tmp_path / "store.db", call("t" * 400, "m"))
    assert max(map(len, on_a_terminal("--store", path).splitlines())) < 160
    assert "t" * 400 in run(capsys, "--store", path)[1]


def test_a_store_that_this_user_may_not_look_at_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's state directory is no traceback; root, who may look at everything, is told so by the system."""

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "exists", closed)
    code, out, err = run(capsys, "--store", tmp_path / "store.db")
    assert (code, out) == (1, "")
    assert "this user may not enter its directory" in err
