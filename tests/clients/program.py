"""Runs where the client libraries are: each job in a process of its own, forked from this one.

Reads a job per line (JSON) and answers with a line (JSON): the spans that our `file` backend got for each recorded
exchange, what `otel-llm usage` says, and what the program's own exporter saw. Libraries are imported once, here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm.processors.overlap import BUILT_IN_SCOPES
from tests.clients.calls import call_of
from tests.clients.jobs import Job
from tests.recordings.provider import Provider
from tests.recordings.recordings import interactions_of

if TYPE_CHECKING:
    from otel_llm.instrumentation.clients.table import Client

LIBRARIES = (
    "openai",
    "anthropic",
    "google.genai",
    "boto3",
    "ollama",
    "langchain_openai",
    "langchain_anthropic",
)
"""Imported before the first job, as far as they are installed, so that no job pays for it."""


def only_families(families: tuple[str, ...]) -> None:
    """Take all other families out of the table, as if they were not installed.

    `OpenInference` means that family alone; `OpenInference langchain` means it for that library.
    """
    from otel_llm.instrumentation.clients import switch

    def kept(client: Client) -> Client:
        wanted = {families[0], *(one.partition(" ")[0] for one in families if one.endswith(f" {client.name}"))}
        upstreams = tuple(one for one in client.upstreams if one.family.value in wanted)
        return replace(client, upstreams=upstreams)

    switch.CLIENTS = {name: kept(client) for name, client in switch.CLIENTS.items()}


def session_of(span: dict[str, Any]) -> str:
    """The exchange that a span belongs to: each is made in a session of its name."""
    return next(one["value"]["stringValue"] for one in span["attributes"] if one["key"] == "session.id")


class Run:
    """One job: a program with an exporter of its own, and otel_llm."""

    def __init__(self, job: Job, directory: Path) -> None:
        self.job, self.directory = job, directory
        self.own = InMemorySpanExporter()

    def run(self) -> dict[str, Any]:
        """Make the calls, and say who recorded what."""
        import otel_llm

        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.own))
        trace.set_tracer_provider(provider)
        if self.job.families:
            only_families(self.job.families)
        prices = self._prices()
        status = otel_llm.configure(
            backend="local,file",
            instrument=list(self.job.instrument),
            content=self.job.content,
            store_path=self.directory / "store.db",
            file_path=self.directory / "spans.jsonl",
            **({"prices_file": prices} if prices else {}),
        )
        answers = self._answers()
        told = {
            "by": {one.library: one.by for one in otel_llm.status().instrumented if one.state == "on"},
            "before": {one.library: one.state for one in status.instrumented},
            "answers": answers,
            "own": [dict(span.attributes or {}) for span in self.own.get_finished_spans()],
            "faults": otel_llm.status().faults,
            "dropped": otel_llm.status().dropped_before_queue,
        }
        otel_llm.shutdown()
        told["litellm imported"] = "litellm" in sys.modules
        return json.loads(json.dumps({**told, **self._after(), "usage": self._usage()}, default=list))

    def _prices(self) -> Path | None:
        if not self.job.prices:
            return None
        path = self.directory / "prices.json"
        path.write_text(json.dumps(self.job.prices), encoding="utf-8")
        return path

    def _answers(self) -> dict[str, Any]:
        import otel_llm

        found = {}
        with Provider() as provider:
            for name, number in self.job.exchanges:
                exchange = interactions_of(name)[number]
                raised = None
                with provider.playing(exchange), otel_llm.tenant(self.job.tenant, session=exchange.id):
                    try:
                        call_of(exchange, provider.url, self.job.through)()
                    except Exception as error:
                        raised = f"{type(error).__name__}: {error}"
                    asked = len(provider.asked)
                found[exchange.id] = {"raised": raised, "asked": asked, "port": provider.port, "spans": []}
        gc.collect()  # a stream that failed half-way ends its span when it is collected
        otel_llm.flush(timeout=30)
        for span in self._spans():
            found[session_of(span)]["spans"].append(span)
        return found

    def _spans(self) -> list[dict[str, Any]]:
        """Every span that our `file` backend wrote."""
        path = self.directory / "spans.jsonl"
        return [
            {"scope": scope["scope"]["name"], **span}
            for line in (path.read_text(encoding="utf-8").splitlines() if path.exists() else [])
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def _after(self) -> dict[str, Any]:
        """A call once otel_llm has been shut down: nothing may record it any more."""
        seen = len(self.own.get_finished_spans())
        name, number = self.job.exchanges[0]
        exchange = interactions_of(name)[number]
        with Provider() as provider, provider.playing(exchange), contextlib.suppress(Exception):
            call_of(exchange, provider.url, self.job.through)()
        later = self.own.get_finished_spans()[seen:]
        # What a library records of itself is the program's own business.
        names = [span.instrumentation_scope.name for span in later if span.instrumentation_scope is not None]
        return {"after shutdown": [name for name in names if name not in BUILT_IN_SCOPES]}

    def _usage(self) -> Any:
        from otel_llm.cli import main

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main(["usage", "--by", "tenant,model", "--json", "--store", str(self.directory / "store.db")])
        return json.loads(printed.getvalue())


def answer_to(line: str) -> str:
    """The answer to a job, from a process that dies with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w") as out, tempfile.TemporaryDirectory() as directory:
            try:
                out.write(json.dumps(Run(Job.of(json.loads(line)), Path(directory)).run()))
            except BaseException:
                out.write(json.dumps({"error": traceback.format_exc()}))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def main() -> None:
    """Answer jobs until there are no more."""
    for name in [name for name in os.environ if name.startswith("OTEL_LLM_")]:
        del os.environ[name]  # where the recordings are is known by now, and is no setting
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(answer_to(line), flush=True)


if __name__ == "__main__":
    main()
