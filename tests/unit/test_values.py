"""Any value that a program hands over becomes a plain one, and says so where it had to be changed."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import types
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from unittest import mock

import attr
import pydantic
import pydantic.v1
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.values import to_attribute, to_json, to_plain


def strictly_parsed(text: str) -> Any:
    """JSON as RFC 8259 has it: NaN and Infinity are refused."""

    def refuse(word: str) -> None:
        raise AssertionError(f"not JSON: {word}")

    text.encode()  # a lone surrogate would raise
    return json.loads(text, parse_constant=refuse)


# --- values that are kept ------------------------------------------------------------------------------------

PLAIN = [
    None,
    True,
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    "",
    "prompt",
    "héllo 😀",
    "with\0nul",
    [],
    {},
    [1, "a", None, [2.5, {"k": False}]],
    {"messages": [{"role": "user", "content": "hi"}]},
]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_values_stay_what_they_are(value: object) -> None:
    """What JSON knows is recorded as it is and not marked."""
    assert to_plain(value) == (value, False)


def test_a_plain_value_is_copied() -> None:
    """What the program changes afterwards does not change what was recorded."""
    value = {"messages": [{"role": "user"}]}
    recorded = to_plain(value).value
    value["messages"][0]["role"] = "changed"
    assert recorded == {"messages": [{"role": "user"}]}


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Role(str, enum.Enum):
    USER = "user"


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str]
    secret: str = dataclasses.field(default="s3cret", repr=False)


@dataclasses.dataclass
class Slotted:
    __slots__ = ("x",)
    x: int


@attr.s(auto_attribs=True)
class Attrs:
    a: int
    secret: str = attr.ib(default="s3cret", repr=False)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    inner: dict[str, int] = {}
    key: pydantic.SecretStr = pydantic.SecretStr("s3cret")
    hidden: str = pydantic.Field("s3cret", exclude=True)
    _private: str = pydantic.PrivateAttr("s3cret")


class OldModel(pydantic.v1.BaseModel):
    name: str
    hidden: str = pydantic.v1.Field("s3cret", exclude=True)


class Root(pydantic.RootModel[list[int]]):
    pass


class Pair(NamedTuple):
    a: int
    b: int


ID = uuid.UUID("12345678123456781234567812345678")

STRUCTURED = [
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Role.USER, "user"),
    ((1, 2), [1, 2]),
    (Pair(1, 2), [1, 2]),
    ({3}, [3]),
    (frozenset({"a"}), ["a"]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.UserDict({"a": 1}), {"a": 1}),
    (collections.UserList([1]), [1]),
    (collections.deque([1, 2]), [1, 2]),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    (range(3), [0, 1, 2]),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc), "2026-01-02T03:04:05+00:00"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.time(3, 4), "03:04:00"),
    (dt.timedelta(seconds=90), "0:01:30"),
    (ID, str(ID)),
    (decimal.Decimal("1.10"), "1.10"),
    (fractions.Fraction(1, 2), 0.5),
    (PurePosixPath("/a/b"), "/a/b"),
    (Point(1, ["t"]), {"x": 1, "tags": ["t"]}),
    (Slotted(1), {"x": 1}),
    (Attrs(1), {"a": 1}),
    (OldModel(name="n"), {"name": "n"}),
    (Root([1, 2]), [1, 2]),
    ({2: "a", None: "b"}, {"2": "a", "null": "b"}),
    ({(1, "x"): 1}, {'[1,"x"]': 1}),
]


@pytest.mark.parametrize(("value", "expected"), STRUCTURED, ids=lambda value: type(value).__name__)
def test_structured_values_become_plain_without_a_mark(value: object, expected: object) -> None:
    """Models, records, sets, dates and the like are recorded in full; fields kept out of the repr stay out."""
    assert to_plain(value) == (expected, False)


def test_a_pydantic_model_is_read_without_its_secrets() -> None:
    """Fields and extras of a model are recorded; excluded, private and secret ones are not."""
    plain = to_plain(Model(name="n", inner={"a": 1}, more=[1]))
    assert plain.value == {"name": "n", "inner": {"a": 1}, "key": "<pydantic.types.SecretStr>", "more": [1]}
    assert "s3cret" not in to_json(Model(name="n")).text


BUILT_INS: list[tuple[Any, Any]] = [(str, "text"), (int, 7), (float, 1.5), (dict, {"a": 1}), (list, [1, 2])]


def test_subclasses_of_built_ins_are_read_by_the_built_in_methods() -> None:
    """A str, int, float, dict or list subclass is recorded as what it holds, whatever it overrides."""

    def raising(*_: object) -> Any:
        raise RuntimeError("never called")

    methods = ("__str__", "__repr__", "__len__", "__iter__", "__int__", "__float__", "__getitem__", "items", "keys")
    hostile = dict.fromkeys(methods, raising)
    values = [type("Own", (base,), hostile)(content) for base, content in BUILT_INS]
    assert [to_plain(value) for value in values] == [(content, False) for _, content in BUILT_INS]


# --- values that are replaced --------------------------------------------------------------------------------


class Anything:
    pass


REPLACED = [
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
    (2**63, str(2**63)),
    (2**70, str(2**70)),
    (1 << 100_000, "<integer of 100001 bits>"),
    (b"12345", "<bytes 5>"),
    (bytearray(3), "<bytes 3>"),
    (memoryview(b"12"), "<bytes 2>"),
    ("a\ud800b", "a�b"),
    ("\udc00\ud800", "��"),
    ("\ud83d\ude00", "😀"),
    ((n for n in [1]), "<generator>"),
    (iter([1]), "<list_iterator>"),
    (object(), "<object>"),
    (Anything, "<type>"),
    (ValueError("with a secret"), "<ValueError>"),
    ({1: "a", "1": "b"}, {"1": "b"}),
]


@pytest.mark.parametrize(("value", "expected"), REPLACED, ids=lambda value: type(value).__name__)
def test_what_cannot_be_kept_is_replaced_and_marked(value: object, expected: object) -> None:
    """Numbers that JSON lacks, bytes, lone surrogates and unknown objects become text, and the result is marked."""
    assert to_plain(value) == (expected, True)


def test_a_generator_is_not_consumed() -> None:
    """Recording a generator leaves all its items to the program."""
    numbers = (number for number in range(3))
    to_json({"stream": numbers})
    assert list(numbers) == [0, 1, 2]


def test_an_open_file_is_not_read(tmp_path: Path) -> None:
    """Recording a file object leaves its position where it was."""
    (tmp_path / "audio").write_text("content")
    with (tmp_path / "audio").open() as file:
        plain = to_plain({"file": file})
        assert file.read() == "content"
    assert plain == ({"file": "<_io.TextIOWrapper>"}, True)


def test_a_coroutine_is_neither_awaited_nor_closed() -> None:
    """A coroutine among the arguments still belongs to the program."""

    async def work() -> int:
        return 7

    coroutine = work()
    assert to_plain(coroutine) == ("<coroutine>", True)
    with pytest.raises(StopIteration, match="7"):
        coroutine.send(None)


def test_an_array_is_named_and_never_touched() -> None:
    """A tensor-like object is recorded by its class; none of its methods runs, for each may be heavy."""

    class Tensor:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked for")

        def __len__(self) -> int:
            raise AssertionError

        __iter__ = __array__ = __index__ = __float__ = __str__ = __repr__ = __len__

    Tensor.__module__, Tensor.__name__ = "torch", "Tensor"
    assert to_plain(Tensor()) == ("<torch.Tensor>", True)


# --- hostile values ------------------------------------------------------------------------------------------


class LyingMapping(Mapping[str, Any]):
    """Claims one item and yields them for ever."""

    def __getitem__(self, key: str) -> Any:
        return key

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        number = 0
        while True:
            number += 1
            yield str(number)


class RaisingMapping(LyingMapping):
    """Raises as soon as it is read."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")


