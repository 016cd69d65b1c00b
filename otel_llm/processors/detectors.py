"""What is looked for in texts: keys and tokens, JWTs, e-mail addresses, phone and card numbers, IBANs, IP addresses.

Each detector is a few patterns, each with a sign that a text must have to be worth searching (`signs`). All patterns
take time linear in the text: they begin only where a run of their characters begins (a look-behind), every repetition
is bounded or is over characters that what follows cannot be, and what a pattern cannot check (Luhn, mod 97, whether an
address exists) is checked by a function afterwards.

Sources of formats: the providers' documentation of their keys; RFC 7519 (JWT); ITU-T E.164 (phone); ISO/IEC 7812
(card, Luhn); ISO 13616 (IBAN, mod 97).
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.processors.shrink import CUT
from otel_llm.processors.signs import (
    ALWAYS,
    Addresses,
    BeforeCut,
    Literals,
    Names,
    Schemes,
    Searched,
    Sign,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["DETECTORS", "Detector", "Found"]


class Found(NamedTuple):
    """One find in a text."""

    start: int
    end: int
    """Index of the first character after it."""
    canonical: str
    """The value in one spelling, so that `4111 1111...` and `4111-1111...` are the same card."""


class Pattern:
    """One way in which a kind of value is written: a regular expression, compiled for the first text with its sign."""

    def __init__(self, sign: Sign, expression: str, flags: int = 0) -> None:
        self.sign = sign
        """What a text has that holds something written so."""
        self._expression = expression
        self._flags = flags
        self._regex: re.Pattern[str] | None = None

    @property
    def regex(self) -> re.Pattern[str]:
        """Compiled late: most programs never see a text with most of the signs, and compiling takes half a ms.

        Not a `cached_property`: until Python 3.12 that holds a lock, which a child forked meanwhile would wait for.
        """
        if self._regex is None:
            self._regex = re.compile(self._expression, self._flags)
        return self._regex


class Detector:
    """Finds one kind of value."""

    def __init__(
        self,
        name: str,
        label: str,
        patterns: tuple[Pattern, ...],
        check: Callable[[re.Match[str]], Found | None],
        *,
        personal: bool = True,
    ) -> None:
        self.name = name
        """As the setting `redact` calls it."""
        self.label = label
        """As the placeholder calls what was found: `<email>`."""
        self.patterns = patterns
        self.check = check
        """The find that a match stands for; None where it only looks like one."""
        self.personal = personal
        """Whether identifiers of the call itself (model, tenant, response id) are spared: they can look alike."""
        self._signs = together(pattern.sign for pattern in patterns)

    def may_be_in(self, text: Searched) -> bool:
        """Whether it is worth searching a text; costs next to nothing where it is not."""
        return any(sign.are_in(text) for sign in self._signs)

    def replace(self, text: str, substitute: Callable[[str, str], str]) -> str:
        """`text` with each find replaced by `substitute(label, canonical)`."""
        searched = Searched.of(text)
        if not self.may_be_in(searched):
            return text
        for pattern in self.patterns:
            if pattern.sign.are_in(searched):
                text = pattern.regex.sub(lambda match: self._replacement(match, substitute), text)
        return text

    def _replacement(self, match: re.Match[str], substitute: Callable[[str, str], str]) -> str:
        found = self.check(match)
        if found is None:
            return match.group()
        before, after = match.string[match.start() : found.start], match.string[found.end : match.end()]
        return before + substitute(self.label, found.canonical) + after


def _marked(match: re.Match[str]) -> Found:
    """The group `value` of a match."""
    return Found(match.start("value"), match.end("value"), match.group("value"))


# --- keys and tokens -----------------------------------------------------------------------------------------

_ESCAPE: Final = r"(?<=\\[nrt])"
"""After `\\n` in JSON text that could not be parsed: its letter is no part of the word."""
_WORD: Final = rf"(?:(?<![A-Za-z0-9])|{_ESCAPE})"
_NOT_PROSE: Final = r"(?=[A-Za-z]{0,64}(?:[0-9_~+/=]|[.-]\w|(?<=[a-z])[A-Z]))"
"""Before a value that is not a plain word: `Bearer authentication` names no token."""
_QUOTE: Final = r"\\{0,3}[\"']"
"""A quotation mark, escaped or not."""
_VALUE: Final = r"(?P<value>[A-Za-z0-9_.~+/=%*$!@^-]{8,1024})(?![\w.(\[<-])"
"""A secret without a format of its own; not the name of a function that is called."""
_NAMES: Final = (
    r"(?:(?:api|access|secret|private|subscription|account|master|virtual|signing)[_ -]?key(?:[_ -]?id)?"
    r"|(?:access|auth|refresh|session|security|bearer|id)[_-]?token|client[_-]?secret|passw(?:or)?d|passphrase"
    r"|authorization|cookie|credentials?)"
)
_NAMED: Final = Names(
    (
        *(f"key{rest}" for rest in ("", "id", "_id", " id", "-id")),
        " provided",  # whatever it was
        *("token", "secret", "passwd", "password", "passphrase"),
        *("authorization", "cookie", "credential", "credentials"),
    )
)


def _key(literals: tuple[str, ...], value: str) -> Pattern:
    """A key of a known format, where a word begins."""
    return Pattern(Literals(literals, any_case=True), f"{_WORD}(?P<value>{value})")


_KEY_PATTERNS: Final = (
    Pattern(
        Literals(("key-----",), any_case=True),
        r"(?P<value>-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,]{0,16000}"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?)",
    ),
    Pattern(Addresses(), r"(?<=://)(?P<value>[^\s/?#\"'<>\\]{1,512})(?=@)"),  # user:password of a URL
    Pattern(
        Literals(
            (
                *("key=", "token=", "sig=", "signature=", "code=", "auth=", "secret=", "password=", "pwd="),
                *("x-amz-", "x-goog-"),
            ),
            any_case=True,
        ),
        r"(?i:(?<=[?&;])(?:[\w-]{0,20}(?:key|token)|sig|signature|code|auth|[\w-]{0,20}secret|password|pwd"
        r"|x-amz-[\w-]{5,20}|x-goog-[\w-]{5,20})=)(?P<value>[^\s&;#\"'<>\\]{1,4096})",
    ),
    Pattern(
        Schemes(),
        rf"(?i:{_WORD}(?:bearer|basic|token)[ ]{{1,4}}){_NOT_PROSE}(?P<value>[A-Za-z0-9._~+/-]{{8,4096}}={{0,2}})",
    ),
    # OpenAI, Anthropic, OpenRouter, Langfuse, DeepSeek, litellm; OpenAI quotes keys with asterisks in the middle
    _key(("sk-",), r"sk-(?:(?:proj|ant|or|lf|svcacct|admin|None)-[\w*-]{6,}|[\w*-]{12,}|\d{4,})"),
    _key(("k_live_", "k_test_"), r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}"),  # Stripe
    # Groq, Hugging Face, Replicate, Fireworks, Perplexity, xAI, NVIDIA, LangSmith, GitLab, npm
    _key(
        ("gsk_", "hf_", "r8_", "fw_", "pplx-", "xai-", "nvapi-", "lsv2_", "glpat-", "npm_"),
        r"(?:gsk_|hf_|r8_|fw_|pplx-|xai-|nvapi-|lsv2_|glpat-|npm_)[\w-]{16,}",
    ),
    _key(("ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_"), r"(?:gh[opsur]_|github_pat_)\w{16,}"),
    Pattern(  # AWS
        Literals(("AKIA", "ASIA", "AROA", "AIDA")),
        rf"{_WORD}(?P<value>(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{{12,}})",
    ),
    Pattern(  # Google
        Literals(("AIza", "ya29.")),
        rf"{_WORD}(?P<value>(?:AIza|ya29\.)[\w-]{{16,}})",
    ),
    _key((*(f"xox{kind}-" for kind in "abeoprs"), "xapp-"), r"(?:xox[abeoprs]|xapp)-[\w-]{8,}"),  # Slack
    # Opik, whose keys can carry their server's address in base64
    Pattern(Literals(("*ey",)), r"(?<!\w)(?P<value>\w{8,128}\*ey[A-Za-z0-9+/_-]{8,}={0,2})"),
    # `api_key=...`, `"api_key": "..."`
    Pattern(
        _NAMED,
        rf"(?i:{_NAMES}(?:{_QUOTE})?[ ]?(?:=[ ]?(?:{_QUOTE})?|:[ ]?{_QUOTE})(?:(?:bearer|basic)[ ])?){_VALUE}",
    ),
    # `Incorrect API key provided: ...`
    Pattern(_NAMED, rf"(?i:{_NAMES}(?:[ ]provided)?:[ ]?){_NOT_PROSE}{_VALUE}"),
    # the beginning of a key of which the size limit took the rest
    Pattern(
        BeforeCut(("sk-", "AIza", "AKIA", "ASIA", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "hf_", "xox", "eyJ")),
        rf"{_WORD}(?P<value>(?:sk-|AIza|AKIA|ASIA|gh[opsur]_|hf_|xox|eyJ)[\w*.-]{{0,200}}(?={re.escape(CUT)}))",
    ),
)

_KEYS: Final = Detector(name="keys", label="key", patterns=_KEY_PATTERNS, check=_marked, personal=False)

_JWT: Final = Detector(
    name="jwt",
    label="jwt",
    patterns=(
        Pattern(
            Literals(("eyJ",)),
            rf"(?:(?<![\w-])|{_ESCAPE})(?P<value>eyJ[\w-]{{6,}}\.[\w-]{{4,}}(?:\.[\w-]*){{1,3}})",
            re.ASCII,
        ),
    ),
    check=_marked,
    personal=False,
)

# --- people --------------------------------------------------------------------------------------------------


def _mail(match: re.Match[str]) -> Found:
    return Found(match.start(), match.end(), match.group().lower())


_EMAIL: Final = Detector(
    name="email",
    label="email",
    patterns=(
        Pattern(
            Literals(("@",)),
            rf"(?:(?<![\w.%+'\\-])|{_ESCAPE})[\w.%+'-]{{1,128}}@(?:[\w-]{{1,63}}\.){{1,8}}[^\W\d_]{{2,24}}(?![\w-])",
        ),
    ),
    check=_mail,
)

_SEPARATOR: Final = r"[ ().\-/\u00a0]{0,2}"


def _phone(match: re.Match[str]) -> Found | None:
    digits = _digits(match.group())
    if not 8 <= len(digits) <= 17:
        return None
    return Found(match.start(), match.end(), digits.removeprefix("00"))


_PHONE: Final = Detector(
    name="phone",
    label="phone",
    patterns=(
        Pattern(
            ALWAYS,
            rf"(?:(?<![\w.+/-])|{_ESCAPE})(?:\+|00)[1-9](?:{_SEPARATOR}\d){{6,15}}(?!\w|[.-]\d)",
            re.ASCII,
        ),
        Pattern(
            ALWAYS,
            rf"(?:(?<![\w.+/-])|{_ESCAPE})(?:\([2-9]\d\d\)[ ]?|[2-9]\d\d[.-])\d{{3}}[ .-]\d{{4}}(?![\w-])",
            re.ASCII,
        ),
    ),
    check=_phone,
)


def _card(match: re.Match[str]) -> Found | None:
    digits = _digits(match.group())
    return Found(match.start(), match.end(), digits) if 13 <= len(digits) <= 19 and _luhn(digits) else None


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_CARD: Final = Detector(
    name="card",
    label="card",
    patterns=(Pattern(ALWAYS, rf"(?:(?<![\w.])|{_ESCAPE})[2-6](?:[ -]?\d){{12,18}}(?![\w-]|\.\d)", re.ASCII),),
    check=_card,
)

_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""Characters of an IBAN by country (IBAN registry)."""


