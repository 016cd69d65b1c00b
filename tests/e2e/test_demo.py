"""`otel-llm demo` and `otel-llm run python examples/app.py`, as their own processes, from the outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.cli.demo.comparison import differences
from otel_llm.cli.demo.workload import Played, Scene
from otel_llm.testing import FakeProvider, Usage
from otel_llm.testing.recorded import record
from otel_llm.testing.server import HttpRequest

if TYPE_CHECKING:
    from otel_llm.testing import RecordedRequest

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "otel_llm", "demo")
# USD per million tokens, as the providers publish them: input, output, input read from the prompt cache.
PRICES = {
    "gpt-4o-mini": (0.15, 0.60, 0.075),
    "claude-haiku-4-5": (1.0, 5.0, 0.10),
    "text-embedding-3-small": (0.02, 0.0, 0.0),
}
pytestmark = pytest.mark.timeout(300)  # importing litellm may take more than a minute on a busy machine

HEADINGS = [
    *("time (UTC)", "tenant", "user", "what", "model", "operation", "in", "out", "cached", "cost USD", "latency"),
    *("first chunk", "cache hit", "attempts", "error"),
]


def _environment(state: Path, **more: str) -> dict[str, str]:
    """A bare environment: no HOME, no settings of whoever runs the tests."""
    return {"PATH": os.environ["PATH"], "OTEL_LLM_STATE_DIR": str(state), **more}


def _run(command: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False, encoding="utf-8"
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `otel-llm demo --json` printed, in an environment without HOME."""
    started = time.monotonic()
    done = _run((*DEMO, "--json"), _environment(tmp_path_factory.mktemp("demo-state")))
    print(f"otel-llm demo took {time.monotonic() - started:.1f} s; the budget is 30 s")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)  # fails if anything but JSON was printed


