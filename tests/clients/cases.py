"""Which recorded requests are made through which library, recorded by whom."""

from __future__ import annotations

from dataclasses import dataclass

from tests.clients.calls import LANGCHAIN, client_of
from tests.clients.jobs import Job
from tests.recordings.recordings import Exchange, exchanges

__all__ = ["RUNS", "Made"]

_OTHER_LIBRARIES = frozenset({"vertexai", "mistralai", "cohere"})
"""Families recorded with libraries that are not among these (mistralai's own calls are in test_others.py)."""
_SPEAKS_OPENAI = frozenset({"api.openai.com"})


@dataclass(frozen=True)
class Made:
    """One library with one family of instrumentations, and everything that is called through it."""

    client: str
    family: str
    environment: str = "clients"

    @property
    def name(self) -> str:
        """As the rows of losses name it."""
        return f"{self.client}, {self.family}"

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The recorded requests that this library can make."""
        return tuple(exchange for exchange in exchanges() if self._takes(exchange))

    @property
    def job(self) -> Job:
        """All of them in one process."""
        asked = tuple((exchange.name, exchange.number) for exchange in self.exchanges)
        through = LANGCHAIN if self.client == LANGCHAIN else None
        return Job((self.client,), asked, (self.family,), through)

    def _takes(self, exchange: Exchange) -> bool:
        if exchange.method != "POST" or exchange.family in _OTHER_LIBRARIES:
            return False
        if self.client != LANGCHAIN:
            return client_of(exchange) == self.client
        # Beside OpenTelemetry's, Anthropic's library records what LangChain asks of it: see test_once.py.
        through_anthropic = exchange.api == "anthropic" and self.family == "OpenTelemetry"
        return through_anthropic or (exchange.api == "chat" and exchange.host in _SPEAKS_OPENAI)


RUNS = (
    Made("openai", "OpenTelemetry"),
    Made("openai", "OpenInference"),
    Made("openai", "OpenLLMetry"),
    Made("anthropic", "OpenTelemetry"),
    Made("anthropic", "OpenInference"),
    Made("anthropic", "OpenLLMetry"),
    Made("google-genai", "OpenTelemetry", "google"),
    Made("google-genai", "OpenInference"),
    Made("google-genai", "OpenLLMetry"),
    Made("langchain", "OpenTelemetry"),
    Made("langchain", "OpenInference"),
    Made("langchain", "OpenLLMetry"),
    Made("bedrock", "OpenTelemetry"),
    Made("bedrock", "OpenInference"),
    Made("ollama", "OpenInference"),
    Made("ollama", "OpenLLMetry"),
)
