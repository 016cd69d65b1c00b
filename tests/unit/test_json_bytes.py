"""Both ways of writing and reading JSON say the same."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@pytest.fixture(scope="module")
def without_orjson() -> Iterator[ModuleType]:
    """The module as it is where there is no orjson."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "orjson", None)
        patch.delitem(sys.modules, "otel_llm.json_bytes")
        yield importlib.import_module("otel_llm.json_bytes")
        patch.undo()


@settings(deadline=None)
@given(_VALUES)
def test_both_ways_write_what_is_read(without_orjson: ModuleType, value: Any) -> None:
    """Every plain value comes back from either way, lone surrogates and huge integers included, by either reader."""
    for way in (json_bytes, without_orjson):
        written = way.write(value)
        assert json.loads(written) == value
    assert without_orjson.read(json_bytes.write(value)) == value


@pytest.mark.parametrize("text", ["", "{", "[NaN]", '"a\x01"', "nope", "[1,]"])
def test_what_is_no_json_is_refused(without_orjson: ModuleType, text: str) -> None:
    """Text that is not strict JSON raises the one error that callers catch, which is a ValueError."""
    for way in (json_bytes, without_orjson):
        with pytest.raises(way.UNREADABLE):
            way.read(text)
        assert issubclass(way.UNREADABLE, ValueError)


def test_half_characters_are_escaped() -> None:
    """What UTF-8 cannot hold is written as JSON's escape."""
    assert json_bytes.write(["\ud800", "ö"]) == '["\\ud800","ö"]'.encode()
