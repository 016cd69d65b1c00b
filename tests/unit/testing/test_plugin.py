"""The pytest plugin, run as a user runs it: one run of pytest, with two workers, over a project of test files.

The inner tests assert what they see themselves; the tests here ask for their outcomes and for what was printed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_llm.testing import FakeProvider
from tests.conftest import hidden_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[3] / "examples" / "test_with_llm_spans.py"
SNAPSHOT = Path("llm_snapshots") / "test_snapshots" / "test_same_as_before.json"

FILES = {
    "pytest.ini": """
        [pytest]
        asyncio_mode = auto
        asyncio_default_fixture_loop_scope = function
        """,
    "program.py": """
        import os
        import litellm, otel_llm, pytest

        URL = os.environ["FAKE_PROVIDER"]

        def ask(text="Where is Paris?", model="openai/gpt-4o-mini", base=URL, **more):
            messages = [{"role": "user", "content": text}]
            return litellm.completion(model=model, messages=messages, api_base=base, api_key="k", **more)

        async def ask_later(text="Where is Paris?", base=URL, **more):
            messages = [{"role": "user", "content": text}]
            return await litellm.acompletion(
                model="openai/gpt-4o-mini", messages=messages, api_base=base, api_key="k", **more
            )
        """,
    "test_calls.py": """
        import asyncio
        from opentelemetry import trace
        from otel_llm.testing import FakeProvider
        from program import *

        before = trace.get_tracer_provider()

        def test_facts(llm_spans):
            with otel_llm.tenant("acme", user="u1", session="s1"):
                ask()
            ask(model="openai/gpt-4o")
            [call] = llm_spans.calls(tenant="acme")
            assert (call.model, call.provider, call.operation) == ("gpt-4o-mini", "openai", "chat")
            assert (call.user, call.session, call.error, call.cache_hit) == ("u1", "s1", None, False)
            assert call.total_tokens == call.input_tokens + call.output_tokens > 0
            assert 0 < call.cost < 0.001 and llm_spans.cost > call.cost
            assert call.input_messages[0]["parts"][0]["content"] == "Where is Paris?"
            assert "Where is Paris" in call.output_messages[0]["parts"][0]["content"]
            assert llm_spans.calls(model="gpt-4o", error=False) and not llm_spans.calls(user="u2")
            assert llm_spans.tokens == sum(one.total_tokens for one in llm_spans.calls())
            llm_spans.assert_called(times=2)
            llm_spans.clear()
            llm_spans.assert_not_called()

        def test_begins_empty(llm_spans):
            assert llm_spans.calls() == []

        def test_leaves_nothing():
            assert not otel_llm.status().running
            assert trace.get_tracer_provider() is before

        async def test_async_streams_and_errors(llm_spans):
            with FakeProvider() as provider:
                provider.error(401)
                with pytest.raises(litellm.AuthenticationError):
                    await ask_later(base=provider.openai_base)
            [failed] = llm_spans.calls(error=True)
            assert failed.error
            await asyncio.gather(*(ask_later(str(number)) for number in range(5)))
            async for _ in await ask_later(stream=True):
                pass
            llm_spans.assert_called(times=6, error=False)

        def test_wrong_expectation(llm_spans):
            ask()
            llm_spans.assert_called(model="gpt-5", tenant="acme")

        def test_nothing_called(llm_spans):
            llm_spans.assert_called()

        @otel_llm.trace(operation="retrieval")
        def look_up():
            return []

        def test_looks_something_up(llm_spans):
            look_up()
            assert [span.name for span in llm_spans.spans] == ["retrieval look_up"]
            llm_spans.assert_not_called()
        """,
    "test_budgets.py": """
        import unittest
        from program import *

        @pytest.mark.llm_budget(usd=0.01, tokens=2000)
        def test_within():
            ask()

        @pytest.mark.llm_budget(usd=0.0000001)
        def test_too_dear():
            ask()

        @pytest.mark.llm_budget(tokens=3)
        async def test_too_long():
            await ask_later()

        @pytest.mark.llm_budget(usd=1)
        def test_unknown_price():
            ask(model="openai/nobody-knows-this")

        @pytest.mark.llm_budget(usd=1)
        def test_unknown_price_without_tokens():
            litellm.image_generation("a cat", model="openai/nobodys-image", api_base=URL, api_key="k")

        class OfTheStandardLibrary(unittest.TestCase):
            @pytest.mark.llm_budget(usd=0.01)
            def test_within_for_unittest(self):
                ask()

            @pytest.mark.llm_budget(tokens=1)
            def test_too_long_for_unittest(self):
                ask()

        @pytest.mark.llm_budget(dollars=1)
        def test_wrong_marker():
            pass

        @pytest.mark.llm_budget(tokens=1)
        def test_own_reason(llm_spans):
            ask()
            assert False, "its own reason"
        """,
    "test_configures.py": """
        from program import *

        def test_sends_nothing(llm_spans, tmp_path):
            out = tmp_path / "out.jsonl"
            otel_llm.configure(backend="opik,file", opik_url="http://127.0.0.1:9/api", file_path=str(out))
            ask()
            assert [call.model for call in llm_spans.calls()] == ["gpt-4o-mini"]
            assert otel_llm.flush(5).waiting == 0
            assert not out.exists()

        def test_nothing_runs_afterwards():
            assert not otel_llm.status().running

        class TestSettings:
            @pytest.fixture
            def llm_spans_settings(self):
                return {"content": "off", "tenant_default": "house"}

            def test_changed_settings(self, llm_spans):
                ask()
                [call] = llm_spans.calls(tenant="house")
                assert call.input_messages == []
        """,
    "session/test_recording_session.py": """
        from program import *

        @pytest.fixture(scope="module", autouse=True)
        def recording(tmp_path_factory):
            path = tmp_path_factory.mktemp("out") / "spans.jsonl"
            otel_llm.configure(backend="file", file_path=str(path))
            yield path
            otel_llm.shutdown()

        def lines(path):
            otel_llm.flush(20)
            return len(path.read_text().splitlines()) if path.exists() else 0

        def test_held_back(llm_spans, recording):
            ask()
            assert len(llm_spans.calls()) == 1
            assert lines(recording) == 0

        def test_replaced(llm_spans, recording):
            otel_llm.configure(backend="console")
            ask()
            assert len(llm_spans.calls()) == 1

        def test_goes_on(recording):
            assert lines(recording) == 0
            ask()
            assert lines(recording) > 0
        """,
    "test_snapshots.py": """
        from program import *

        def trace(tenant):
            with otel_llm.tenant(tenant):
                ask()
                list(ask(stream=True))

        def test_missing(llm_spans):
            trace("acme")
            llm_spans.assert_snapshot()

        def test_same_as_before(llm_spans):
            trace("acme")
            llm_spans.assert_snapshot()

        def test_differs(llm_spans):
            trace("globex")
            llm_spans.assert_snapshot()
        """,
}


@dataclass(frozen=True)
class Run:
    """What one run of pytest came to."""

    outcomes: dict[str, str]
    """Test name -> PASSED, FAILED or ERROR."""
    output: str
    directory: Path


def _pytest(directory: Path, *arguments: str) -> Run:
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *arguments]
    with FakeProvider() as provider, pytest.MonkeyPatch.context() as patch:
        hidden_settings(patch, directory / "state")
        patch.setenv("FAKE_PROVIDER", provider.openai_base)
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=500, check=False)
    found = re.findall(r"^(PASSED|FAILED|ERROR) (?:\S+::)(\w+)", done.stdout, re.MULTILINE)
    return Run({name: outcome for outcome, name in found}, done.stdout + done.stderr, directory)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The run of all files, the example among them."""
    directory = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    shutil.copy(EXAMPLE, directory)
    written = _pytest(directory, "--llm-snapshot-update", "test_snapshots.py::test_same_as_before")
    assert written.outcomes == {"test_same_as_before": "PASSED"}, written.output
    (directory / SNAPSHOT).with_name("test_differs.json").write_text((directory / SNAPSHOT).read_text())
    return _pytest(directory, "-n", "2", "--dist", "loadfile")


