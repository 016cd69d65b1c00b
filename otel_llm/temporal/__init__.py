"""Temporal: workflows, activities and everything between them in one trace, on behalf of one tenant.

    from otel_llm.temporal import OtelLlmPlugin

    otel_llm.configure()
    client = await Client.connect("localhost:7233", plugins=[OtelLlmPlugin()])
    worker = Worker(client, task_queue="llm", workflows=[...], activities=[...])    # takes the plugin from its client

Client calls, activities and Nexus operations are recorded by `temporalio.contrib.opentelemetry`; workflows by our own
interceptor, because there a span must last as long as the work, keep its id when another worker replays the history,
and be sent once. Needs the extra `temporal`.
"""

from __future__ import annotations

try:
    import temporalio.contrib.opentelemetry  # noqa: F401  (whether it can be had)
except ModuleNotFoundError as error:
    message = f"otel_llm.temporal needs {error.name}: pip install 'otel-llm[temporal]'"
    raise ModuleNotFoundError(message, name=error.name) from error

from otel_llm.temporal.interceptor import OtelLlmInterceptor
from otel_llm.temporal.plugin import OtelLlmPlugin

__all__ = ["OtelLlmInterceptor", "OtelLlmPlugin"]
