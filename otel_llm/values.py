"""Makes any Python value safe to record: plain, bounded, and marked where it had to be changed.

What a program hands to a model call can be anything: models, tensors, open files, cyclic lists, objects whose
methods raise. It is read here beside the program's own work, so three rules hold:

* The value is never changed or consumed: no iterator is advanced, no file read, no `__str__` or `__repr__` of
  an unknown class is called. Subclasses of built-in types are read through the built-in type's own methods, and
  classes are told apart by `type()`, because `__class__` can lie.
* Depth, number of items and bytes are bounded before the work is done, not after. Of texts that do not fit, the
  longest are cut first, and the structure around them stays: a message keeps its role and its parts.
* Whatever cannot be kept is replaced by a placeholder such as `<generator>` or `<bytes 12>`, and `replaced` says so.

Only `Exception` is caught: a signal handler's `SystemExit` or `KeyboardInterrupt` is the program's own.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import numbers
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from otel_llm import json_bytes
from otel_llm.levels import water_level
from otel_llm.plain import INT64, ITEM_BYTES, Room, max_bytes_now

__all__ = [
    "MORE_ITEMS",
    "AttributeValue",
    "Plain",
    "PlainAttribute",
    "PlainJson",
    "to_attribute",
    "to_json",
    "to_plain",
]

AttributeValue: TypeAlias = "str | bool | int | float | list[str] | list[bool] | list[int] | list[float]"
"""What OpenTelemetry takes as the value of a span attribute."""

MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 10_000

_DEEPEST: Final = 100
"""No caller may ask for more nesting: reading is recursive, and Python's stack is shared with the program."""
_SHORTEST_CUT: Final = 64
"""Bytes to which texts are cut at least, that the structure may stay whole; roles, types and names are shorter."""
_LONGEST_NAME: Final = 100
_MOST_INT_BITS: Final = 4096
"""Turning a larger integer into digits is quadratic, and refused by Python from 4,300 digits on."""


class Plain(NamedTuple):
    """`value` consists of dict (with str keys), list, str, int, float, bool and None only."""

    value: Any
    replaced: bool
    """True when something of the original was left out or replaced."""


class PlainJson(NamedTuple):
    """`text` is strict JSON."""

    text: str
    replaced: bool


class PlainAttribute(NamedTuple):
    """`value` is fit for `Span.set_attribute`; None when there is nothing to record."""

    value: AttributeValue | None
    replaced: bool


def to_plain(
    value: object, *, max_depth: int = MAX_DEPTH, max_items: int = MAX_ITEMS, max_bytes: int | None = None
) -> Plain:
    """A plain copy of `value`, whatever it is; never raises.

    `max_depth` counts nested containers (at most 100), `max_items` all items of all containers together,
    `max_bytes` the UTF-8 bytes of all texts together plus 8 for each item (default: what `use_max_bytes` said).
    Models, dataclasses and attrs classes become dicts; sets and tuples lists; dates, UUIDs, decimals and paths their
    usual text. Those count as faithful. NaN and infinity, integers beyond 64 bits, lone surrogates, bytes and
    everything unknown do not.
    """
    depth = min(max_depth, _DEEPEST)
    max_bytes = max_bytes_now() if max_bytes is None else max_bytes
    reading = _Reading(depth, max_items, max_bytes)
    try:
        made = Plain(reading.read(value, 0), reading.replaced)
        longest = _longest(value, depth, max_items, max_bytes) if reading.cut and type(made.value) is not str else 0
        if longest < _SHORTEST_CUT:
            return made
        reading = _Reading(depth, max_items, max_bytes, longest=longest)
        return Plain(reading.read(value, 0), reading.replaced)
    except Exception:  # noqa: BLE001  (the program's own stack may be exhausted; the caller sees `replaced`)
        return Plain(f"<unreadable {_type_name(type(value))}>", replaced=True)


def to_json(
    value: object, *, max_depth: int = MAX_DEPTH, max_items: int = MAX_ITEMS, max_bytes: int | None = None
) -> PlainJson:
    """`value` as strict, compact JSON (RFC 8259) without escapes for non-ASCII letters; never raises.

    The limits are those of `to_plain`; `max_bytes` counts before JSON escapes quotes and control characters.
    """
    max_bytes = max_bytes_now() if max_bytes is None else max_bytes
    room = Room(max_items, max_bytes)
    if room.holds(value, min(max_depth, _DEEPEST)):
        written = json_bytes.write_strictly(value)
        if written is not None:
            return PlainJson(written.decode(), replaced=False)
    plain = to_plain(value, max_depth=max_depth, max_items=max_items, max_bytes=max_bytes)
    return PlainJson(_encode(plain.value), plain.replaced)