class OddPairs(LyingMapping):
    """Its items are not pairs."""

    def items(self) -> Any:
        return [1, 2, 3]


class Liar:
    """Says it is a dict."""

    @property
    def __class__(self) -> Any:
        return dict


class HostileMeta(type):
    """A class whose class raises at every question."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def __hash__(cls) -> int:
        raise RuntimeError("hash")


class Hostile(metaclass=HostileMeta):
    """Nothing can be asked of it."""


class HalfBuilt(pydantic.BaseModel):
    """Made without its constructor, so its state is missing."""

    name: str


def test_a_mapping_without_end_is_cut() -> None:
    """A mapping that lies about its length is read up to the limit of items."""
    plain = to_plain(LyingMapping(), max_items=10)
    assert plain.replaced
    assert list(plain.value) == [*(str(number) for number in range(1, 11)), "…[more items]"]


@pytest.mark.parametrize("value", [RaisingMapping(), OddPairs(), Liar(), mock.MagicMock(), Hostile()], ids=lambda v: "")
def test_objects_that_raise_or_lie_become_placeholders(value: object) -> None:
    """An object that raises at every question, or claims another class, is named in angle brackets."""
    plain = to_plain(["before", value, "after"])
    assert plain.replaced
    assert plain.value[::2] == ["before", "after"]
    assert plain.value[1].startswith("<")


def test_a_model_without_state_does_not_raise() -> None:
    """A pydantic model that never ran its constructor is recorded as what little it has."""
    assert to_plain(HalfBuilt.__new__(HalfBuilt)).value == {}


def test_a_released_buffer_does_not_raise() -> None:
    """A memoryview that was released is a placeholder."""
    view = memoryview(b"12")
    view.release()
    assert to_plain(view) == ("<unreadable memoryview>", True)


def test_cycles_end() -> None:
    """A container inside itself is recorded once; the same container twice side by side is not a cycle."""
    cyclic: dict[str, Any] = {"a": 1}
    cyclic["self"] = [cyclic]
    assert to_plain(cyclic) == ({"a": 1, "self": ["<cycle>"]}, True)
    shared = [1]
    assert to_plain([shared, shared]) == ([[1], [1]], False)


def test_ten_thousand_levels_end_at_the_limit() -> None:
    """Nesting deeper than the limit is replaced, however deep it goes and whatever limit is asked for."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert to_plain(deep, max_depth=3) == ([[["<nested too deep>"]]], True)
    assert to_json(deep, max_depth=1_000_000).text.count("[") == 100


