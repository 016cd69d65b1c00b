"""Every exception that otel_llm raises, and nothing else.

    OtelLlmError
    ├── ConfigError            a setting is unknown, malformed or contradicts another
    │   └── UnknownSettingError    names the nearest setting that exists
    ├── BackendError           a backend cannot be built or used as configured
    ├── StoreError             the local store cannot be opened, read or written
    ├── InstrumentationError   a library cannot be instrumented (raised in strict mode only)
    └── ClientError            `LLMClient` does not make a call
        ├── LimitExceededError     the tenant's requests or tokens per minute are used up
        └── BudgetExceededError    the tenant's money for today is spent

Each message says what failed, why most likely, and what to do. None of them ever reaches a user's
LLM call: they leave only through `configure`, the CLI and calls a program makes to us directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "BackendError",
    "BudgetExceededError",
    "ClientError",
    "ConfigError",
    "InstrumentationError",
    "LimitExceededError",
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


class ClientError(OtelLlmError):
    """`LLMClient` does not make a call; the provider was not asked."""


class LimitExceededError(ClientError):
    """The tenant's requests or tokens per minute are used up."""

    def __init__(self, tenant: str, model: str, *, retry_after: float) -> None:
        self.tenant = tenant
        self.model = model
        self.retry_after = retry_after
        """Seconds after which the call would go through."""
        super().__init__(
            f"The rate limit of tenant {tenant} for model {model} is used up. Call again in {retry_after:.1f} s, raise "
            "its limit (`client.requests_per_minute`, `client.tokens_per_minute`, `client.tenant_requests`, "
            "`client.tenant_tokens`), or let calls wait longer (`client.on_limit`, `client.max_wait`)."
        )


class BudgetExceededError(ClientError):
    """The tenant's money for today (UTC) is spent."""

    def __init__(self, tenant: str, *, spent: Decimal, budget: Decimal) -> None:
        self.tenant = tenant
        self.spent = spent
        """USD spent today."""
        self.budget = budget
        """USD a day."""
        super().__init__(
            f"Tenant {tenant} has spent {spent:.6f} of its {budget} USD for today (UTC). Its calls go on at midnight; "
            "raise its budget (`client.budget`, `client.tenant_budgets`), or only warn (`client.on_budget`)."
        )
