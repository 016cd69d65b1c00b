"""The accuracy table: what it counts and what it leaves out."""

from __future__ import annotations

from dataclasses import replace

from tests.recordings.accuracy import differences
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


_COMMITTED = """\
Made with litellm 1.0.0.
## Recorded calls
| provider | model | text |
| --- | --- | --- |
| openai chat | 2/2 | 1/1 +1 |
## Recordings that litellm cannot take
| a#0 | why |
## Cost
| one | rule |
"""


def test_a_page_is_borne_out_by_the_same_run() -> None:
    """The same page gives no difference; a changed count does, when litellm is the one that the page names."""
    assert differences(_COMMITTED, _COMMITTED) == []
    changed = _COMMITTED.replace("2/2", "3/3")
    assert differences(_COMMITTED, changed) == [
        "only in the page: | openai chat | 2/2 | 1/1 +1 |",
        "only in this run: | openai chat | 3/3 | 1/1 +1 |",
    ]


def test_another_litellm_may_hide_something_else() -> None:
    """With another litellm counts may differ; rows, columns and fixtures may not, and nothing may be wrong."""
    other = _COMMITTED.replace("1.0.0", "2.0.0")
    assert differences(_COMMITTED, other.replace("2/2", "3/3").replace("why", "another reason")) == []
    assert differences(_COMMITTED, other.replace("| openai chat |", "| openai responses |")) != []
    assert differences(_COMMITTED, other.replace("| text |", "| texts |")) != []
    assert differences(_COMMITTED, other.replace("| one |", "| two |")) != []
    assert differences(_COMMITTED, other.replace("2/2", "1/2")) == ["not all is right: | openai chat | 1/2 | 1/1 +1 |"]
