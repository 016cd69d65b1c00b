"""The rows of the table of settings about `LLMClient`."""

from __future__ import annotations

from typing import Final

from otel_llm.config.setting import Kind, Setting

__all__ = ["CLIENT"]

CLIENT: Final = (
    Setting(
        "client.models",
        Kind.MAPPING,
        None,
        "Names of the program's own for models: a table of name and litellm's model (`fast` and `openai/gpt-4o-mini`).",
        default_note="none",
    ),
    Setting(
        "client.fallbacks",
        Kind.MAPPING,
        None,
        "Where a call goes when a model fails: a table of model and the models after it, separated by spaces.",
        default_note="none",
    ),
    Setting("client.retries", Kind.INT, 2, "How often a failed call is tried again, before any fallback.", at_least=0),
    Setting(
        "client.timeout",
        Kind.FLOAT,
        60.0,
        "The longest time that one attempt may take.",
        unit="s",
        at_least=0.001,
        at_most=3600,
    ),
    Setting(
        "client.cache",
        Kind.CHOICE,
        "none",
        "Where answers are kept for equal calls; `disk` and `redis` need litellm's own packages for them.",
        choices=("none", "memory", "disk", "redis"),
    ),
    Setting("client.cache_ttl", Kind.FLOAT, 3600.0, "The longest time an answer is kept.", unit="s", at_least=1),
    Setting(
        "client.cache_shared",
        Kind.BOOL,
        default=False,
        about="Lets tenants have each other's cached answers; by default each has a cache of its own.",
    ),
    Setting(
        "client.requests_per_minute",
        Kind.INT,
        None,
        "The calls a minute of each tenant to each model.",
        at_least=1,
        default_note="no limit",
    ),
    Setting(
        "client.tokens_per_minute",
        Kind.INT,
        None,
        "The tokens a minute of each tenant with each model.",
        at_least=1,
        default_note="no limit",
    ),
    Setting(
        "client.tenant_requests",
        Kind.MAPPING,
        None,
        "Calls a minute of single tenants: a table of `tenant` (all models together) or `tenant/model` and number.",
        at_least=0.000001,
        default_note="none",
    ),
    Setting(
        "client.tenant_tokens",
        Kind.MAPPING,
        None,
        "Tokens a minute of single tenants: a table of `tenant` or `tenant/model` and number.",
        at_least=0.000001,
        default_note="none",
    ),
    Setting(
        "client.on_limit",
        Kind.CHOICE,
        "wait",
        "What happens to a call over a limit.",
        choices=("wait", "refuse"),
    ),
    Setting("client.max_wait", Kind.FLOAT, 60.0, "A call that would wait longer is refused.", unit="s", at_least=0),
    Setting(
        "client.budget",
        Kind.FLOAT,
        None,
        "What each tenant may spend a day (UTC).",
        unit="USD",
        at_least=0,
        default_note="no limit",
    ),
    Setting(
        "client.tenant_budgets",
        Kind.MAPPING,
        None,
        "What single tenants may spend a day: a table of tenant and USD.",
        at_least=0,
        default_note="none",
    ),
    Setting(
        "client.on_budget",
        Kind.CHOICE,
        "refuse",
        "What happens to a call of a tenant whose budget is spent.",
        choices=("warn", "refuse"),
    ),
)
