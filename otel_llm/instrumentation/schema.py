"""Tracers that say which state of the conventions their spans follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from otel_llm import semconv

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

__all__ = ["SchemaTracerProvider"]


class SchemaTracerProvider(trace.TracerProvider):
    """Hands out the tracers of `provider` (None: of the global one), with `semconv.SCHEMA_URL` whatever is asked for.

    For `opentelemetry-util-genai` 1.3b0, which asks for the URL of version 1.37 and writes names that are newer.
    """

    def __init__(self, provider: trace.TracerProvider | None) -> None:
        self._provider = provider

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,  # noqa: ARG002  (the very thing that is replaced)
        attributes: Attributes | None = None,
    ) -> trace.Tracer:
        """A tracer whose spans carry the schema URL of the conventions that we write."""
        provider = self._provider or trace.get_tracer_provider()
        return provider.get_tracer(
            instrumenting_module_name, instrumenting_library_version, semconv.SCHEMA_URL, attributes
        )
