"""Libraries that record themselves, switched on through their own door, in the shape of an instrumentor."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["AnthropicSDK", "PydanticAI"]


class PydanticAI:
    """Pydantic AI's own instrumentation of all agents (`Agent.instrument_all`)."""

    def __init__(self) -> None:
        self._before: object = None
        self._settings: object = None

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether the program has switched it on itself."""
        return bool(getattr(self._agent(), "_instrument_default", False)) and self._settings is None

    def instrument(self, *, tracer_provider: Any, meter_provider: Any, include_content: bool, **_: Any) -> None:
        """Record every agent that has no settings of its own."""
        models = importlib.import_module("pydantic_ai.models.instrumented")
        agent = self._agent()
        self._before = getattr(agent, "_instrument_default", False)
        self._settings = models.InstrumentationSettings(
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            include_content=include_content,
            include_binary_content=include_content,
            include_model_request_parameters=False,  # tool definitions, which stand in their own attribute too
        )
        agent.instrument_all(self._settings)

    def uninstrument(self) -> None:
        """Put back what was before, unless the program has changed it since."""
        agent = self._agent()
        if getattr(agent, "_instrument_default", None) is self._settings:
            agent.instrument_all(self._before)
        self._settings = None

    @staticmethod
    def _agent() -> Any:
        return importlib.import_module("pydantic_ai").Agent


class AnthropicSDK:
    """Anthropic's library from 2.0 on, which always records itself, into the global tracer provider."""

    is_instrumented_by_opentelemetry = False

    def instrument(self, **_: Any) -> None:
        """Nothing is to be done; raises ImportError where this version does not record itself after all."""
        importlib.import_module("anthropic._tracing")

    def uninstrument(self) -> None:
        """It was on before us and stays on."""
