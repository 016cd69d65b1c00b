"""The order of the checks: each needs what those before it looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otel_llm import backends
from otel_llm.clock import monotonic
from otel_llm.config import NO_BACKEND, ON_THIS_MACHINE, load
from otel_llm.config.stability import misspelt_opt_ins
from otel_llm.contracts import CheckStatus
from otel_llm.control.doctor.examination import Examination, failed, ok, warning
from otel_llm.control.doctor.network import check_connection, check_name, check_server, target_of
from otel_llm.control.doctor.places import check_disk, check_spool
from otel_llm.control.doctor.probe import Probe, find_again, send_probe
from otel_llm.control.doctor.recording import check_recording
from otel_llm.control.doctor.versions import check_versions
from otel_llm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.config import Config
    from otel_llm.contracts import Finding

__all__ = ["Diagnosis", "diagnose"]

_SECONDS: Final = 16.0
"""For everything: with the start of the interpreter it stays under the 20 s that are promised."""
_STEP_SHARE: Final = 0.25
"""Of the time for everything: what one question to the network, the sending or the reading back may take."""
_CHECK_SHARE: Final = 0.45
"""What a backend's own check may take, which asks several questions."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found, in the order in which it was looked at."""

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(finding.status is not CheckStatus.FAILED for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        findings = [{**finding._asdict(), "status": finding.status.value} for finding in self.findings]
        return {"healthy": self.healthy, "seconds": round(self.seconds, 3), "findings": findings}


def diagnose(backend: str | None = None, *, seconds: float = _SECONDS) -> Diagnosis:
    """Look at everything, for at most `seconds`; never raises. `backend` stands in for the configured ones."""
    began = monotonic()
    examination = Examination(seconds)
    examination.look("versions", check_versions, local=True)
    config = _load(examination, backend)
    if config is not None:
        _examine(examination, config)
    return Diagnosis(tuple(examination.findings), monotonic() - began)


def _load(examination: Examination, backend: str | None) -> Config | None:
    try:
        config = load({"backend": [backend]} if backend else {})
    except ConfigError as error:
        remedy = "Correct it there; `otel-llm config show` lists every setting and its source once they are right."
        examination.findings.append(failed("settings", str(error), remedy))
        return None
    examination.findings.extend(_settings(config))
    return config


def _settings(config: Config) -> Iterator[Finding]:
    given = [f"{one.name}={one.text} ({one.source})" for one in config.explain() if one.source != "default"]
    yield ok("settings", "; ".join(given) + "." if given else "All settings are at their defaults.")
    for sentence in misspelt_opt_ins(os.environ):
        yield warning("settings.opt_in", sentence, "Correct the variable where the program is started.")
    if not config.enabled:
        yield failed("settings.enabled", f"Recording is switched off ({config.source('enabled')}).", "Remove that.")
    if set(config.backend) == {NO_BACKEND}:
        yield warning(
            "settings.backend", f"No backend is set ({config.source('backend')}).", "Name one: local, opik, otlp."
        )
    if "opik" in config.backend and not config.opik.api_key and config.source("opik.url") == "default":
        evidence = f"No API key is set, and Opik Cloud ({config.opik.url}) wants one."
        yield warning(
            "settings.opik.api_key", evidence, "Set OPIK_API_KEY, or OPIK_URL_OVERRIDE to an Opik of your own."
        )
    if "opik" in config.backend and not (config.opik.project or "").strip():
        evidence = f"No project is set: spans go into one named after the service, {config.service_name!r}."
        yield warning("settings.opik.project", evidence, "Set OPIK_PROJECT_NAME to the project you look at.")


def _examine(examination: Examination, config: Config) -> None:
    examination.look("recording", partial(check_recording, config), local=True)
    usable = examination.look("disk", partial(check_disk, config), local=True)
    names = tuple(name for name in config.backend if name != NO_BACKEND)
    if any(name not in ON_THIS_MACHINE for name in names):
        examination.look("spool", partial(check_spool, config), local=True)
    with examination.reserving(
        _STEP_SHARE
    ):  # for the span: backends that hang must not cost those that do not their proof
        reachable = tuple(name for name in names if _reach(examination, name, config))
    for name in names:
        if name not in reachable or not (config.enabled and usable):
            examination.skip(f"probe.{name}", "no span was sent, because a check above failed")
    if reachable and config.enabled and usable:
        _probe(examination, reachable, config)


def _reach(examination: Examination, name: str, config: Config) -> bool:
    """Whether the backend would take spans; the way to its server first."""
    try:
        target = target_of(name, config)
    except ConfigError as error:
        examination.findings.append(failed("network.address", str(error), "Correct the address."))
        return False
    if target is not None:
        for step, check in (("dns", check_name), ("tcp", check_connection), ("protocol", check_server)):
            looked = examination.look(f"network.{step}", partial(check, target), share=_STEP_SHARE)
            if not looked:
                examination.skip(f"backend.{name}", "it was not reached")
                return False
    ours = partial(_check_backend, name, config)
    return examination.look(f"backend.{name}", ours, share=_CHECK_SHARE, local=target is None)


def _check_backend(name: str, config: Config) -> list[Finding]:
    backend = backends.build(name, config)
    try:
        return list(backend.check())
    finally:
        backend.close()


def _probe(examination: Examination, names: tuple[str, ...], config: Config) -> None:
    sent: list[Probe] = []

    def send() -> list[Finding]:
        sent.append(send_probe(names, config, examination.time_for(_STEP_SHARE)))
        return []

    examination.look("probe", send)
    for name in names:
        if sent:
            seconds = examination.time_for(_STEP_SHARE)
            examination.look(f"probe.{name}", partial(find_again, name, sent[0], config, seconds))
