"""The provider's own id of a response, where litellm hands out one of its own."""

from __future__ import annotations

import base64
from typing import Final

__all__ = ["vendor_id"]

_WRAPPED: Final = "resp_" + base64.b64encode(b"litellm:").decode().rstrip("=")[:-1]
"""How an id begins that litellm has wrapped."""


def vendor_id(identifier: str | None) -> str | None:
    """The provider's own id of a response.

    litellm hands out ids of the Responses API wrapped: `resp_` and the base64 of
    `litellm:custom_llm_provider:...;model_id:...;response_id:resp_...`, so that it can find the provider again.
    """
    if identifier is None or not identifier.startswith(_WRAPPED):
        return identifier
    encoded = identifier.removeprefix("resp_")
    try:
        wrapped = base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return identifier
    return wrapped.rpartition("response_id:")[2] or identifier
