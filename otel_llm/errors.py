"""Every exception that otel_llm raises, and nothing else.

    OtelLlmError
    ├── ConfigError            a setting is unknown, malformed or contradicts another
    │   └── UnknownSettingError    names the nearest setting that exists
    ├── BackendError           a backend cannot be built or used as configured
    ├── StoreError             the local store cannot be opened, read or written
    └── InstrumentationError   a library cannot be instrumented (raised in strict mode only)

Each message says what failed, why most likely, and what to do. None of them ever reaches a user's
LLM call: they leave only through `configure`, the CLI and calls a program makes to us directly.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "ConfigError",
    "InstrumentationError",
    "OtelLlmError",
    "StoreError",
    "UnknownSettingError",
]


class OtelLlmError(Exception):
    """Base of all errors of this package."""


class ConfigError(OtelLlmError):
    """A setting is malformed or contradicts another; the program's own input is at fault."""


class UnknownSettingError(ConfigError):
    """A setting does not exist; the message names the nearest one that does."""


class BackendError(OtelLlmError):
    """A backend cannot be built or used as configured."""


class StoreError(OtelLlmError):
    """The local store cannot be opened, read or written."""


class InstrumentationError(OtelLlmError):
    """A library that should be recorded cannot be; raised only where the caller asked for strictness."""
