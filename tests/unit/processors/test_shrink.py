"""Values made shorter: they fit, stay valid, and lose as little as need be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.processors.shrink import MARKER, byte_length, characters_lost, shrink_json, shrink_text

TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=400)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def _texts(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [text for entry in inner for text in _texts(entry)]


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(0, 400))
def test_text_fits_and_keeps_its_beginning(text: str, limit: int) -> None:
    """Cut text has at most the limit's bytes, begins as it did and says that it was cut."""
    cut = shrink_text(text, limit)
    assert byte_length(cut) <= limit
    if byte_length(text) <= limit:
        assert cut == text
    elif limit >= byte_length(MARKER):
        assert cut.endswith(MARKER)
        assert text.startswith(cut.removesuffix(MARKER))


@settings(deadline=None)
@given(TREES, st.integers(1, 2000))
def test_json_fits_and_stays_json_of_the_same_shape(tree: object, limit: int) -> None:
    """Shrunk JSON parses, fits, and differs from the original in cut texts only."""
    tree = [tree]
    shrunk = shrink_json(json.dumps(tree), limit)
    if shrunk is None:
        assert byte_length(json.dumps(tree, ensure_ascii=False, separators=(",", ":"))) > limit
        return
    assert byte_length(shrunk) <= limit
    before, after = _texts(tree), _texts(json.loads(shrunk))
    assert len(before) == len(after)
    assert all(new == old or new.endswith(MARKER) for old, new in zip(before, after, strict=True))


def test_json_without_texts_fits_or_does_not() -> None:
    """A bare number or null has nothing to cut."""
    assert shrink_json("null", 4) == "null"
    assert shrink_json("123456", 3) is None


def test_longest_texts_pay_first() -> None:
    """A short message keeps every letter while a long one beside it is cut."""
    text = json.dumps([{"role": "system", "content": "be brief " * 10}, {"role": "user", "content": "x" * 100_000}])
    shrunk = json.loads(shrink_json(text, 2_000) or "")
    assert shrunk[0]["content"] == "be brief " * 10
    assert 1_500 < len(shrunk[1]["content"]) < 2_000


def test_escapes_are_reckoned_with() -> None:
    """Text that grows when it is written as JSON still fits."""
    shrunk = shrink_json(json.dumps({"content": '"\n\x01' * 10_000}), 1_000)
    assert shrunk is not None
    assert 500 < len(shrunk) <= 1_000


def test_structure_that_is_too_large_cannot_be_shrunk() -> None:
    """Thousands of short texts leave nothing to cut; so does nesting beyond what Python reads."""
    assert shrink_json(json.dumps([{"role": "user", "content": "hi"}] * 10_000), 1_000) is None
    assert shrink_json("[" * 100_000 + "]" * 100_000, 1_000) is None


@pytest.mark.parametrize("letter", ["a", "é"])
@pytest.mark.parametrize("limit", [0, 5, 14, 20, 40, 100, 1_000])
def test_a_text_cut_twice_still_counts_all_that_is_missing(letter: str, limit: int) -> None:
    """What the recorder cut before is counted together with what is cut now, within the limit."""
    again = shrink_text(f"{letter * 5_000}…[truncated, 995000 characters]", limit)
    assert len(again.encode()) <= limit
    kept, marker, count = again.partition("…[truncated, ")
    if marker and count.endswith("]"):
        assert int(count.removesuffix(" characters]")) + len(kept) == 1_000_000
    else:
        assert limit < 40


def test_characters_lost_are_those_that_markers_name() -> None:
    """Of several texts in one value the counts add up; a marker without a count adds nothing."""
    assert characters_lost('["a…[truncated, 12 characters]", "b…[truncated, 30 characters]", "c…[truncated]"]') == 42
    assert characters_lost("plain") == 0


def test_text_that_is_no_json_is_the_callers_to_cut() -> None:
    """Invalid JSON is reported, not guessed at."""
    with pytest.raises(ValueError, match="Expecting"):
        shrink_json("plain words", 5)
