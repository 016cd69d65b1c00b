"""Runs in the environment of the other instrumentations: each case in a process of its own, forked from this one.

Reads a case per line (JSON) and answers with a line (JSON): what our backends hold and what the other tools got.
litellm is imported once, here; forking is what makes a hundred cases of real calls affordable.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import litellm
import openai  # noqa: F401  (imported before the fork, so that no case pays for it)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.overlap.outcomes import MODELS, Case
from tests.overlap.tools import TOOLS, Begun, litellm_creates, logging_is_done

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]


class Program:
    """A program with an OpenTelemetry setup of its own, the tools of a case, and otel_llm."""

    def __init__(self, case: Case, directory: Path) -> None:
        import asyncio

        self.case, self.directory = case, directory
        self.loop = asyncio.new_event_loop()
        self.begun: dict[str, Begun] = {}
        self.own = InMemorySpanExporter()
        self.before = set(sys.modules)

    def run(self) -> dict[str, Any]:
        """Make the calls, and say who recorded what."""
        if self.case.shared:
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(self.own))
            trace.set_tracer_provider(provider)
        if self.case.ours and self.case.ours_first:
            self._begin_ours()
        self.loop.run_until_complete(self._begin_theirs())
        if self.case.ours and not self.case.ours_first:
            self._begin_ours()
        self._call()
        self.loop.run_until_complete(self._call_async())
        self.loop.run_until_complete(self._until_theirs_are_there())
        return self._told()

    def _begin_ours(self) -> None:
        import otel_llm

        otel_llm.configure(
            backend="local,file",
            store_path=self.directory / "store.db",
            file_path=self.directory / "spans.jsonl",
        )

    async def _begin_theirs(self) -> None:
        for name in self.case.tools:
            shared = trace.get_tracer_provider() if self.case.shared else None
            self.begun[name] = TOOLS[name].begin(shared, self.own)

    def _call(self) -> None:
        call = {"messages": MESSAGES, "api_base": self.case.base, "api_key": "sk-test", "max_retries": 0}
        litellm.completion(model=MODELS["plain"], **call)
        list(litellm.completion(model=MODELS["streamed"], stream=True, stream_options=_USAGE, **call))
        with contextlib.suppress(litellm.NotFoundError):
            litellm.completion(model=MODELS["failed"], **call)

    async def _call_async(self) -> None:
        call = {"messages": MESSAGES, "api_base": self.case.base, "api_key": "sk-test", "max_retries": 0}
        await litellm.acompletion(model=MODELS["plain"], **call)
        stream = await litellm.acompletion(model=MODELS["streamed"], stream=True, stream_options=_USAGE, **call)
        async for _ in stream:
            pass
        with contextlib.suppress(litellm.NotFoundError):
            await litellm.acompletion(model=MODELS["failed"], **call)

    async def _until_theirs_are_there(self) -> None:
        """Callbacks run after the call, in threads and tasks: wait for what each tool is known to record."""
        import asyncio

        deadline = time.monotonic() + self.case.patience
        while not all(self._complete(name) for name in self.begun) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await logging_is_done()

    def _complete(self, name: str) -> bool:
        got = self.begun[name].got()
        if self.case.ours and TOOLS[name].silent_inside_ours:
            return True
        return all(got[mode] >= count for mode, count in TOOLS[name].expects(creates=_CREATES).items())

    def _told(self) -> dict[str, Any]:
        theirs = {name: dict(begun.got()) for name, begun in self.begun.items()}
        if not self.case.ours:
            return {"theirs": theirs}
        import otel_llm
        from otel_llm.cli import main

        otel_llm.flush(timeout=30)
        otel_llm.shutdown()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main(["usage", "--by", "model", "--json", "--store", str(self.directory / "store.db")])
        return {
            "theirs": theirs,
            "usage": json.loads(printed.getvalue()),
            "modules": [name for name in sys.modules if name not in self.before],
            "spans": _shipped(self.directory / "spans.jsonl"),
            "lines": (self.directory / "spans.jsonl").read_text().splitlines(),
        }


_CREATES = litellm_creates()
_USAGE = {"include_usage": True}


def _shipped(path: Path) -> list[dict[str, Any]]:
    """Every span that our `file` backend wrote: scope, name, ids and attributes."""
    found = []
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    attributes = {one["key"]: next(iter(one["value"].values())) for one in span.get("attributes", [])}
                    found.append({
                        "scope": scope["scope"]["name"],
                        "name": span["name"],
                        "id": span["spanId"],
                        "parent": span.get("parentSpanId") or None,
                        "attributes": attributes,
                    })  # fmt: skip
    return found


def _in_child(case: Case) -> str:
    """The answer to a case, from a process that dies with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w") as out, tempfile.TemporaryDirectory() as directory:
            try:
                out.write(json.dumps(Program(case, Path(directory)).run()))
            except BaseException:
                out.write(json.dumps({"error": traceback.format_exc()}))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def main() -> None:
    """Answer cases until there are no more."""
    litellm.suppress_debug_info = True
    print(json.dumps({"ready": True, "creates": _CREATES}), flush=True)
    for line in sys.stdin:
        answer = _in_child(Case(**json.loads(line)))
        print(answer, flush=True)
        _import(json.loads(answer).get("modules", ()))


def _import(modules: list[str]) -> None:
    """Import what a case has imported, so that no case after it pays for that. Importing alone changes nothing."""
    for module in modules:
        if module not in sys.modules and "sitecustomize" not in module:
            with contextlib.suppress(Exception):
                importlib.import_module(module)


if __name__ == "__main__":
    main()