def to_attribute(value: object, *, max_bytes: int | None = None) -> PlainAttribute:
    """`value` as a span attribute; never raises.

    Text, numbers and lists of one kind of these stay what they are; everything else becomes JSON text.
    """
    plain = to_plain(value, max_bytes=max_bytes)
    if plain.value is None or type(plain.value) in _SCALARS or _is_homogeneous(plain.value):
        return PlainAttribute(plain.value, plain.replaced)
    return PlainAttribute(_encode(plain.value), plain.replaced)


_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_SCALARS: Final = frozenset({str, bool, int, float})


def _is_homogeneous(value: object) -> bool:
    if type(value) is not list:
        return False
    kinds = set(map(type, value))
    return not kinds or (len(kinds) == 1 and kinds <= _SCALARS)


class _Reading:
    """One reading of one value: what is left of its budget, and whether anything was replaced so far."""

    __slots__ = ("ancestors", "bytes_left", "cut", "items_left", "longest", "max_depth", "replaced")

    def __init__(self, max_depth: int, max_items: int, max_bytes: int, *, longest: int | None = None) -> None:
        self.max_depth = max_depth
        self.items_left = max_items
        self.bytes_left = max_bytes
        self.longest = max_bytes if longest is None else longest
        """Bytes of one text at most."""
        self.replaced = False
        self.cut = False
        """Whether a text did not fit."""
        self.ancestors: set[int] = set()

    def read(self, value: Any, depth: int) -> Any:
        """The plain form of `value`, which lies inside `depth` containers."""
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self.integer(value)
        if kind is float:
            return self.number(value)
        if kind is dict or kind is list or kind is tuple:
            return self.container(value, depth, _read_dict if kind is dict else _read_list)
        return self.other(value, kind, depth)

    def other(self, value: Any, kind: type, depth: int) -> Any:
        """The plain form of what is not exactly a built-in type; a class that fails to be read is named."""
        try:
            return _reader_of(kind)(self, value, depth)
        except Exception:  # noqa: BLE001  (foreign code raised: the placeholder and `replaced` report it)
            return self.placeholder(f"unreadable {_type_name(kind)}")

    def placeholder(self, what: str) -> str:
        """The text that stands for what is not recorded."""
        self.replaced = True
        return f"<{what}>"

    def text(self, text: str) -> str:
        """`text` (exactly a str) within the budget and encodable."""
        length = len(text)
        room = max(0, min(self.bytes_left, self.longest))
        if length <= room and text.isascii():
            self.bytes_left -= length
            return text
        kept = text[:room]
        lost = length - len(kept)
        encoded = self._encoded(kept)
        if len(encoded) > room or self.replaced:
            kept = encoded[:room].decode(errors="ignore")
            lost += len(encoded.decode()) - len(kept)
        self.bytes_left -= min(len(encoded), room)
        if not lost:
            return kept
        self.replaced = self.cut = True
        return f"{kept}…[truncated, {lost} characters]"

    def _encoded(self, text: str) -> bytes:
        """`text` as UTF-8, U+FFFD for each lone surrogate; two that form a pair become the letter they mean."""
        try:
            return text.encode()
        except UnicodeEncodeError:
            self.replaced = True
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()

    def integer(self, value: int) -> int | str:
        """`value` (exactly an int), as text when 64 bits do not hold it."""
        if value in INT64:
            return value
        self.replaced = True
        bits = value.bit_length()
        return str(value) if bits <= _MOST_INT_BITS else self.placeholder(f"integer of {bits} bits")

    def number(self, value: float) -> float | str:
        """`value` (exactly a float), as text when JSON has no such number."""
        if math.isfinite(value):
            return value
        self.replaced = True
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"

    def container(self, value: Any, depth: int, read: _Reader) -> Any:
        """What `read` makes of a container, unless it is its own ancestor or lies too deep."""
        identity = id(value)
        if identity in self.ancestors:
            return self.placeholder("cycle")
        if depth >= self.max_depth:
            return self.placeholder("nested too deep")
        self.ancestors.add(identity)
        try:
            return read(self, value, depth + 1)
        finally:
            self.ancestors.discard(identity)

    def take(self, items: Iterable[Any]) -> list[Any]:
        """A snapshot of as many of `items` as the budget still has room for, charged to it.

        One more is looked at than is taken, to know whether something is left out: the last item of the list is
        then `_MORE`. The copy is made in C, so that another thread cannot change the container in the middle.
        """
        room = max(0, min(self.items_left, self.bytes_left // ITEM_BYTES))
        taken = list(islice(items, room + 1))
        left_out = len(taken) > room
        if left_out:
            taken[-1] = _MORE
            self.replaced = True
        self.items_left -= len(taken)
        self.bytes_left -= len(taken) * ITEM_BYTES
        return taken

    def items(self, items: Iterable[Any], depth: int) -> list[Any]:
        """The plain forms of `items`, in order."""
        return [MORE_ITEMS if item is _MORE else self.read(item, depth) for item in self.take(items)]

    def pairs(self, pairs: Iterable[Any], depth: int) -> dict[str, Any]:
        """The plain form of (key, value) pairs; keys become text."""
        plain: dict[str, Any] = {}
        taken = self.take(pairs)
        for pair in taken:
            if pair is _MORE:
                plain[MORE_ITEMS] = True
                continue
            key, value = pair
            name = self.text(key) if type(key) is str else self.key(key, depth)  # before its value uses up the bytes
            plain[name] = self.read(value, depth)
        if len(plain) < len(taken):
            self.replaced = True  # two keys have the same text
        return plain

    def key(self, key: Any, depth: int) -> str:
        """A key that is not exactly a str, as text: what JSON makes of it."""
        plain = self.read(key, depth)
        if type(plain) is str or type(plain) is int:
            return str(plain)
        return _encode(plain)


class _Measuring(_Reading):
    """Reads the structure only, as far as the items go, and takes down how long the texts are."""

    __slots__ = ("longest_of_all", "sizes")

    def __init__(self, max_depth: int, max_items: int, max_bytes: int) -> None:
        super().__init__(max_depth, max_items, max_items * ITEM_BYTES)
        self.longest_of_all = max_bytes
        self.sizes: list[int] = []

    def text(self, text: str) -> str:
        """Nothing of `text`; its size is what it would be charged, and no text is charged more than there is."""
        some = text[: self.longest_of_all]
        self.sizes.append(len(some) if some.isascii() else len(some.encode("utf-8", "surrogatepass")))
        return str(len(self.sizes))


def _longest(value: object, max_depth: int, max_items: int, max_bytes: int) -> int:
    """The bytes that each text of `value` may take so that all of them fit beside the structure; 0 for none."""
    measured = _Measuring(max_depth, max_items, max_bytes)
    measured.read(value, 0)
    items = max_items - measured.items_left
    return water_level(measured.sizes, max_bytes - items * ITEM_BYTES)


_Reader: TypeAlias = Callable[[_Reading, Any, int], Any]

_MORE: Final = object()
MORE_ITEMS: Final = "…[more items]"
"""The item, or the name of the member, that stands for all that were left out."""


# --- how each kind of value is read ------------------------------------------------------------------------


def _read_dict(reading: _Reading, value: dict[Any, Any], depth: int) -> Any:
    return reading.pairs(dict.items(value), depth)


def _read_list(reading: _Reading, value: Any, depth: int) -> Any:
    return reading.items(value, depth)


def _read_enum(reading: _Reading, value: enum.Enum, depth: int) -> Any:
    return reading.read(object.__getattribute__(value, "_value_"), depth)


def _read_bytes(reading: _Reading, value: Any, _depth: int) -> Any:
    return reading.placeholder(f"bytes {memoryview(value).nbytes}")


def _read_object(reading: _Reading, value: object, _depth: int) -> Any:
    return reading.placeholder(_type_name(type(value)))


def _as(convert: Callable[[Any], Any]) -> _Reader:
    """Read by converting to a built-in type first."""

    def read(reading: _Reading, value: Any, depth: int) -> Any:
        return reading.read(convert(value), depth)

    return read


def _of_items(iterate: Callable[[Any], Iterable[Any]]) -> _Reader:
    """Read as a list of what `iterate` yields."""

    def read(reading: _Reading, value: Any, depth: int) -> Any:
        return reading.container(value, depth, lambda _, inner, below: reading.items(iterate(inner), below))

    return read


def _of_pairs(pairs: Callable[[Any], Iterable[Any]]) -> _Reader:
    """Read as a dict of the (key, value) pairs that `pairs` yields."""

    def read(reading: _Reading, value: Any, depth: int) -> Any:
        return reading.container(value, depth, lambda _, inner, below: reading.pairs(pairs(inner), below))

    return read


_READERS: Final[tuple[tuple[type | tuple[type, ...], _Reader], ...]] = (
    (enum.Enum, _read_enum),
    (str, _as(str.__str__)),
    (int, _as(int.__int__)),
    (float, _as(float.__float__)),
    (dict, _of_pairs(dict.items)),
    (list, _of_items(list.__iter__)),
    (tuple, _of_items(tuple.__iter__)),
    (set, _of_items(set.__iter__)),
    (frozenset, _of_items(frozenset.__iter__)),
    ((bytes, bytearray, memoryview), _read_bytes),
    (dt.datetime, _as(dt.datetime.isoformat)),
    (dt.date, _as(dt.date.isoformat)),
    (dt.time, _as(dt.time.isoformat)),
    (dt.timedelta, _as(dt.timedelta.__str__)),
    (uuid.UUID, _as(uuid.UUID.__str__)),
    (pathlib.PurePath, _as(pathlib.PurePath.__str__)),
)
"""Built-in and standard classes, read by their own methods: a subclass's overrides are never called."""

_FOREIGN_READERS: Final[tuple[tuple[type | tuple[type, ...], _Reader], ...]] = (
    (numbers.Integral, _as(int)),
    (numbers.Real, _as(float)),
    (Mapping, _of_pairs(lambda value: value.items())),
    ((Sequence, AbstractSet, ValuesView), _of_items(iter)),
)
"""Foreign classes that declare themselves numbers (numpy's scalars do) or collections: their methods are called."""


@lru_cache(maxsize=512)
def _reader_of(kind: type) -> _Reader:
    decimal = sys.modules.get("decimal")  # there is no value of it in a program that has not loaded it
    if decimal is not None and issubclass(kind, decimal.Decimal):
        return _as(decimal.Decimal.__str__)
    for base, reader in _READERS:
        if issubclass(kind, base):
            return reader
    if _static(kind, "__pydantic_root_model__") is True:
        return _as(lambda model: object.__getattribute__(model, "__dict__")["root"])
    fields = _field_pairs(kind)
    if fields is not None:
        return _of_pairs(fields)
    for base, reader in _FOREIGN_READERS:
        if issubclass(kind, base):
            return reader
    return _read_object


# --- classes with declared fields --------------------------------------------------------------------------


def _field_pairs(kind: type) -> Callable[[Any], Iterable[Any]] | None:
    """How to list the (name, value) pairs of a pydantic model, dataclass or attrs class; None for others.

    Fields that the class keeps out of its own dump or repr stay out here as well: they tend to be secrets.
    """
    if _static(kind, "__pydantic_validator__") is not None or _static(kind, "__fields_set__") is not None:
        return _pydantic_pairs(kind)
    if dataclasses.is_dataclass(kind):
        return _attribute_pairs([field.name for field in dataclasses.fields(kind) if field.repr])
    attributes = _static(kind, "__attrs_attrs__")
    if attributes is not None:
        return _attribute_pairs([attribute.name for attribute in attributes if attribute.repr])
    return None


def _pydantic_pairs(kind: type) -> Callable[[Any], Iterable[Any]] | None:
    """Reads the instance's own state: `model_dump` would run the program's serialisers and warn on its stderr."""
    if dataclasses.is_dataclass(kind):  # a pydantic dataclass
        return _attribute_pairs([field.name for field in dataclasses.fields(kind) if field.repr])
    fields = _static(kind, "__pydantic_fields__") or _static(kind, "model_fields") or _static(kind, "__fields__")
    hidden = {name for name, field in (fields or {}).items() if _is_hidden(field)}

    def pairs(model: Any) -> list[tuple[Any, Any]]:
        own = object.__getattribute__(model, "__dict__")
        extra = getattr(model, "__pydantic_extra__", None) if _static(kind, "__pydantic_validator__") else None
        found = [*own.items(), *(extra.items() if type(extra) is dict else ())]
        return [pair for pair in found if pair[0] not in hidden]

    return pairs


def _is_hidden(field: Any) -> bool:
    info = getattr(field, "field_info", field)  # pydantic 1 keeps it one level down
    return getattr(info, "exclude", None) is True or getattr(info, "repr", True) is False


def _attribute_pairs(names: list[str]) -> Callable[[Any], Iterable[Any]]:
    def pairs(value: Any) -> list[tuple[str, Any]]:
        return [(name, object.__getattribute__(value, name)) for name in names if _has(value, name)]

    return pairs


def _has(value: Any, name: str) -> bool:
    try:
        object.__getattribute__(value, name)
    except AttributeError:
        return False
    return True


def _static(kind: type, name: str) -> Any:
    """A class attribute as it lies in the class, without asking a metaclass for it."""
    for base in type.__getattribute__(kind, "__mro__"):
        found = type.__getattribute__(base, "__dict__").get(name)
        if found is not None:
            return found
    return None


def _type_name(kind: type) -> str:
    """`module.Class`, or the bare name of a built-in; never raises, even when a metaclass does."""
    try:
        module = type.__getattribute__(kind, "__module__")
        name: str = type.__getattribute__(kind, "__name__")[:_LONGEST_NAME]
    except Exception:  # noqa: BLE001  (a name is all we wanted)
        return "object"
    if type(module) is not str or module in {"builtins", "__main__"}:
        return name
    return f"{module[:_LONGEST_NAME].encode(errors='replace').decode()}.{name}"
