"""OpenTelemetry tracing of LLM calls that never fails silently.

import otel_llm

otel_llm.configure(backend="local")                 # or no line of code: `otel-llm run python app.py`
with otel_llm.tenant("acme", user="u1", session="s1"):
    litellm.completion(...)                         # recorded: model, tokens, cost, latency, errors
otel_llm.flush()                                    # a report of where every span is
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from otel_llm.client.llm_client import LLMClient
    from otel_llm.context import Identity, carry, headers, tenant
    from otel_llm.control.current import current
    from otel_llm.control.feedback import add_feedback
    from otel_llm.control.health_app import health_app
    from otel_llm.control.links import opik_url
    from otel_llm.control.running import configure, flush, shutdown, status
    from otel_llm.control.version import VERSION as __version__  # noqa: N811  (a constant under its customary name)
    from otel_llm.instrumentation.functions.block import span
    from otel_llm.instrumentation.functions.decorator import trace
    from otel_llm.instrumentation.functions.opik import opik_trace
    from otel_llm.processors.presidio import PresidioRedactor
    from otel_llm.servers.asgi import AsgiMiddleware
    from otel_llm.servers.celery import instrument_celery
    from otel_llm.servers.wsgi import WsgiMiddleware

__all__ = [
    "AsgiMiddleware",
    "Identity",
    "LLMClient",
    "PresidioRedactor",
    "WsgiMiddleware",
    "__version__",
    "add_feedback",
    "carry",
    "configure",
    "current",
    "flush",
    "headers",
    "health_app",
    "instrument_celery",
    "opik_trace",
    "opik_url",
    "shutdown",
    "span",
    "status",
    "tenant",
    "trace",
]

_HOMES = {
    "LLMClient": ("otel_llm.client.llm_client", "LLMClient"),
    "AsgiMiddleware": ("otel_llm.servers.asgi", "AsgiMiddleware"),
    "Identity": ("otel_llm.context", "Identity"),
    "PresidioRedactor": ("otel_llm.processors.presidio", "PresidioRedactor"),
    "WsgiMiddleware": ("otel_llm.servers.wsgi", "WsgiMiddleware"),
    "__version__": ("otel_llm.control.version", "VERSION"),
    "add_feedback": ("otel_llm.control.feedback", "add_feedback"),
    "carry": ("otel_llm.context", "carry"),
    "configure": ("otel_llm.control.running", "configure"),
    "current": ("otel_llm.control.current", "current"),
    "flush": ("otel_llm.control.running", "flush"),
    "headers": ("otel_llm.context", "headers"),
    "health_app": ("otel_llm.control.health_app", "health_app"),
    "instrument_celery": ("otel_llm.servers.celery", "instrument_celery"),
    "opik_trace": ("otel_llm.instrumentation.functions.opik", "opik_trace"),
    "opik_url": ("otel_llm.control.links", "opik_url"),
    "shutdown": ("otel_llm.control.running", "shutdown"),
    "span": ("otel_llm.instrumentation.functions.block", "span"),
    "status": ("otel_llm.control.running", "status"),
    "tenant": ("otel_llm.context", "tenant"),
    "trace": ("otel_llm.instrumentation.functions.decorator", "trace"),
}

_MODULES: Final = ("errors", "testing")
"""Modules that programs write with their full name, without an import of their own."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing the package costs next to nothing."""
    if name not in _HOMES and name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    import importlib  # noqa: PLC0415  (only the first use of a name needs it)

    from otel_llm.loading import unforked  # noqa: PLC0415  (likewise)

    module, attribute = _HOMES.get(name, (f"{__name__}.{name}", None))
    with unforked():  # a thread's first `otel_llm.span` may come while another forks
        home = importlib.import_module(module)
        value = home if attribute is None else getattr(home, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
