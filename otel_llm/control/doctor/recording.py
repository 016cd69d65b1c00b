"""What is recorded, what is not and why, and what else is installed that records the same calls."""

from __future__ import annotations

import os
import re
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from otel_llm.config import CLIENT_LIBRARIES
from otel_llm.control.doctor.examination import ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.config import Config
    from otel_llm.contracts import Finding

__all__ = ["check_recording"]

_OTHERS: Final = re.compile(
    r"^(openinference-instrumentation-.+|openlit|traceloop-sdk|langtrace-python-sdk|logfire"
    r"|opentelemetry-instrumentation-(genai-.+|litellm|openai|openai-v2|anthropic|bedrock|cohere|groq|mistralai|ollama"
    r"|vertexai|google-genai|google-generativeai|langchain|llamaindex))$"
)
"""Distributions that record calls of language models as OpenTelemetry spans."""
_PROVIDERS: Final = (
    "arize-phoenix-otel",
    "azure-monitor-opentelemetry",
    "langfuse",
    "logfire",
    "openlit",
    "opentelemetry-distro",
    "traceloop-sdk",
)
"""Distributions that set a tracer provider of their own."""
_OWN_SPANS: Final = ("ddtrace", "sentry-sdk")
"""Distributions whose spans are, unless told otherwise, not OpenTelemetry's."""
_TO_OPIK: Final = ("opik", "opik-otlp", "otlp")
_OWN_PIPELINES: Final = ("langfuse", "opik")
"""SDKs with litellm callbacks that send spans by a way of their own."""


def check_recording(config: Config) -> Iterator[Finding]:
    """Each library that could be recorded, and each installed package that would record it too."""
    for library in ("litellm", *(("httpx", "aiohttp") if config.http_spans else ())):
        yield _library(library, config)
    yield from _clients(config)
    installed = sorted({_normal(name) for found in metadata.distributions() if (name := found.metadata["Name"])})
    others = [name for name in installed if _OTHERS.match(name)]
    if others:
        yield ok(
            "recording.overlap",
            f"Also installed: {', '.join(others)}. Where a program switches them on, their spans of calls that "
            "otel_llm records are left out of what otel_llm ships, so that nothing counts twice.",
        )
    yield from _vendors(installed)
    callbacks = [name for name in installed if name in _OWN_PIPELINES]
    if callbacks:
        yield ok(
            "recording.callbacks",
            f"Also installed: {', '.join(callbacks)}. A program that names one of them in `litellm.callbacks` sends "
            "each call a second time, by that package's own way; otel_llm cannot see that.",
        )
    if "opik" in installed and config.opik.join != "never" and any(name in config.backend for name in _TO_OPIK):
        yield ok(
            "recording.opik_track",
            "What the program records with `opik.track` and what otel_llm records make one trace (setting "
            "`opik.join`).",
        )


def _vendors(installed: list[str]) -> Iterator[Finding]:
    providers = [name for name in installed if name in _PROVIDERS]
    own = [name for name in installed if name in _OWN_SPANS]
    if providers:
        yield ok(
            "recording.vendors",
            f"Also installed: {', '.join(providers)}. Where a program sets one of them up, before otel_llm or after, "
            "its tracer provider is joined: it gets our spans too, and backends get LLM work and its ancestors only "
            "(setting `spans`).",
        )
    if own:
        yield ok(
            "recording.own_spans",
            f"Also installed: {', '.join(own)}. Their own spans stay with them, and ours do not go there.",
        )
    if "ddtrace" in own and os.environ.get("DD_TRACE_OTEL_ENABLED", "").lower() in {"1", "true"}:
        yield ok(
            "recording.ddtrace",
            "DD_TRACE_OTEL_ENABLED is set: our spans are in Datadog's traces where a program imports `ddtrace.auto` "
            "before everything else.",
        )


def _clients(config: Config) -> Iterator[Finding]:
    """Libraries that instrumentations of others record, as far as the settings name them."""
    names = [name for name in CLIENT_LIBRARIES if name in config.instrument]
    if not names:
        return
    from otel_llm.instrumentation.clients import would_record  # noqa: PLC0415  (few programs name any)

    for name in names:
        by, problem = would_record(name)
        if problem is None:
            yield ok(f"recording.{name}", f"{name} is recorded by {by} as soon as the program imports it.")
        else:
            what, _, remedy = problem.partition(": ")
            run = f"Run {remedy}" if remedy.startswith("pip ") else f"{remedy[:1].upper()}{remedy[1:]}"
            yield warning(f"recording.{name}", f"{what}.", run)


def _normal(name: str) -> str:
    """A distribution's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _library(library: str, config: Config) -> Finding:
    name = f"recording.{library}"
    if library not in config.instrument:
        source = config.source("instrument")
        return warning(name, f"{library} is left out by the setting `instrument` ({source}).", "Add it there.")
    if find_spec(library) is None:
        sentence = f"{library} is not installed, so there is nothing to record."
        return warning(name, sentence, "Install otel-llm[litellm].") if library == "litellm" else ok(name, sentence)
    if library != "litellm" and find_spec(_instrumentation_of(library)) is None:
        remedy = f"Install otel-llm[{library}]."
        return warning(name, f"{library} is installed, and what records its requests is not.", remedy)
    return ok(name, f"{library} is recorded as soon as the program imports it.")


def _instrumentation_of(library: str) -> str:
    return f"opentelemetry.instrumentation.{'aiohttp_client' if library == 'aiohttp' else library}"
