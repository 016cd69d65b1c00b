"""What a case of the interop matrix is made of; shared by the tests and the program that they run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["AFTER_US", "ALONE", "BEFORE_US", "MODEL", "ORDERS", "PLAIN", "REFUSED", "VENDORS", "Case", "Vendor"]

ALONE: Final = "alone"
BEFORE_US: Final = "before us"
AFTER_US: Final = "after us"
ORDERS: Final = (BEFORE_US, AFTER_US)
MODEL: Final = "gpt-4o-mini"
REFUSED: Final = "o3-mini"
"""The model that the provider on loopback does not have."""
PLAIN: Final = "plain"
"""The interpreter that cases fork from where nothing but litellm has to be there before."""


@dataclass(frozen=True)
class Vendor:
    """Another tool that a program may have, set up the way its documentation says."""

    name: str
    how: str
    """What the program does to set it up."""
    distribution: str
    """The package on PyPI whose version the table names."""
    sink: str
    """What its own exporter speaks: `otlp`, `azure`, `sentry` or `datadog`."""
    joined: bool = True
    """Whether it has (or is given) a tracer provider that our spans are on too: then it gets them as well."""
    ancestors: tuple[str, ...] = ("answer", "request")
    """What our backends get besides calls and their HTTP requests."""
    others: tuple[str, ...] = ()
    """What else they get: on a provider of ours, whatever the program records by OpenTelemetry's API."""
    traces: int = 1
    """How many traces the calls of the one request make in our backends."""
    same_trace: bool = True
    """Whether the vendor's request has the trace id that ours have."""
    comes_first: bool = False
    """Whether it asks to be imported before everything else, and its own context is missing where it is not."""
    preload: str = PLAIN
    """What the interpreter has to have imported before everything else, where the vendor comes first."""

    @property
    def gets(self) -> str:
        """What the vendor gets with us, in the words of the table."""
        return "what it gets without us, and our spans" if self.joined else "what it gets without us"

    @property
    def we_get(self) -> str:
        """What our backends get."""
        if self.others:
            return "calls, and what the program records by OpenTelemetry's API: there the provider is ours"
        return "calls and their ancestors" if self.ancestors else "calls: its own spans are not OpenTelemetry's"

    @property
    def trace(self) -> str:
        """Which trace that is."""
        return "one with its own" if self.same_trace else "ours"


_ON_OURS: Final = {
    "joined": False,
    "ancestors": ("answer",),
    "others": ("other query", "query"),
    "traces": 2,
    "same_trace": False,
}
"""A vendor whose spans are none of OpenTelemetry's: it knows nothing of us, nor we of it."""

VENDORS: Final = {
    vendor.name: vendor
    for vendor in (
        Vendor("OpenTelemetry SDK", "`TracerProvider()`, httpx instrumented", "opentelemetry-sdk", "otlp"),
        Vendor("Azure Monitor", "`configure_azure_monitor()`", "azure-monitor-opentelemetry", "azure"),
        Vendor("Logfire", "`logfire.configure()`, `logfire.instrument_httpx()`", "logfire", "otlp"),
        Vendor("Langfuse", "`Langfuse()`", "langfuse", "otlp"),
        Vendor("Phoenix", "`phoenix.otel.register(auto_instrument=True)`", "arize-phoenix-otel", "otlp"),
        Vendor("Sentry, OTLP", "`sentry_sdk.init(integrations=[OTLPIntegration()])`", "sentry-sdk", "otlp"),
        Vendor("Sentry, span processor", "`TracerProvider()` with its `SentrySpanProcessor`", "sentry-sdk", "sentry"),
        Vendor("Sentry", "`sentry_sdk.init(traces_sample_rate=1)`", "sentry-sdk", "sentry", **_ON_OURS),
        Vendor("ddtrace", "`import ddtrace.auto`", "ddtrace", "datadog", preload="ddtrace", **_ON_OURS),
        Vendor(
            "ddtrace, OpenTelemetry",
            "`import ddtrace.auto` with `DD_TRACE_OTEL_ENABLED`",
            "ddtrace",
            "datadog",
            joined=False,
            ancestors=(),
            comes_first=True,
            preload="ddtrace-otel",
        ),
    )
}


@dataclass(frozen=True)
class Case:
    """One run of the program."""

    vendor: str
    order: str
    provider: str = ""
    """Address of the provider of models."""
    sink: str = ""
    """Address of the vendor's side."""
    receiver: str = ""
    """Address of our backend."""
    directory: str = ""
    """Where the program may write."""
    again: bool = field(default=False)
    """Whether the vendor is set up a second time, as programs do by accident."""
