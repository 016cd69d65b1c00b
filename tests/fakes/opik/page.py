"""What Opik's page can draw as a conversation: a port of the conditions of its front end (July to September 2026).

`apps/opik-frontend/src/shared/PrettyLLMMessage/llmMessages/providers/openai`: one message that it does not know, and it
draws none, but shows JSON.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_drawn"]

_ROLES = frozenset({"system", "user", "assistant", "tool", "function"})


def is_drawn(side: Any, which: str) -> bool:
    """Whether a row's `input` or `output` (`which`) is drawn as messages."""
    if isinstance(side, list):
        return _are_messages(side)
    if not isinstance(side, dict):
        return False
    choices = side.get("choices")
    if which == "output" and isinstance(choices, list):
        return _are_messages([choice.get("message") if isinstance(choice, dict) else None for choice in choices])
    return _are_messages(side.get("messages"))


def _are_messages(items: Any) -> bool:
    return isinstance(items, list) and bool(items) and all(map(_is_message, items))


def _is_message(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("role") not in _ROLES:
        return False
    return item["role"] != "tool" or "content" in item
