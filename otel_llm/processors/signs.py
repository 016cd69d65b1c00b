"""Signs that a text may hold what a detector looks for, found in a few passes that cost next to nothing.

Most texts hold nothing, and nearly all of the work on them is finding that out. Looking for one character is the
fastest search there is, so literals are found by their rarest character, of which prose has few. A sign may be there
for nothing; where an expression finds something, its sign is there, in JSON text too before its escapes are read.

    text = Searched.of("...")
    Literals(["sk-", "ghp_"]).are_in(text)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ALWAYS",
    "Addresses",
    "BeforeCut",
    "Literals",
    "Names",
    "Schemes",
    "Searched",
    "Sign",
    "spells_letters",
    "together",
]

_RAREST: Final = "@*=_-zJA"
"""Characters that prose has few of, the rarest first."""
_FEW: Final = 16
_DENSE: Final = 64
"""Characters for each find, below which a whole search is cheaper than a look at every find."""
_KELVIN: Final = "\u212a".encode()
"""The one character beyond ASCII that is a letter of ASCII in lower case."""


class Searched(NamedTuple):
    """A text made ready to be searched often: each byte of its UTF-8 as a character, for strings search the fastest."""

    plain: str
    lowered: str
    """The same with the letters of ASCII in lower case."""

    @classmethod
    def of(cls, text: str) -> Searched:
        """Make `text` ready; a place in one of the two is the same place in the other."""
        if text.isascii():
            return cls(text, text.lower())
        data = text.encode("utf-8", "surrogatepass").replace(_KELVIN, b"k")
        return cls(data.decode("latin-1"), data.lower().decode("latin-1"))


class Sign(Protocol):
    """Something of which a text has some, where it holds what is looked for."""

    @property
    def literals(self) -> tuple[str, ...]:
        """Words that it is known by."""
        ...

    def are_in(self, text: Searched) -> bool:
        """Whether a text has some."""
        ...


class _Always:
    """For what no literal tells."""

    literals = ()

    def are_in(self, text: Searched) -> bool:  # noqa: ARG002  (it does not matter)
        return True


ALWAYS: Final = _Always()


class _Endings:
    """Literals that end in the same rare character: where that is, what stands before it is compared."""

    def __init__(self, character: str, literals: Sequence[str]) -> None:
        self._character = character
        self._literals = tuple(literals)
        self._length = min(map(len, literals))
        self._ends = frozenset(literal[-self._length :] for literal in literals)

    def are_in(self, plain: str) -> bool:
        at, finds, before = plain.find(self._character), 0, self._length - 1
        while at >= 0:
            if plain[at - before : at + 1] in self._ends and plain.endswith(self._literals, 0, at + 1):
                return True
            finds += 1
            if finds > _FEW and finds * _DENSE > at:
                return any(literal in plain for literal in self._literals)
            at = plain.find(self._character, at + 1)
        return False


class Literals:
    """Whether a text holds one of many literals; with `any_case` they are in lower case, and the text may not be."""

    def __init__(self, literals: Iterable[str], *, any_case: bool = False) -> None:
        self.literals = tuple(dict.fromkeys(literals))
        self.any_case = any_case
        endings: dict[str, list[str]] = {}
        others: list[tuple[str, str]] = []
        for literal in self.literals:
            rarest = next((one for one in _RAREST if one in literal), literal[0])
            if literal.endswith(rarest) and len(literal) > 1:
                endings.setdefault(rarest, []).append(literal)
            else:
                others.append((rarest, literal))
        self._endings = tuple(_Endings(rarest, found) for rarest, found in endings.items())
        self._others = tuple(others)

    def are_in(self, text: Searched) -> bool:
        """Whether one of them is."""
        plain = text.lowered if self.any_case else text.plain
        for endings in self._endings:
            if endings.are_in(plain):
                return True
        return any(rarest in plain and literal in plain for rarest, literal in self._others)


class Names:
    """Whether a text names a secret and says its value: the name, then a colon or an equals sign."""

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        self.literals = tuple(word for word, _ in names)
        self._names = tuple((word, re.compile(rf"{word}{rest}[\s\\\"']{{0,9}}[:=]", re.ASCII)) for word, rest in names)

    def are_in(self, text: Searched) -> bool:
        """Whether it says one."""
        lowered = text.lowered
        if ":" not in lowered and "=" not in lowered:
            return False
        for word, said in self._names:
            at = lowered.find(word)
            while at >= 0:
                if said.match(lowered, at):
                    return True
                at = lowered.find(word, at + 1)
        return False


class Schemes:
    """Whether a text has what HTTP's header `Authorization` has: a scheme, and what is no plain word behind it."""

    literals = ("bearer ", "basic ", "authorization")
    _WORDS: Final = ("bearer ", "basic ", "token ")
    _HEADER: Final = Literals(("authorization",), any_case=True)
    _FOLLOWS: Final = re.compile(
        r"[ ]{0,3}(?=[A-Za-z]{0,64}(?:[0-9_~+/=\\]|[.-][\w\\\x80-\xff]|(?<=[a-z])[A-Z]))"
        r"(?:[A-Za-z0-9._~+/-]{8}|[A-Za-z0-9._~+/-]{0,7}\\)",
        re.ASCII,
    )
    """A backslash may begin an escape of any of these characters."""

    def are_in(self, text: Searched) -> bool:
        """Whether it has."""
        lowered = text.lowered
        if "bearer " not in lowered and "basic " not in lowered and not self._HEADER.are_in(text):
            return False
        for word in self._WORDS:
            at = lowered.find(word)
            while at >= 0:
                if self._FOLLOWS.match(text.plain, at + len(word)):
                    return True
                at = lowered.find(word, at + 1)
        return False


