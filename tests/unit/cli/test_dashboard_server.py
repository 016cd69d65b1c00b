"""Who gets an answer from `otel-llm dashboard`, with which headers, and how the command begins and ends."""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import otel_llm
from otel_llm import cli
from otel_llm.cli import dashboard
from otel_llm.cli.dashboard.access import Access, is_loopback
from tests.house.test_imports import loaded_after
from tests.unit.cli.browsing import Browser, browsing
from tests.unit.cli.test_usage import stored
from tests.unit.store.building import call

if TYPE_CHECKING:
    from collections.abc import Iterator

# Whoever runs the tests in the background has Ctrl-C ignored.
PROGRAM = (
    "import signal, sys; from otel_llm.cli import main; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
)
COMMAND = [sys.executable, "-c", PROGRAM, "dashboard"]
TRACE = bytes(range(1, 17))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one call, whose tenant is nobody else's business."""
    return stored(tmp_path_factory.mktemp("store") / "store.db", call("secret tenant", trace_id=TRACE))


@pytest.fixture(scope="module")
def browser(store: Path) -> Iterator[Browser]:
    """A browser that has been let in."""
    with browsing(store) as found:
        yield found


# --- headers and methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/calls", 200),
        (f"/trace/{TRACE.hex()}", 200),
        ("/nothing", 404),
        ("/?by=nothing", 400),
        ("/style.css", 200),
        ("/refresh.js", 200),
        ("/icon.svg", 200),
    ],
)
def test_every_answer_is_locked_down(browser: Browser, path: str, status: int) -> None:
    """Nothing is loaded from elsewhere, framed, kept, guessed at, or told to another site; HEAD says the same."""
    answer = browser.ask(path)
    assert answer.status == status
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "Python" not in answer.headers["Server"]
    assert int(answer.headers["Content-Length"]) == len(answer.body) > 0
    head = browser.ask(path, "HEAD")
    assert (head.status, head.body) == (status, b"")
    assert set(head.headers) == set(answer.headers)