@pytest.mark.parametrize(
    "name",
    [
        "test_facts",
        "test_begins_empty",
        "test_leaves_nothing",
        "test_async_streams_and_errors",
        "test_within",
        "test_within_for_unittest",
        "test_looks_something_up",
        "test_sends_nothing",
        "test_nothing_runs_afterwards",
        "test_changed_settings",
        "test_held_back",
        "test_replaced",
        "test_goes_on",
        "test_same_as_before",
        "test_asks_once_for_the_tenant",
        "test_stays_within_its_budget",
        "test_leaves_the_same_trace",
    ],
)
def test_inner_test_passes(ran: Run, name: str) -> None:
    """What the inner test asserts of `llm_spans` holds (each says it in its own lines), the example's included."""
    assert ran.outcomes.get(name) == "PASSED", ran.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_wrong_expectation", "Expected at least one call with model='gpt-5', tenant='acme', found 0."),
        ("test_wrong_expectation", "1. chat gpt-4o-mini, tenant unknown, "),
        ("test_nothing_called", "No call was recorded at all."),
        ("test_too_dear", "USD were spent, the budget is 1e-07 USD."),
        ("test_too_long", "tokens were used, the budget is 3."),
        ("test_unknown_price", "The budget of 1 USD cannot be checked: the price of nobody-knows-this is not known."),
        (
            "test_unknown_price_without_tokens",
            "The budget of 1 USD cannot be checked: the price of nobodys-image is not known.",
        ),
        ("test_too_long_for_unittest", "tokens were used, the budget is 1."),
        ("test_wrong_marker", "test_wrong_marker gives dollars."),
        ("test_own_reason", "its own reason"),
        ("test_missing", "Run pytest once with --llm-snapshot-update"),
        ("test_differs", '+      "tenant.id": "globex"'),
    ],
)
def test_inner_test_fails_with_words(ran: Run, name: str, words: str) -> None:
    """A test that must fail does, and says what was expected, what was recorded and what to do."""
    assert ran.outcomes.get(name) == "FAILED", ran.output
    assert words in ran.output


def test_a_snapshot_holds_facts_and_no_content(ran: Run) -> None:
    """The file says tenant and model, and none of the words of prompt and answer."""
    text = (ran.directory / SNAPSHOT).read_text()
    assert '"tenant.id": "acme"' in text
    assert "Where is Paris" not in text


def test_the_plugin_costs_nothing_unless_used() -> None:
    """A run of pytest with the plugin loads neither OpenTelemetry, nor requests, nor litellm."""
    script = "import sys, otel_llm.testing.plugin; print(*sorted(m for m in sys.modules if '.' not in m))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"opentelemetry", "requests", "litellm", "sqlite3"} & set(output.split())
