"""Installed versions, and pairs of them that are known not to get on. Nothing is imported: metadata says it all.

Facts: httpx changelog 0.26.0 (`proxy` added) and 0.28.0 (`proxies` removed), openai-python 1.55.3 (stopped passing
`proxies`), opik 1.7.34 (began to pass `proxy`), opentelemetry-exporter-otlp-proto-http 1.45.1 (proxies again).
"""

from __future__ import annotations

import platform
import re
from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.contracts import CheckStatus, Finding
from otel_llm.control.doctor.examination import ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_versions"]

_SHOWN: Final = (
    "otel-llm",
    "litellm",
    "openai",
    "opik",
    "httpx",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "protobuf",
)
_WITH_PINS: Final = ("opik", "litellm", "openai", "opentelemetry-proto", "opentelemetry-sdk", "otel-llm")
"""Packages whose requirements are checked: pip lets them be broken by whatever is installed later."""


class _Clash(NamedTuple):
    """Two packages that fail together: `culprit` below or from a version, while `victim` is in a range."""

    culprit: str
    below: str | None
    at_least: str | None
    victim: str
    victim_below: str | None
    victim_at_least: str | None
    status: CheckStatus
    evidence: str
    remedy: str


_CLASHES: Final = (
    _Clash(
        "httpx",
        "0.26",
        None,
        "opik",
        None,
        "1.7.34",
        CheckStatus.FAILED,
        "httpx {culprit} is older than 0.26, and opik {victim} passes it an argument that it does not know: its client "
        "ends with `Client.__init__() got an unexpected keyword argument 'proxy'`, and what the Opik SDK should record "
        "is lost without a word. otel_llm's own backends do not use httpx.",
        "Run `pip install 'httpx>=0.26'`.",
    ),
    _Clash(
        "httpx",
        None,
        "0.28",
        "openai",
        "1.55.3",
        None,
        CheckStatus.FAILED,
        "httpx {culprit} no longer knows an argument that openai {victim} passes it: its client ends with "
        "`Client.__init__() got an unexpected keyword argument 'proxies'`, and so do calls through litellm.",
        "Run `pip install 'openai>=1.55.3'`, or `pip install 'httpx<0.28'`.",
    ),
    _Clash(
        "litellm",
        "1.79",
        None,
        "otel-llm",
        None,
        None,
        CheckStatus.WARNING,
        "litellm {culprit} is older than 1.79, the oldest that otel-llm {victim} is tested with: calls may be "
        "recorded in part, without a word.",
        "Run `pip install 'litellm>=1.79'`.",
    ),
    _Clash(
        "opentelemetry-exporter-otlp-proto-http",
        "1.45.1",
        "1.45.0",
        "opentelemetry-sdk",
        None,
        None,
        CheckStatus.WARNING,
        "opentelemetry-exporter-otlp-proto-http {culprit} ignores HTTP_PROXY, HTTPS_PROXY and NO_PROXY: exporters of "
        "the program's own do not get through a proxy. otel_llm's backends do.",
        "Run `pip install 'opentelemetry-exporter-otlp-proto-http>=1.45.1'`.",
    ),
)


def check_versions() -> Iterator[Finding]:
    """What is installed, which pairs of it clash, and which requirements are not met."""
    versions = {name: version for name in _SHOWN if (version := _installed(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield ok("versions", f"Python {platform.python_version()}, {listed}.")
    named: set[str] = set()
    for clash in _CLASHES:
        culprit, victim = versions.get(clash.culprit), versions.get(clash.victim)
        if culprit is not None and victim is not None and _applies(clash, culprit, victim):
            evidence = clash.evidence.format(culprit=culprit, victim=victim)
            yield Finding(f"versions.{clash.culprit}", clash.status, evidence, clash.remedy)
            named.add(clash.culprit)
    yield from _unmet_pins(named)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _applies(clash: _Clash, culprit: str, victim: str) -> bool:
    return _within(culprit, clash.at_least, clash.below) and _within(victim, clash.victim_at_least, clash.victim_below)


def _within(version: str, at_least: str | None, below: str | None) -> bool:
    number = _release(version)
    return (at_least is None or number >= _release(at_least)) and (below is None or number < _release(below))


def _release(version: str) -> tuple[int, ...]:
    """The numbers before the first letter, without zeros at the end: what a pre-release leads to counts."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _unmet_pins(already_named: set[str]) -> Iterator[Finding]:
    try:
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  (may be absent)
    except ImportError:
        return
    for package in _WITH_PINS:
        for line in _requirements_of(package):
            try:
                wanted = Requirement(line)
            except InvalidRequirement:
                continue
            found = _installed(wanted.name)
            if (
                found is None
                or wanted.name in already_named
                or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}))
            ):
                continue
            if not wanted.specifier.contains(found, prereleases=True):
                evidence = (
                    f"{package} {_installed(package)} asks for {wanted.name}{wanted.specifier}, installed is {found}."
                )
                remedy = (
                    f"Run `pip install '{wanted.name}{wanted.specifier}'`, or another {package} that gets on with it."
                )
                yield warning(f"versions.{wanted.name}", evidence, remedy)


def _requirements_of(package: str) -> list[str]:
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []
