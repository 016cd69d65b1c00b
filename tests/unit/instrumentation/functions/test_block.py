"""`otel_llm.span`, `otel_llm.current`, `opik_trace`, `carry`, and what the content policy leaves of them."""

from __future__ import annotations

import inspect
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace import StatusCode

import otel_llm
from otel_llm import semconv
from tests.fakes.opik.official import needs_official_client, official_track

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.instrumentation.functions.conftest import Recorded


async def test_a_block_is_a_span_sync_and_async(recorded: Recorded) -> None:
    """`with` and `async with` make the span current; the handle adds facts and content."""
    with otel_llm.span("outer", operation="workflow", attributes={"team": "a"}, input="why?") as outer:
        assert otel_llm.current().span_id == outer.span_id
        async with otel_llm.span("inner") as inner:
            inner.set({"a.b": 1}, c=None)
            inner.input({"x": 1})
            inner.output({"y": 2})
        outer.output("because")
    assert recorded.parent_name("inner") == "invoke_workflow outer"
    found = recorded.one("inner").attributes or {}
    assert (found["a.b"], "c" in found) == (1, False)
    assert (found[semconv.PLAIN_INPUT], found[semconv.PLAIN_OUTPUT]) == ('{"x":1}', '{"y":2}')
    found = recorded.one("invoke_workflow outer").attributes or {}
    assert json.loads(str(found[semconv.OUTPUT_MESSAGES]))[0]["parts"][0]["content"] == "because"
    assert found["team"] == "a"


def test_a_failing_block_is_marked(recorded: Recorded) -> None:
    """An exception goes through and marks the span; one that was handled can be told."""
    with pytest.raises(KeyError), otel_llm.span("failing"):
        raise KeyError("k")
    with otel_llm.span("survived") as handle:
        handle.error(ValueError("v"))
    assert recorded.one("failing").status.status_code is StatusCode.ERROR
    assert (recorded.one("survived").attributes or {})[semconv.ERROR_TYPE] == "ValueError"


def test_one_block_object_can_be_nested(recorded: Recorded) -> None:
    """The same object serves several blocks, also one in the other."""
    again = otel_llm.span("again")
    before = otel_context.get_current()
    with again as outer, again as inner:
        assert outer.span_id != inner.span_id
    assert otel_context.get_current() is before
    inner_span, outer_span = recorded.all
    assert inner_span.parent.span_id == outer_span.context.span_id


def test_current_gives_ids_and_links(recorded: Recorded) -> None:
    """The ids are those of log lines; outside of spans everything is empty and nothing raises."""
    assert not otel_llm.current()
    assert otel_llm.current().trace_id == "0" * 32
    assert otel_llm.current().opik_url is None
    with otel_llm.span("work"):
        current = otel_llm.current()
        assert current
        current.set(seen=True)
    span = recorded.one("work")
    assert current.trace_id == f"{span.context.trace_id:032x}"
    assert current.span_id == f"{span.context.span_id:016x}"
    assert (span.attributes or {})["seen"] is True


def test_what_opiks_users_write_is_taken(recorded: Recorded) -> None:
    """Every keyword of Opik's `@track` is accepted, and what it says is told to Opik."""

    @otel_llm.opik_trace(
        name="judge",
        type="llm",
        tags=["a", "b"],
        metadata={"version": 3},
        capture_input=True,
        ignore_arguments=["secret"],
        capture_output=False,
        flush=True,
        project_name="evaluations",
        create_duplicate_root_span=False,
        entrypoint=True,
        source=None,
        environment="staging",
    )
    def judge(text: str, secret: str) -> str:
        return text

    @otel_llm.opik_trace(type="tool")
    def look_up(text: str) -> str:
        return text

    @otel_llm.opik_trace
    def bare() -> None: ...

    judge("t", "s")
    look_up("t")
    bare()
    assert recorded.names == ["judge", "execute_tool look_up", "bare"]
    found = recorded.one("judge").attributes or {}
    assert found[semconv.OPIK_SPAN_TYPE] == "llm"
    assert found[semconv.TAGS] == ("a", "b")
    assert found[semconv.OPIK_PROJECT] == "evaluations"
    assert found[f"{semconv.OPIK_METADATA_PREFIX}version"] == 3
    assert found[semconv.PLAIN_INPUT] == '{"text":"t"}'
    assert semconv.PLAIN_OUTPUT not in found


@needs_official_client
def test_the_signature_is_opiks() -> None:
    """Every argument that the official client's `@track` takes is taken, by the same name and in the same order."""
    theirs = official_track()["parameters"]
    assert list(inspect.signature(otel_llm.opik_trace).parameters)[: len(theirs)] == theirs


def test_threads_can_be_given_the_context(recorded: Recorded) -> None:
    """`carry` takes trace and tenant into a thread; without it a thread begins anew."""

    def work() -> None:
        with otel_llm.span(f"in {threading.current_thread().name}"):
            pass

    with otel_llm.tenant("acme"), otel_llm.span("request"):
        carried = threading.Thread(target=otel_llm.carry(work), name="carried")
        plain = threading.Thread(target=work, name="plain")
        for thread in (carried, plain):
            thread.start()
            thread.join()
        with ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
            pool.submit(otel_llm.carry(work)).result()
            pool.submit(otel_context.get_current).result()
    assert recorded.parent_name("in carried") == "request"
    assert recorded.parent_name("in pool_0") == "request"
    assert recorded.one("in plain").parent is None
    assert (recorded.one("in carried").attributes or {})[semconv.TENANT_ID] == "acme"
    assert (recorded.one("in plain").attributes or {})[semconv.TENANT_ID] == semconv.UNKNOWN_TENANT


@pytest.mark.parametrize(("content", "kept"), [("off", False), ("on", True)])
def test_the_content_policy_has_the_last_word(content: str, kept: bool, tmp_path: Path) -> None:
    """With content off, neither input nor output of any operation reaches a backend; the facts do."""
    from opentelemetry.sdk.trace import TracerProvider

    lines = tmp_path / "spans.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=provider, backend="file", file_path=lines, content=content, handle_sigterm=False)

    @otel_llm.trace("tool", operation="tool")
    @otel_llm.trace("agent", operation="agent")
    @otel_llm.trace("docs", operation="retrieval")
    @otel_llm.trace("plain")
    def work(query: str) -> list[str]:
        return [f"{query} canary-out"]

    work("canary-in")
    assert otel_llm.flush()
    otel_llm.shutdown()
    text = lines.read_text()
    for name in ("execute_tool tool", "invoke_agent agent", "retrieval docs", "plain"):
        assert name in text
    assert ("canary-in" in text, "canary-out" in text) == (kept, kept)