def test_a_cyclic_enum_value_ends() -> None:
    """An enum member that is its own value ends in a placeholder."""
    member = Colour.RED
    with mock.patch.object(member, "_value_", member):
        assert to_plain(member).replaced


def test_an_exhausted_stack_is_survived() -> None:
    """Called at the very end of the program's own recursion, a placeholder comes back instead of an error."""

    def down() -> Any:
        try:
            return down()
        except RecursionError:
            return to_plain({"a": [{"b": Model(name="n")}]})

    assert isinstance(down().value, (dict, str))


def test_signals_of_the_program_pass_through() -> None:
    """Ctrl-C and SystemExit are not ours to catch, even when they arrive while a value is read."""

    class Interrupting(LyingMapping):
        def __iter__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_plain(Interrupting())


# --- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_a_long_text_is_cut_at_the_limit_of_bytes(letter: str) -> None:
    """What is kept is a whole number of letters within the limit, and the marker counts the rest."""
    plain = to_plain(letter * 1000, max_bytes=101)
    kept = 101 // len(letter.encode())
    assert plain == (f"{letter * kept}…[truncated, {1000 - kept} characters]", True)


def test_a_text_cut_beside_a_surrogate_still_counts_right() -> None:
    """Replacing a surrogate and cutting at once keeps the count of letters left out true."""
    assert to_plain("\ud800" * 10, max_bytes=6) == ("��…[truncated, 8 characters]", True)


def message(text: str) -> dict[str, Any]:
    """A message in the conventions' shape."""
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


def test_texts_are_cut_and_their_structure_stays() -> None:
    """A huge message among others loses text, no other does, and each keeps all its members."""
    plain = to_plain([message("a" * 1_000_000), message("short"), message("b" * 900)], max_bytes=5_000)
    huge, short, other = plain.value
    assert (short, other) == (message("short"), message("b" * 900))
    assert huge == message(huge["parts"][0]["content"])
    assert huge["parts"][0]["content"].startswith("aaa")
    kept = huge["parts"][0]["content"].partition("…")[0]
    assert 3_000 < len(kept) < 5_000
    assert huge["parts"][0]["content"].endswith(f"…[truncated, {1_000_000 - len(kept)} characters]")
    assert plain.replaced


