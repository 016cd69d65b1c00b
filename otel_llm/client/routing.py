"""What `LLMClient` tells litellm: which deployments there are, and how answers are cached.

The process has one response cache in litellm. It is set only where the program has set none, and answers only calls
that ask for it, so that the program's other calls are as they were.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_llm.config.model import ClientSettings

__all__ = ["cache_control", "estimated_tokens", "know_model", "make_router", "used_tokens"]

_CACHE_TYPES = {"memory": "local", "disk": "disk", "redis": "redis"}
_BYTES_PER_TOKEN = 4
_ANSWER_TOKENS = 256
"""What an answer is taken to have where the call says no most."""


def make_router(
    library: Any, settings: ClientSettings, model: str | None, model_list: Sequence[Mapping[str, Any]] | None
) -> Any:
    """A Router over `model_list`, else over the setting `client.models`; other models go by litellm's own names."""
    if settings.cache != "none":
        _set_cache(library, settings)
    return library.Router(
        model_list=[dict(deployment) for deployment in model_list] if model_list else _deployments(settings, model),
        fallbacks=[{name: after.split()} for name, after in settings.fallbacks.items()],
        num_retries=settings.retries,
        timeout=settings.timeout,
        cache_responses=settings.cache != "none",  # without it, Router tells every call not to use the cache
    )


def _deployments(settings: ClientSettings, model: str | None) -> list[dict[str, Any]]:
    named = dict(settings.models)
    others = [model, *settings.fallbacks, *(after for text in settings.fallbacks.values() for after in text.split())]
    for name in others:
        if name is not None:
            named.setdefault(name, name)
    return [{"model_name": name, "litellm_params": {"model": target}} for name, target in named.items()]


_adding = threading.RLock()


def know_model(library: Any, router: Any, model: str) -> None:
    """Let `router` take a model by litellm's own name, for which nobody made a deployment."""
    if _is_known(router, model):
        return
    with _adding:
        if not _is_known(router, model):
            router.add_deployment(library.types.router.Deployment(model_name=model, litellm_params={"model": model}))


def _is_known(router: Any, model: str) -> bool:
    registry = getattr(router, "registry", None)
    if registry is None:  # litellm before 1.109
        return model in router.model_names or model in (router.model_group_alias or {})
    known = registry()
    return model in known.names(kind="group_set") or model in known.aliases()


def _set_cache(library: Any, settings: ClientSettings) -> None:
    if library.cache is None:
        library.cache = library.Cache(type=_CACHE_TYPES[settings.cache], mode="default_off", ttl=settings.cache_ttl)


def cache_control(settings: ClientSettings, who: str) -> dict[str, Any]:
    """The `cache` argument of litellm for a call of tenant `who`: a namespace of its own unless tenants share."""
    control: dict[str, Any] = {"use-cache": True, "ttl": settings.cache_ttl}
    if not settings.cache_shared:
        control["namespace"] = f"tenant:{who}"
    return control


def estimated_tokens(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> float:
    """About how many tokens a call will use: four bytes each of what is asked, and the most that may be answered."""
    asked = len(json.dumps(list(messages), default=str, ensure_ascii=False).encode("utf-8", "replace"))
    most = parameters.get("max_completion_tokens") or parameters.get("max_tokens") or _ANSWER_TOKENS
    return asked / _BYTES_PER_TOKEN + float(most)


def used_tokens(answer: Any) -> float | None:
    """Tokens that a whole answer used: none where it came out of the cache; None where it does not say."""
    if (getattr(answer, "_hidden_params", None) or {}).get("cache_hit"):
        return 0.0
    total = getattr(getattr(answer, "usage", None), "total_tokens", None)
    return float(total) if isinstance(total, (int, float)) else None
