"""Secrets that this process has been given, to be found wherever they turn up, whatever they look like.

A key without a format of its own (Azure, Mistral, Cohere, Opik) can only be found by its value. The values come from
the settings and from environment variables that are named like secrets; they are kept in memory only.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from otel_llm.config import Config

__all__ = ["KnownSecrets", "secrets_of"]

_SECRET_NAME: Final = re.compile(
    r"(API_?KEY|ACCESS_?KEY|SECRET|SECRET_?KEY|TOKEN|PASSWORD|PASSWD|PRIVATE_?KEY|MASTER_?KEY|AUTH)$"
)
_SHORTEST: Final = 8
_SHORTEST_WORD: Final = 16
"""Characters below which a value of letters only may be an ordinary word (`disabled`, `production`)."""
_MOST: Final = 64
_SCHEMES: Final = ("Bearer ", "Basic ", "Token ")


def secrets_of(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """The secrets among the settings, in the environment and in its proxy addresses; at most 64."""
    environ = os.environ if environ is None else environ
    found = [config.opik.api_key or "", config.pseudonym_key or "", *config.otlp.headers.values()]
    for url in (config.opik.url, config.otlp.endpoint):
        found += _of_url(url)
    for name, value in environ.items():
        upper = name.upper()
        if upper.endswith("_PROXY"):
            found += _of_url(value)
        elif _SECRET_NAME.search(upper):
            found.append(value)
    return list(dict.fromkeys(secret for secret in map(_bare, found) if _is_telling(secret)))[:_MOST]


class KnownSecrets:
    """Finds secrets by their value, as they are, inside JSON text and percent-encoded in a URL."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling: secret for secret in secrets for spelling in _spellings(secret)}
        # The longest first: one secret may be the beginning of another.
        self._spellings = {spelling: spellings[spelling] for spelling in sorted(spellings, key=len, reverse=True)}

    def are_in(self, text: str) -> bool:
        """Whether one of them is."""
        return any(spelling in text for spelling in self._spellings)

    def replace(self, text: str, substitute: Callable[[str], str]) -> str:
        """`text` with each of them replaced by what `substitute` answers to it."""
        for spelling, secret in self._spellings.items():
            if spelling in text:
                text = text.replace(spelling, substitute(secret))
        return text

    def __repr__(self) -> str:
        return f"KnownSecrets({len(self._spellings)} spellings)"


def _of_url(url: str) -> Iterator[str]:
    """The password in an address, as it is written and as it is meant."""
    try:
        password = urlsplit(url if "://" in url else f"//{url}").password or ""
    except ValueError:
        return
    yield password
    yield unquote(password)


def _bare(secret: str) -> str:
    for scheme in _SCHEMES:
        secret = secret.removeprefix(scheme)
    return secret.strip()


def _is_telling(secret: str) -> bool:
    """Whether finding this value says that the secret was found, and not just a word."""
    return len(secret) >= (_SHORTEST_WORD if secret.isalpha() else _SHORTEST)


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")
