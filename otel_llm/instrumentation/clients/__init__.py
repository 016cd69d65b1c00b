"""Turns on the best kept instrumentation that is installed for each client library that a program names."""

from otel_llm.instrumentation.clients.switch import ClientInstrumentation, would_record

__all__ = ["ClientInstrumentation", "would_record"]