def test_files_have_their_types(browser: Browser) -> None:
    """Style, script and icon are what the policy lets a browser take them for."""
    kinds = {
        path: browser.ask(path).headers["Content-Type"] for path in ("/", "/style.css", "/refresh.js", "/icon.svg")
    }
    assert [kind.partition(";")[0] for kind in kinds.values()] == [
        "text/html",
        "text/css",
        "text/javascript",
        "image/svg+xml",
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_only_get_and_head_are_answered(browser: Browser, method: str) -> None:
    """Any other method gets 405, which names the two; what it brings along is not looked at."""
    answer = browser.ask("/", method, b"x" * 5000)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert "GET and HEAD only" in answer.text
    assert "secret tenant" not in answer.text


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_request_gets_a_page_that_repeats_none_of_it(browser: Browser, request_bytes: bytes) -> None:
    """Malformed requests end in an error of 4xx or 5xx, with the same headers as every page."""
    with socket.create_connection((browser.host, browser.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.0 [45]\d\d ", head), head[:100]
    assert b"default-src 'none'" in head
    assert b"aaaa" not in body
    assert b"nonsense" not in body


# --- names and keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "[", "", "10.0.0.1"])
def test_a_name_that_is_not_ours_gets_nothing(browser: Browser, host: str) -> None:
    """A web page that points its own name at this port (DNS rebinding) is refused, with the cookie too."""
    answer = browser.ask("/", Host=host)
    assert answer.status == 421
    assert "secret tenant" not in answer.text
    assert browser.ask("/style.css", Host=host).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1", "[::1]:{port}"])
def test_loopback_has_several_names(browser: Browser, host: str) -> None:
    """The machine's own names for itself are all taken."""
    assert browser.ask("/", Host=host.format(port=browser.port)).status == 200


def test_an_open_address_takes_addresses_in_digits_and_its_own_name(store: Path) -> None:
    """Opened to other machines, the server is asked by address or by the machine's name, and by no other name."""
    with browsing(store, host="0.0.0.0", remote=True) as browser:
        for host in ("192.168.7.7:80", "[2001:db8::1]", socket.gethostname(), "localhost"):
            assert browser.ask("/", Host=host).status == 200, host
        assert browser.ask("/", Host="evil.example").status == 421


def test_without_the_key_nothing_is_shown(store: Path) -> None:
    """Another user of the machine reaches the port and sees what is missing; wrong keys help nobody."""
    with browsing(store) as browser:
        right = browser.cookie or ""
        name, _, key = right.partition("=")
        for cookie in (
            None,
            f"{name}=",
            f"{name}=wrong",
            f"{name}={key}x",
            f"other={key}",
            f"{name}_2={key}",
            "\xff=;;;",
        ):
            browser.cookie = cookie
            for path in (
                "/",
                "/calls",
                f"/trace/{TRACE.hex()}",
                "/nothing",
                "/?key=",
                "/?key=wrong",
                f"/?key={key[:-1]}",
            ):
                answer = browser.ask(path)
                assert answer.status == 403, (cookie, path)
                assert "secret tenant" not in answer.text
                assert "Set-Cookie" not in answer.headers
                assert "Open the whole address" in answer.text


def test_the_key_in_the_address_becomes_a_cookie(store: Path) -> None:
    """The address that was printed lets a browser in, and no key stays in its history, whatever else was asked."""
    with browsing(store) as browser:
        key = (browser.cookie or "").partition("=")[2]
        browser.cookie = None
        answer = browser.ask(f"/calls?tenant=a%26b&key={key}")
        assert (answer.status, answer.headers["Location"]) == (303, "/calls?tenant=a%26b")
        pieces = answer.headers["Set-Cookie"].split("; ")
        assert set(pieces[1:]) == {"Path=/", "HttpOnly", "SameSite=Lax"}
        browser.cookie = f'theme="dark; odd={{"a":1}}; {pieces[0]}; z'
        assert browser.ask("/calls").status == 200
        assert browser.ask(f"//evil.example/x?key={key}").headers["Location"] == "/evil.example/x"


def test_a_key_for_once_is_good_once() -> None:
    """What stands in a list of processes, where others can read it, lets one browser in and then nobody."""
    access = Access("127.0.0.1", remote=False)
    once = access.key_for_once()
    assert [access.accepts(key) for key in (once, once, access.key, access.key, "", "other")] == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("", False),
        ("localhost.evil.example", False),
        ("myhost", False),
    ],
)
def test_only_loopback_is_taken_for_loopback(host: str, alone: bool) -> None:
    """An address that others may reach is never taken for one that they cannot."""
    assert is_loopback(host) is alone


# --- connections ----------------------------------------------------------------------------------------------


def test_clients_that_go_away_are_no_news(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever hangs up in the middle leaves no traceback, and the next one is answered."""
    with browsing(store) as browser:
        request = f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {browser.cookie}\r\n".encode()
        for sent in (b"", b"GET", request, request + b"\r\n"):
            connection = socket.create_connection((browser.host, browser.port), timeout=10)
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()  # resets it
        assert browser.ask("/").status == 200
    assert capfd.readouterr() == ("", "")


def test_a_fault_is_a_page_and_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where what is stored is no JSON, which nobody expects, the page says so; no word of it goes anywhere else."""
    path = stored(tmp_path / "s.db", call(trace_id=TRACE))
    with closing(sqlite3.Connection(path)) as connection, connection:
        connection.execute("UPDATE span_bodies SET attributes = 'secret words'")
    with browsing(path) as browser:
        answer = browser.ask(f"/trace/{TRACE.hex()}")
    assert answer.status == 500
    assert "JSONDecodeError" in answer.text
    assert "secret" not in answer.text + "".join(capfd.readouterr())


def test_many_at_once_are_all_answered(browser: Browser) -> None:
    """More readers than questions that the store is asked at a time wait for their turn."""
    statuses: list[int] = []
    readers = [threading.Thread(target=lambda: statuses.append(browser.ask("/?since=all").status)) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert statuses == [200] * 8


# --- the command ----------------------------------------------------------------------------------------------


def started(*words: object, **environment: str) -> subprocess.Popen[str]:
    """The command as a process of its own, with a first line on its stdout to wait for."""
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def let_in(address: str) -> Browser:
    """A browser that has opened the printed address."""
    parts = urlsplit(address.strip())
    assert parts.hostname is not None
    browser = Browser(parts.hostname, parts.port or 0)
    answer = browser.ask(f"{parts.path}?{parts.query}")
    assert answer.status == 303, answer.text
    browser.cookie = answer.headers["Set-Cookie"].partition(";")[0]
    return browser


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_command_serves_until_it_is_ended(store: Path, ending: signal.Signals) -> None:
    """It prints its address on stdout, answers, logs no request, and ends with 0 at Ctrl-C and SIGTERM."""
    with started("--store", store, "--port", 0) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?key=[\w-]{32}\n", address)
        browser = let_in(address)
        assert "secret tenant" in browser.ask("/?since=all").text
        assert browser.ask("/calls?tenant=words+of+a+reader").status == 200
        process.send_signal(ending)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines() == [f"Dashboard of {store}, until Ctrl-C.", "The dashboard has ended."]


def test_it_ends_at_once_while_a_page_is_being_asked_for(store: Path) -> None:
    """A connection that is open, and says nothing, does not hold up the end."""
    with started("--store", store, "--port", 0) as process:
        assert process.stdout is not None
        parts = urlsplit(process.stdout.readline())
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10):
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    assert process.returncode == 0


def test_without_a_store_it_says_so_and_serves(tmp_path: Path) -> None:
    """Begun before anything was recorded, in the configured place, it names the cure and waits for the store."""
    path = tmp_path / "later.db"
    with started("--port", 0, OTEL_LLM_STORE_PATH=str(path)) as process:
        assert process.stdout is not None
        browser = let_in(process.stdout.readline())
        assert browser.ask("/").status == 503
        stored(path, call("secret tenant"))
        assert "secret tenant" in browser.ask("/?since=all").text
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert f"There is no local store at {path} yet" in err
    assert "otel-llm demo" in err


def test_the_browser_is_opened_with_a_key_that_is_good_once(store: Path, tmp_path: Path) -> None:
    """`--open` starts the configured browser with an address of its own, not with the printed one."""
    seen, program = tmp_path / "seen", tmp_path / "browser"
    os.mkfifo(seen)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" > {seen}\n')
    program.chmod(0o700)
    with started("--store", store, "--port", 0, "--open", BROWSER=f"{program} %s") as process:
        assert process.stdout is not None
        printed = process.stdout.readline().strip()
        with seen.open() as told:
            opened = told.readline().strip()
        assert opened != printed
        assert let_in(opened).ask("/?since=all").status == 200
        parts = urlsplit(opened)
        assert Browser("127.0.0.1", parts.port or 0).ask(f"/?{parts.query}").status == 403
        assert let_in(printed).ask("/?since=all").status == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run the command in this process: exit code, stdout, stderr."""
    try:
        code = cli.main(["dashboard", *map(str, words)])
    except SystemExit as leaving:  # argparse
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "some-name"])
def test_other_machines_are_refused_unless_said_otherwise(
    store: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that others reach needs --allow-remote; the refusal says why, and how to come through ssh."""
    code, out, err = run(capsys, "--store", store, "--host", host)
    assert (code, out) == (2, "")
    assert "not encrypted" in err
    assert "ssh -L 8321:127.0.0.1:8321" in err
    assert "--allow-remote" in err


def test_an_open_address_is_warned_of(store: Path) -> None:
    """With --allow-remote it serves, says who may read along, and asks for the key all the same."""
    with started("--store", store, "--port", 0, "--host", "0.0.0.0", "--allow-remote") as process:
        assert process.stdout is not None
        parts = urlsplit(process.stdout.readline().strip())
        assert parts.hostname == socket.gethostname().lower()
        assert Browser("127.0.0.1", parts.port or 0).ask("/").status == 403
        assert let_in(f"http://127.0.0.1:{parts.port}/?{parts.query}").ask("/").status == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert "are not encrypted" in err


def test_a_port_that_is_taken_is_said_to_be(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, the likely cause, and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, out, err = run(capsys, "--store", store, "--port", other.getsockname()[1])
    assert (code, out) == (2, "")
    assert "Most likely another dashboard" in err
    assert "--port (0 takes any that is free)" in err


def test_an_address_that_is_not_here_is_said_not_to_be(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that this machine does not have is a mistake in --host."""
    code, _, err = run(capsys, "--store", store, "--port", 0, "--host", "192.0.2.1", "--allow-remote")
    assert code == 2
    assert "no address of this machine" in err


@pytest.mark.parametrize("port", ["-1", "65536", "http", "80.5", "\u0663"])
def test_a_port_is_a_number(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no port ends with what one is."""
    code, _, err = run(capsys, f"--port={port}")
    assert code == 2
    assert "from 0 (any that is free) to 65535" in err


def test_the_guide_names_every_option() -> None:
    """docs/dashboard.md has each option of the command, and names none that it does not have."""
    parser = argparse.ArgumentParser(add_help=False)
    dashboard.configure(parser)
    options = {name for action in parser._actions for name in action.option_strings} - {"--no-open"}
    guide = (Path(otel_llm.__file__).parents[1] / "docs" / "dashboard.md").read_text()
    named = {
        option
        for line in guide.splitlines()
        if "otel-llm dashboard" in line or line.startswith("| `--")
        for option in re.findall(r"--[a-z-]+", line)
    }
    assert named == options


def test_the_command_loads_a_server_only_when_it_serves() -> None:
    """`otel-llm --help`, which asks every command for its line, pays for neither SQLite nor an HTTP server."""
    loaded = loaded_after("import otel_llm.cli.dashboard")
    assert loaded.isdisjoint({"sqlite3", "http.server", "otel_llm.store.dashboard.pages"})


def test_a_recorded_program_can_serve_it_unseen(store: Path, tmp_path: Path) -> None:
    """Run under `otel-llm run`, which records the process, the dashboard leaves no span of itself."""
    environment = {"OTEL_LLM_STORE_PATH": str(tmp_path / "own.db"), "OTEL_LLM_STATE_DIR": str(tmp_path)}
    program = "import sys; from otel_llm.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [
        sys.executable,
        "-c",
        program,
        "run",
        sys.executable,
        "-c",
        program,
        "dashboard",
        "--store",
        store,
        "--port",
        "0",
    ]
    with subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        browser = let_in(process.stdout.readline())
        assert browser.ask("/?since=all").status == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert not (tmp_path / "own.db").exists()


def test_a_request_without_a_name_gets_nothing(browser: Browser) -> None:
    """A request without a Host header gets no page of the store: nobody knows under which name it came."""
    connection = http.client.HTTPConnection(browser.host, browser.port, timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 421
    connection.close()
