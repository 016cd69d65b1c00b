"""What stands in a text for something that was taken out of it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

__all__ = ["Substitutes"]

_DIGITS: Final = 16
"""Hex digits of a pseudonym: 64 bits, so that two values of one program hardly ever share one."""


class Substitutes:
    """`<email>`, or with a `key` `<email:3f2a9c...>`: the same for the same value, and of no use without the key.

    A pseudonym is HMAC-SHA256 (RFC 2104) of kind and value, cut to 64 bits. Whoever has the key can test
    guesses: keep it as you keep the data, make it at least 16 random characters, and change it to cut old joins.
    """

    def __init__(self, key: str | None = None) -> None:
        self._key = None if key is None else key.encode("utf-8", "surrogatepass")

    def __call__(self, label: str, value: str) -> str:
        """The text that replaces `value`, a find of the kind `label`."""
        if self._key is None:
            return f"<{label}>"
        digest = hmac.new(self._key, f"{label}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"<{label}:{digest.hexdigest()[:_DIGITS]}>"

    def __repr__(self) -> str:
        return f"Substitutes({'keyed' if self._key is not None else 'plain'})"
