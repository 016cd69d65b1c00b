"""The plugin that sets a Temporal client and its workers up for tracing."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.plugin import SimplePlugin
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from otel_llm.control.running import current_provider
from otel_llm.temporal.interceptor import OtelLlmInterceptor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from temporalio.worker import Worker, WorkerConfig, WorkflowRunner

__all__ = ["OtelLlmPlugin"]

_logger = logging.getLogger(__name__)

_PASSED_THROUGH: Final = ("otel_llm", "opentelemetry", "litellm", "wrapt")
"""Loaded once outside of the workflow sandbox. The first two hold what is current and must be the same everywhere;
the others come in where the module of a workflow imports that of its activities, and would be loaded anew for each."""


class OtelLlmPlugin(SimplePlugin):
    """Give it to `Client.connect(plugins=[...])` once; workers of that client take it from there.

    A worker whose client was made elsewhere, and a `Replayer`, can be given it themselves. `passthrough_modules` are
    further modules that the workflow sandbox is to take from outside, by their import names.
    """

    def __init__(self, *, passthrough_modules: Sequence[str] = ()) -> None:
        self._passed_through = (*_PASSED_THROUGH, *passthrough_modules)
        super().__init__(
            "otel_llm.OtelLlmPlugin",
            interceptors=[OtelLlmInterceptor()],
            workflow_runner=self._opened_runner,  # type: ignore[arg-type]  # no runner in, none out: Temporal makes its own
        )

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add what a worker lacks: nothing is traced twice where the client has a plugin of its own."""
        given = [*_interceptors_of(config.get("client")), *(config.get("interceptors") or ())]
        configured = super().configure_worker(config)
        if any(isinstance(interceptor, OtelLlmInterceptor) for interceptor in given):
            configured["interceptors"] = config.get("interceptors") or []
        if any(type(interceptor) is TracingInterceptor for interceptor in given):
            _logger.warning(
                "Temporal's own TracingInterceptor is set up beside OtelLlmPlugin: every Temporal span is recorded "
                "twice. Remove it from the client's and the worker's interceptors."
            )
        return configured

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002
        """Say so if what the worker does would be recorded nowhere."""
        if current_provider() is None and not isinstance(trace.get_tracer_provider(), TracerProvider):
            _logger.warning(
                "A Temporal worker starts with OtelLlmPlugin, but nothing records its spans: otel_llm was not started "
                "in this process. Call otel_llm.configure() before Worker.run(), or start it with `otel-llm run`."
            )
        await super().run_worker(worker, next)

    def _opened_runner(self, runner: WorkflowRunner | None) -> WorkflowRunner | None:
        if not isinstance(runner, SandboxedWorkflowRunner):
            return runner
        restrictions = runner.restrictions.with_passthrough_modules(*self._passed_through)
        return dataclasses.replace(runner, restrictions=restrictions)


def _interceptors_of(client: Any) -> list[Any]:
    return list(client.config(active_config=True).get("interceptors", ())) if client is not None else []
