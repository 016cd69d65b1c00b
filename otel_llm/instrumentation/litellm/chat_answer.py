"""An answer in a provider's own words, told in those of a chat completion, which the rest of us reads."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from otel_llm.instrumentation.litellm.guest import guest
from otel_llm.instrumentation.litellm.reading import get

__all__ = ["ChatAnswer"]


class ChatAnswer(dict[str, Any]):
    """Members by name, as a chat completion has them: `id`, `model`, `choices`, `usage`, `service_tier`."""

    @cached_property
    def original(self) -> Any:
        """What litellm can price: a response of its own."""
        library, usage = guest(), get(self, "usage")
        counted = library.Usage(**usage) if isinstance(usage, dict) else None
        made = library.ModelResponse(id=get(self, "id"), model=get(self, "model"), usage=counted)
        if get(self, "service_tier") is not None:
            made.service_tier = get(self, "service_tier")
        return made
