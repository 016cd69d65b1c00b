"""The oracle: what the span of a recorded exchange must say, read from the recorded bytes alone.

`answer(exchange)` and `asking(exchange)` share nothing with litellm or otel_llm: JSON, base64 and struct only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.recordings import oracle_answers, oracle_requests
from tests.recordings.facts import Answer, Asking
from tests.recordings.wire import events_of

if TYPE_CHECKING:
    from tests.recordings.recordings import Exchange

__all__ = ["answer", "asking"]


def answer(exchange: Exchange) -> Answer:
    """What the provider answered."""
    if exchange.response.status >= 400:
        return Answer(error_status=exchange.response.status)
    return oracle_answers.READERS[exchange.api](events_of(exchange.response))


def asking(exchange: Exchange) -> Asking:
    """What was asked of the provider."""
    return oracle_requests.read(exchange)