def _iban(match: re.Match[str]) -> Found | None:
    """The IBAN at the beginning of a match, which may run on into the next words."""
    length = _IBAN_LENGTHS.get(match.group()[:2], 0)
    kept = ""
    for index, letter in enumerate(match.group()):
        kept += "" if letter.isspace() else letter
        if len(kept) == length:
            follows = match.string[match.start() + index + 1 : match.start() + index + 2]
            whole = not follows.isalnum() and _mod_97(kept) == 1
            return Found(match.start(), match.start() + index + 1, kept) if whole else None
    return None


def _mod_97(iban: str) -> int:
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97


_IBAN: Final = Detector(
    name="iban",
    label="iban",
    patterns=(Pattern(ALWAYS, rf"(?:(?<![A-Za-z0-9])|{_ESCAPE})[A-Z]{{2}}\d\d(?:[ ]?[A-Z0-9]){{11,29}}"),),
    check=_iban,
)


def _address(match: re.Match[str]) -> Found | None:
    """An IP address that exists and is not this machine's own."""
    text = match.group()
    if ":" in text and (text.count(":") < 2 or len(text) < 4):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified:
        return None
    return Found(match.start(), match.end(), str(address))


_IP: Final = Detector(
    name="ip",
    label="ip",
    patterns=(
        Pattern(
            Literals((".",)),
            rf"(?:(?<![\w.])|{_ESCAPE})\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\w]|\.\d)",
            re.ASCII,
        ),
        Pattern(
            Literals((":",)),
            rf"(?:(?<![\w:.])|{_ESCAPE})[0-9A-Fa-f:]{{2,39}}(?:\.\d{{1,3}}){{0,3}}(?![\w:])",
            re.ASCII,
        ),
    ),
    check=_address,
)


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _by_name(detectors: Iterable[Detector]) -> dict[str, Detector]:
    return {detector.name: detector for detector in detectors}


DETECTORS: Final = _by_name((_KEYS, _JWT, _EMAIL, _IBAN, _CARD, _PHONE, _IP))
"""All detectors by name, in the order in which they run: what is longer and surer first."""