def test_many_long_texts_share_the_bytes() -> None:
    """A hundred long messages all keep the same beginning of their texts, and nothing of their structure is lost."""
    plain = to_plain([message("é" * 10_000) for _ in range(100)], max_bytes=50_000)
    assert all(one == message(one["parts"][0]["content"]) for one in plain.value)
    assert len({one["parts"][0]["content"] for one in plain.value}) == 1
    assert 20_000 < sum(len(one["parts"][0]["content"].partition("…")[0].encode()) for one in plain.value) <= 50_000


def test_all_items_share_one_budget() -> None:
    """The limits hold for the whole value, not for each list in it."""
    plain = to_plain([[1] * 6, [2] * 6], max_items=10)
    assert plain == ([[1] * 6, [2, 2, "…[more items]"]], True)
    assert len(to_json({str(n): "x" * 1000 for n in range(10_000)}, max_bytes=5_000).text) < 6_000


def test_a_wide_cyclic_graph_is_bounded() -> None:
    """Lists that hold each other many times over end at the limit of items."""
    first: list[Any] = []
    second: list[Any] = [first] * 50
    first.extend([second, [second] * 50] * 50)
    assert len(to_json(first).text) < 1_000_000


# --- attributes ----------------------------------------------------------------------------------------------

ATTRIBUTES = [
    (None, None, False),
    ("text", "text", False),
    (True, True, False),
    (3, 3, False),
    (2**63, str(2**63), True),
    (1.5, 1.5, False),
    (math.nan, "NaN", True),
    ([], [], False),
    (["a", "b"], ["a", "b"], False),
    ((1, 2), [1, 2], False),
    ([True, False], [True, False], False),
    ([1, True], "[1,true]", False),
    ([1, None], "[1,null]", False),
    ([1.5, math.inf], '[1.5,"Infinity"]', True),
    ({"é": 1}, '{"é":1}', False),
    ([["a"]], '[["a"]]', False),
    (b"12", "<bytes 2>", True),
]


@pytest.mark.parametrize(("value", "expected", "replaced"), ATTRIBUTES)
def test_attributes_are_scalars_lists_of_one_kind_or_json(value: object, expected: object, replaced: object) -> None:
    """OpenTelemetry's own kinds of value stay; the rest becomes JSON text."""
    attribute = to_attribute(value)
    assert attribute == (expected, replaced)
    assert type(attribute.value) is type(expected)


# --- any value -----------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, categories=None), max_size=30)
    | st.binary(max_size=10)
    | st.datetimes()
    | st.decimals()
    | st.uuids()
    | st.builds(object)
)
keys = st.text(max_size=5) | st.integers() | st.floats() | st.none() | st.binary(max_size=3) | st.tuples(st.floats())
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(keys, inner, max_size=5)
        | st.tuples(inner, inner)
        | st.builds(Point, x=inner, tags=inner)
        | st.builds(LyingMapping)
    ),
    max_leaves=30,
)
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_depth": st.integers(-1, 20),
        "max_items": st.integers(-1, 50),
        "max_bytes": st.integers(-1, 500),
    },
)


@given(anything, limits)
def test_any_value_becomes_strict_json(value: object, limits: dict[str, int]) -> None:
    """Whatever the value and the limits, the text is strict JSON of exactly the plain value."""
    limits.setdefault("max_items", 50)
    plain, written = to_plain(value, **limits), to_json(value, **limits)
    assert strictly_parsed(written.text) == plain.value
    assert written.replaced == plain.replaced


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_is_kept_or_marked(text: str) -> None:
    """A text without lone surrogates is kept to the letter; one with them is marked and can be encoded."""
    plain = to_plain(text)
    assert plain.replaced == any(0xD800 <= ord(letter) < 0xE000 for letter in text)
    assert plain.replaced or plain.value == text
    plain.value.encode()


@given(anything)
def test_any_value_is_an_attribute(value: object) -> None:
    """Every value becomes something OpenTelemetry takes: a scalar or a list of one kind."""
    attribute = to_attribute(value).value
    if isinstance(attribute, list):
        assert len({type(item) for item in attribute}) <= 1
        attribute = attribute[0] if attribute else ""
    assert attribute is None or type(attribute) in {str, bool, int, float}