def _in_session(demo: dict[str, Any], what: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The recorded calls of a scene, and what the provider saw of it."""
    calls = [call for call in demo["calls"] if call["what"] == what]
    sessions = {call["session"] for call in calls}
    return calls, [request for request in demo["provider_requests"] if request["session"] in sessions]


def _cache_note(demo: dict[str, Any]) -> str:
    """The sentence that explains why no cached call is shown; empty where one is."""
    return next((note for note in demo["notes"] if "response cache" in note), "")


def _cost(model: str, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
    price_in, price_out, price_cached = PRICES[model]
    return ((tokens_in - tokens_cached) * price_in + tokens_out * price_out + tokens_cached * price_cached) / 1e6


def test_the_demo_records_every_scene_for_its_tenant(demo: dict[str, Any]) -> None:
    """Three tenants, two chat models, streams, a tool, embeddings, a rate limit, an error and a fallback are there."""
    what = Counter((call["tenant"], call["what"]) for call in demo["calls"])
    expected = {
        ("acme", "question"): 1,
        ("acme", "stream"): 1,
        ("acme", "tool call"): 2,
        ("globex", "three at once, async"): 3,
        ("globex", "stream broken off, async"): 1,
        ("globex", "rate limit, retried"): 1,
        ("initech", "embeddings"): 1,
        ("initech", "wrong key"): 1,
        ("initech", "fallback"): 1,
    }
    if not _cache_note(demo):
        expected["initech", "same question twice"] = 2
    assert what == expected
    assert demo["differences"] == []
    assert {call["service"] for call in demo["calls"]} == {"otel-llm-demo"}


def test_the_recorded_tokens_are_those_that_the_provider_charged(demo: dict[str, Any]) -> None:
    """Scene by scene the tokens in the store are the sum of what went over the wire."""
    compared = 0
    for what in {call["what"] for call in demo["calls"]} - {"stream broken off, async", "same question twice"}:
        calls, requests = _in_session(demo, what)
        charged = [request for request in requests if request["status"] == 200]
        for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
            assert sum(call[name] or 0 for call in calls) == sum(request[name] for request in charged), (what, name)
            compared += 1
    assert compared == 3 * 8


def test_the_recorded_costs_are_the_published_prices(demo: dict[str, Any]) -> None:
    """Each priced call costs what its tokens cost by the providers' price lists; a failed one has no cost."""
    for call in demo["calls"]:
        if call["is_error"]:
            assert call["cost_usd"] is None
        elif call["cache_hit"]:
            assert call["cost_usd"] == 0
        else:
            model = call["response_model"] if call["response_model"] in PRICES else call["request_model"]
            tokens = call["input_tokens"], call["output_tokens"] or 0, call["cache_read_tokens"] or 0
            assert call["cost_usd"] == pytest.approx(_cost(model, *tokens), rel=1e-6)


def test_the_totals_of_the_tenants_add_up(demo: dict[str, Any]) -> None:
    """Each tenant's line is the sum of its calls."""
    for total in demo["tenants"]:
        calls = [call for call in demo["calls"] if call["tenant"] == total["tenant"]]
        assert total["calls"] == len(calls)
        assert total["errors"] == sum(call["is_error"] for call in calls)
        assert total["input_tokens"] == sum(call["input_tokens"] or 0 for call in calls)
        assert total["cost_usd"] == pytest.approx(sum(call["cost_usd"] or 0 for call in calls))
    assert sum(total["calls"] for total in demo["tenants"]) == len(demo["calls"])


def test_streams_and_retries_show_what_is_special_about_them(demo: dict[str, Any]) -> None:
    """First chunk, attempts, fallback and error of the scenes that have them."""
    by_scene = {call["what"]: call for call in demo["calls"]}
    stream = by_scene["stream"]
    assert stream["stream"] is True
    assert 0 < stream["ttft_ms"] < stream["duration_ms"]
    assert by_scene["question"]["ttft_ms"] is None
    assert by_scene["rate limit, retried"]["attempts"] == 2
    assert by_scene["fallback"]["attempts"] == 2
    assert by_scene["fallback"]["response_model"] == "claude-haiku-4-5"
    assert by_scene["wrong key"]["http_status"] == 401
    assert by_scene["wrong key"]["error_type"].endswith("AuthenticationError")
    broken_off, [seen] = _in_session(demo, "stream broken off, async")
    assert broken_off[0]["is_error"] is False
    assert seen["complete"] is False


def test_a_cached_call_is_shown_or_its_absence_explained(demo: dict[str, Any]) -> None:
    """A hit of litellm's response cache is marked and free; where litellm cannot do it, one sentence says so."""
    calls, requests = _in_session(demo, "same question twice")
    if _cache_note(demo):
        assert calls == []
        assert "pip install" in _cache_note(demo)
    else:
        assert [call["cache_hit"] for call in calls] == [False, True]
        assert len(requests) == 1


def test_the_table_is_plain_and_complete_when_piped(tmp_path: Path) -> None:
    """Piped, the demo prints its table, the totals and where to look next, and nothing of litellm's own."""
    spans = tmp_path / "spans.jsonl"
    command = (*DEMO, "--backend", "file")
    done = _run(command, _environment(tmp_path, OTEL_LLM_FILE_PATH=str(spans)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "Give Feedback" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    headings = re.split(r"\s{2,}", lines[0])
    assert headings == HEADINGS
    rows = [re.split(r"\s{2,}", line) for line in lines[2 : lines.index("")]]
    assert {len(row) for row in rows} == {len(headings)}
    assert Counter(row[1] for row in rows)["acme"] == 4
    made, recorded = re.search(r"(\d+) calls were made and (\d+) recorded", done.stdout).groups()  # type: ignore[union-attr]
    assert int(made) == int(recorded) == len(rows)
    assert "otel-llm usage" in done.stdout
    assert "otel-llm dashboard" in done.stdout
    assert "Backend file: " in done.stdout
    assert spans.stat().st_size > 0


def test_the_demo_fails_when_the_calls_are_not_recorded(tmp_path: Path) -> None:
    """With the recording of litellm turned off the demo says what is missing, and fails."""
    done = _run(DEMO, _environment(tmp_path, OTEL_LLM_INSTRUMENT="httpx"))
    assert done.returncode == 1
    assert "0 recorded" in done.stdout
    assert "question: 1 calls expected, 0 recorded" in done.stdout


def test_without_litellm_the_demo_says_how_to_get_it(tmp_path: Path) -> None:
    """No traceback: one sentence with the command that installs it."""
    without = "import sys; sys.modules['litellm'] = None; from otel_llm.cli import main; sys.exit(main(['demo']))"
    done = _run((sys.executable, "-c", without), _environment(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "pip install 'otel-llm[litellm]'" in done.stderr


def test_a_backend_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    """A misspelt backend ends with exit code 2 and the nearest right name, before anything is called."""
    done = _run((*DEMO, "--backend", "locl"), _environment(tmp_path))
    assert done.returncode == 2
    assert "local" in done.stderr
    assert done.stdout == ""


class _Row:
    """As much of a recorded call as the demo compares."""

    def __init__(self, **changed: Any) -> None:
        facts = {
            "session": "s",
            "tenant": "acme",
            "user": "ada",
            "is_error": False,
            "cache_hit": False,
            "input_tokens": 14,
            "output_tokens": 2,
            "cache_read_tokens": None,
        }
        self.__dict__.update({**facts, **changed})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([_Row()], []),
        ([], ["question: 1 calls expected, 0 recorded"]),
        ([_Row(session="other")], ["question: 1 calls expected, 0 recorded"]),
        ([_Row(tenant="globex")], ["question: acme as tenant expected, globex recorded"]),
        ([_Row(user=None)], ["question: ada as user expected, none recorded"]),
        ([_Row(output_tokens=3)], ["question: 2 output tokens expected, 3 recorded"]),
        ([_Row(cache_read_tokens=7)], ["question: 0 cached tokens expected, 7 recorded"]),
        ([_Row(is_error=True)], ["question: 0 errors expected, 1 recorded"]),
        ([_Row(), _Row(input_tokens=0, output_tokens=0)], ["question: 1 calls expected, 2 recorded"]),
    ],
)
def test_the_demo_notices_every_difference(rows: list[Any], said: list[str]) -> None:
    """A call too few or too many, another tenant, user, token count or outcome: each is said in a sentence."""
    request = record(HttpRequest("POST", "/v1/chat/completions", "", {}, b"{}"))
    request.status, request.usage = 200, Usage(14, 2)
    played = Played(Scene("question", "acme", "ada", print), "s", [request])
    assert differences([played], rows) == said


# --- examples/app.py -----------------------------------------------------------------------------------------


def _tokens(text: str) -> int:
    """The fake provider's measure, repeated here: one token per word and per punctuation mark."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def _expected_usage(requests: list[RecordedRequest]) -> dict[str, tuple[int, int, int]]:
    """Model -> calls, input and output tokens, from the request bodies alone."""
    expected: dict[str, list[int]] = {}
    for request in requests:
        body = json.loads(request.body)
        if "messages" in body:
            asked = [message["content"] for message in body["messages"]]
            answered = _tokens("You said: " + asked[-1])
        else:
            asked, answered = body["input"], 0
        sums = expected.setdefault(body["model"], [0, 0, 0])
        for index, number in enumerate((1, sum(map(_tokens, asked)), answered)):
            sums[index] += number
    return {model: (sums[0], sums[1], sums[2]) for model, sums in expected.items()}


def test_an_unchanged_program_is_recorded_and_usage_counts_it(tmp_path: Path) -> None:
    """`otel-llm run python examples/app.py`, then `otel-llm usage --json`: the numbers are those of the requests."""
    with FakeProvider() as provider:
        environment = _environment(tmp_path, OPENAI_API_BASE=provider.openai_base, OPENAI_API_KEY="any")
        otel_llm = (sys.executable, "-m", "otel_llm")
        app = _run((*otel_llm, "run", sys.executable, "examples/app.py"), environment)
        assert app.returncode == 0, app.stderr
        requests = provider.requests
    plain = _run((sys.executable, "examples/app.py", "--fake"), _environment(tmp_path / "unused"))
    assert app.stdout == plain.stdout  # what the program prints is what it prints without us
    expected = _expected_usage(requests)
    assert {model: numbers[0] for model, numbers in expected.items()} == {"gpt-4o-mini": 7, "text-embedding-3-small": 1}

    usage = _run((*otel_llm, "usage", "--by", "model", "--json"), environment)
    assert usage.returncode == 0, usage.stderr
    report = json.loads(usage.stdout)
    recorded = {row["model"]: (row["calls"], row["input_tokens"], row["output_tokens"]) for row in report["rows"]}
    assert recorded == expected
    for row in report["rows"]:
        assert row["cost_usd"] == pytest.approx(_cost(row["model"], *expected[row["model"]][1:]), rel=1e-9)
    assert (report["totals"]["calls"], report["totals"]["errors"]) == (8, 0)