class Addresses:
    """Whether a text has an address with somebody's name or password in it: two slashes, and no space up to `@`."""

    literals = ("@",)
    _SLASHES: Final = re.compile(r"/(?<=[/\\]/)[^\s/?#\"'<>]{1,2048}@", re.ASCII)

    def are_in(self, text: Searched) -> bool:
        """Whether it has."""
        return "@" in text.plain and self._SLASHES.search(text.plain) is not None


class BeforeCut:
    """Whether something stands right before the marker of a cut that begins like a key."""

    literals = ("truncated",)
    _CUT: Final = "[truncated"
    _LONGEST: Final = 200 * 4 + 64

    def __init__(self, beginnings: Iterable[str]) -> None:
        self._beginnings = tuple(beginnings)

    def are_in(self, text: Searched) -> bool:
        """Whether it does."""
        data = text.plain
        if data.isascii() and "\\" not in data:  # the marker begins with an ellipsis, as it is or escaped
            return False
        at = data.find(self._CUT)
        while at >= 0:
            before = data[max(0, at - self._LONGEST) : at]
            if any(beginning in before for beginning in self._beginnings):
                return True
            at = data.find(self._CUT, at + 1)
        return False


_SPELT: Final = re.compile(r"\\u(?:00[2-7]|212[aA])")


def spells_letters(text: Searched) -> bool:
    """Whether JSON text spells characters of ASCII as numbers: whatever is looked for may be spelt so."""
    return "\\u" in text.plain and _SPELT.search(text.plain) is not None


def together(signs: Iterable[Sign]) -> tuple[Sign, ...]:
    """The same signs, each once, all literals among them looked for at once."""
    kept: list[Sign] = []
    literals: dict[bool, list[str]] = {}
    for sign in signs:
        if isinstance(sign, Literals):
            literals.setdefault(sign.any_case, []).extend(sign.literals)
        elif sign not in kept:
            kept.append(sign)
    return (*(Literals(found, any_case=any_case) for any_case, found in literals.items()), *kept)
