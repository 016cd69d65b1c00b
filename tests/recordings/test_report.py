"""The accuracy table: what it counts and what it leaves out."""

from __future__ import annotations

from dataclasses import replace

from tests.recordings.compare import Comparison
from tests.recordings.known_differences import Difference
from tests.recordings.recordings import Exchange, interactions_of
from tests.recordings.report import row_of, table, wrong

_ALWAYS = Difference("text", "never right", lambda _, said: True, lambda _, said, seen: seen == "other")


def _exchange() -> Exchange:
    return interactions_of("openai-v2/test_async_chat_completion_streaming")[0]


def _comparisons(exchange: Exchange) -> list[Comparison]:
    return [
        Comparison(exchange, "model", "m", "m"),
        Comparison(exchange, "tokens: input", 5, 6),
        Comparison(exchange, "tokens: reasoning", None, None),
        Comparison(exchange, "text", "said", "other", _ALWAYS),
    ]


def test_row_names_provider_api_and_stream() -> None:
    """A stream has a row of its own."""
    assert row_of(_exchange()) == "openai chat (stream)"


def test_table_counts_right_compared_and_unobservable() -> None:
    """Right of compared, what litellm hides apart, and nothing for what neither side says."""
    case = (_exchange(), _comparisons(_exchange()))
    assert table([case, case]).splitlines() == [
        "| provider and API | model | tokens: input | text |",
        "| --- | --- | --- | --- |",
        "| openai chat (stream) | 2/2 | 0/2 | +2 |",
    ]


def test_wrong_names_case_feature_and_both_values() -> None:
    """Only what is not right is listed, with what was recorded and what the span says."""
    (line,) = wrong([(_exchange(), _comparisons(_exchange()))])
    assert line == "openai-v2/test_async_chat_completion_streaming#0: tokens: input: recorded 5, span 6"


def test_kinds_of_zero_may_be_left_out_but_not_made_up() -> None:
    """No cached tokens may go unsaid; unsaid cached tokens may not become none, and input is never optional."""
    said_none = Comparison(_exchange(), "tokens: cache_read", 0, None)
    assert said_none.is_right
    assert not replace(said_none, expected=None, got=0).is_right
    assert not replace(said_none, feature="tokens: input").is_right


def test_a_difference_that_is_gone_is_not_right() -> None:
    """A row of known differences fails once the span is right after all, or wrong in another way."""
    known = Comparison(_exchange(), "text", "said", "other", _ALWAYS)
    assert known.is_right
    assert not replace(known, got="said").is_right
    assert not replace(known, got="a third").is_right
