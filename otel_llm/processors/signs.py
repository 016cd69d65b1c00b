"""Signs that a text may hold what a detector looks for, found in a few passes that cost next to nothing.

Most texts hold nothing, and nearly all of the work on them is finding that out. Looking for one character is the
fastest search there is, so literals are found by their rarest character, of which prose has few. A sign may be there
for nothing; where an expression finds something, its sign is there, in JSON text too before its escapes are read.

    text = Searched.of("...")
    Literals(["sk-", "ghp_"]).are_in(text)
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Final, Protocol

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
_MOST_BEFORE: Final = 2
"""Characters before the rare one that are compared first."""
_MOST_BETWEEN: Final = 16
"""Blanks and quotes between the name of a secret and the sign before its value; patterns take fewer."""
_KELVIN: Final = "\u212a".encode()
"""The one character beyond ASCII that is a letter of ASCII in lower case."""


class Searched:
    """A text made ready to be searched often: each byte of its UTF-8 as a character, for strings search the fastest."""

    __slots__ = ("_lowered", "plain")

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self._lowered: str | None = None

    @classmethod
    def of(cls, text: str) -> Searched:
        """Make `text` ready."""
        if text.isascii():
            return cls(text)
        return cls(text.encode("utf-8", "surrogatepass").replace(_KELVIN, b"k").decode("latin-1"))

    @property
    def lowered(self) -> str:
        """`plain` with the letters of ASCII in lower case; a place in one of the two is the same place in the other."""
        if self._lowered is None:
            plain = self.plain
            self._lowered = plain.lower() if plain.isascii() else plain.encode("latin-1").lower().decode("latin-1")
        return self._lowered


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


def _in_any_case(ends: Iterable[str]) -> frozenset[str]:
    """Short texts in all ways to write them in large and small letters."""
    return frozenset("".join(way) for end in ends for way in product(*({one.lower(), one.upper()} for one in end)))


class _Endings:
    """Literals that end in the same rare character: where that is, what stands before it is compared."""

    def __init__(self, character: str, literals: Sequence[str], *, any_case: bool) -> None:
        self._character = character
        self._literals = tuple(literals)
        self._before = min(_MOST_BEFORE, *(len(literal) - 1 for literal in literals))
        ends = [literal[-self._before - 1 : -1] for literal in literals]
        self._ends = _in_any_case(ends) if any_case else frozenset(ends)
        self._longest = max(map(len, literals))
        self._any_case = any_case

    def are_in(self, text: Searched) -> bool:
        plain = text.plain
        at, finds, before = plain.find(self._character), 0, self._before
        while at >= 0:
            if plain[at - before : at] in self._ends and self._ends_at(plain, at + 1):
                return True
            finds += 1
            if finds > _FEW and finds * _DENSE > at:
                whole = text.lowered if self._any_case else plain
                return any(literal in whole for literal in self._literals)
            at = plain.find(self._character, at + 1)
        return False

    def _ends_at(self, plain: str, end: int) -> bool:
        tail = plain[max(0, end - self._longest) : end]
        return (tail.lower() if self._any_case else tail).endswith(self._literals)


class Literals:
    """Whether a text holds one of many literals; with `any_case` they are in lower case, and the text may not be."""

    def __init__(self, literals: Iterable[str], *, any_case: bool = False) -> None:
        self.literals = tuple(dict.fromkeys(literals))
        self.any_case = any_case
        endings: dict[str, list[str]] = {}
        others: dict[str, list[str]] = {}
        for literal in self.literals:
            rarest = next((one for one in _RAREST if one in literal), literal[0])
            if literal.endswith(rarest) and len(literal) > 1 and (not any_case or not rarest.isalpha()):
                endings.setdefault(rarest, []).append(literal)
            else:
                others.setdefault(rarest, []).append(literal)
        self._endings = tuple((one, _Endings(one, found, any_case=any_case)) for one, found in endings.items())
        self._others = tuple(others.items())

    def are_in(self, text: Searched) -> bool:
        """Whether one of them is."""
        plain = text.plain
        for character, endings in self._endings:
            if character in plain and endings.are_in(text):
                return True
        if not self._others:
            return False
        if self.any_case:
            plain = text.lowered
        for rarest, literals in self._others:
            if rarest in plain:
                for literal in literals:
                    if literal in plain:
                        return True
        return False


def _last_two(words: Iterable[str]) -> str:
    """An expression for the last two letters of any of `words`, large or small; the flag for it is far slower."""
    before: dict[str, set[str]] = {}
    for word in words:
        before.setdefault(word[-1], set()).add(word[-2])
    last: dict[str, str] = {}
    for letter, others in before.items():
        last["".join(sorted(others))] = last.get("".join(sorted(others)), "") + letter
    either = "|".join(f"[{one}{one.upper()}][{two}{two.upper()}]" for one, two in last.items())
    return f"(?:{either})"


class Names:
    """Whether a text names a secret and says its value: the name, then a colon or an equals sign.

    `names` are in lower case, with everything that may stand between the name and the blanks or quotes before its sign.
    """

    _BETWEEN: Final = " \t\n\r\f\v\\\"'"

    def __init__(self, names: Sequence[str]) -> None:
        self.literals = tuple(names)
        self._reach = max(map(len, names)) + _MOST_BETWEEN
        # Whether one may stand before a sign is told by its last two letters, in C: of JSON's colons few are left.
        end, blank = _last_two(names), r"[\s\\\"']"
        behind = f"(?:(?<={end}{blank}%s)|(?<={end}%s)|(?<={blank}{blank}%s))"
        self._said = tuple((sign, re.compile(sign + behind.replace("%s", sign), re.ASCII)) for sign in ":=")

    def are_in(self, text: Searched) -> bool:
        """Whether it says one."""
        plain = text.plain
        for sign, said in self._said:
            if sign in plain:
                for found in said.finditer(plain):
                    at = found.start()
                    name = plain[at - self._reach if at > self._reach else 0 : at].rstrip(self._BETWEEN)
                    if name.lower().endswith(self.literals):
                        return True
        return False


class Schemes:
    """Whether a text has what HTTP's header `Authorization` has: a scheme, and what is no plain word behind it."""

    literals = ("bearer ", "basic ", "authorization")
    _WORDS: Final = ("bearer ", "basic ", "token ")
    _FOLLOWS: Final = re.compile(
        r"[ ]{0,3}(?=[A-Za-z]{0,64}(?:[0-9_~+/=\\]|[.-][\w\\\x80-\xff]|(?<=[a-z])[A-Z]))"
        r"(?:[A-Za-z0-9._~+/-]{8}|[A-Za-z0-9._~+/-]{0,7}\\)",
        re.ASCII,
    )
    """A backslash may begin an escape of any of these characters."""

    def are_in(self, text: Searched) -> bool:
        """Whether it has."""
        plain, lowered = text.plain, text.lowered
        named = "bearer " in lowered or "basic " in lowered or ("z" in lowered and "authorization" in lowered)
        if not named:
            return False
        for word in self._WORDS:
            at = lowered.find(word)
            while at >= 0:
                if self._FOLLOWS.match(plain, at + len(word)):
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
    plain = text.plain
    return "\\" in plain and "\\u" in plain and _SPELT.search(plain) is not None


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
