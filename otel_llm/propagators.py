"""OpenTelemetry's propagators, which upstream loads while it is imported.

A name in OTEL_PROPAGATORS that nothing provides is an error then, wherever the first import is: so ours is here.
"""

from __future__ import annotations

from otel_llm.errors import ConfigError

try:
    from opentelemetry import propagate
except ValueError as error:
    raise ConfigError(
        f"OTEL_PROPAGATORS (environment): {error} Install the package that has it, such as "
        "opentelemetry-propagator-b3, or take the name out."
    ) from error

__all__ = ["propagate"]
