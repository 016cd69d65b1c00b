"""Turns the recording of one client library on and off, now or at the moment the program imports it.

Which instrumentation it will be is decided by what is installed, without importing any of it: the first of the table
that says (in its package's extra `instruments`) that it fits the installed version of the library. Should that one
fail when it begins, the next is tried.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import wrapt
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_llm.faults import note_fault
from otel_llm.instrumentation.clients.content import content_switch, release, silence
from otel_llm.instrumentation.clients.gate import Gate
from otel_llm.instrumentation.clients.table import CLIENTS, Family

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from otel_llm.instrumentation.clients.table import Client, Upstream

__all__ = ["ClientInstrumentation", "would_record"]

_logger = logging.getLogger(__name__)
_EXTRA: Final = "instruments"


class _Choice(NamedTuple):
    """What can record the library here, best first, and what was passed over for its version."""

    upstreams: tuple[Upstream, ...]
    unfit: tuple[str, ...]


class ClientInstrumentation:
    """The recording of the library that the setting `instrument` calls `name`, on `tracer_provider`.

    `captures_content` says whether its spans may hold prompts and answers at all.
    """

    def __init__(self, name: str, tracer_provider: TracerProvider, *, captures_content: bool) -> None:
        self.name = name
        self._client = CLIENTS[name]
        self._provider = tracer_provider
        self._gate: Gate | None = None
        self._captures_content = captures_content
        self._lock = threading.RLock()
        self._wanted = False
        self._instrumentor: Any = None
        self._in_use: Upstream | None = None
        self._by_program = False
        self._failed: list[str] = []
        self._choice = _choice(self._client)

    @property
    def active(self) -> bool:
        """Whether calls are recorded now, by us or by what the program has turned on itself."""
        return self._in_use is not None

    @property
    def present(self) -> bool:
        """Whether the library is installed here."""
        return self._version is not None

    @property
    def by(self) -> str:
        """The package that records, or will; empty where none does."""
        upstream = self._in_use or next((one for one in self._choice.upstreams if self._may_use(one)), None)
        if upstream is None:
            return ""
        ending = ", turned on by the program" if self._by_program else ""
        return f"{upstream.distribution} {_version(upstream.distribution)}{ending}"

    @property
    def remedy(self) -> str:
        """What to run where `problem` says that something is missing."""
        return f"pip install 'otel-llm[{self.name}]'" if self.present else "not installed"

    @property
    def problem(self) -> str | None:
        """What keeps the library from being recorded: what is missing, why, and what to do; else None."""
        if not self.present:
            return (
                f"{self.name} is named in `instrument` and is not installed in this Python, so there is nothing to "
                f"record: install the program's packages here, or take it out of `instrument`."
            )
        if self.active or self.by:
            return None
        names = " or ".join(upstream.distribution for upstream in self._client.upstreams)
        unfit = [*self._choice.unfit, *self._failed]
        because = f" ({'; '.join(unfit)})" if unfit else ""
        return (
            f"{self.name} {self._version} is not recorded, because no instrumentation that fits it is installed"
            f"{because}: {self.remedy} (any of {names} will do)."
        )

    def begin(self) -> None:
        """Record from now on, or as soon as the program imports the library; says at once what cannot be recorded."""
        with self._lock:
            if self._wanted:
                return
            self._wanted = True
            if self.problem is not None:
                _logger.warning("%s", self.problem)
            elif _loaded(self._client.module):
                self._install()
            else:
                wrapt.register_post_import_hook(self._install, self._client.module)

    def end(self) -> None:
        """Undo what `begin` did; what the program has turned on itself stays on."""
        with self._lock:
            self._wanted = False
            instrumentor, self._instrumentor = self._instrumentor, None
            self._in_use = None
            self._close_gate()
            if instrumentor is None:
                return
            try:
                instrumentor.uninstrument()
            except Exception as error:  # noqa: BLE001  (a fault of upstream's must not keep the program from ending)
                note_fault(f"ending the instrumentation of {self.name}", error)
            release(self)

    def move_to(self, tracer_provider: TracerProvider) -> None:
        """Record on another tracer provider from now on; what the program has turned on itself stays where it is."""
        with self._lock:
            self._provider = tracer_provider
            if self._instrumentor is not None:
                self.end()
                self.begin()

    def _close_gate(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()

    @property
    def _version(self) -> str | None:
        return next((found for name in self._client.distributions if (found := _version(name)) is not None), None)

    def _may_use(self, upstream: Upstream) -> bool:
        return not any(failed.startswith(f"{upstream.distribution} ") for failed in self._failed)

    def _install(self, _: object = None) -> None:
        """Runs inside the program's own import of the library, which a fault here must not break."""
        with self._lock:
            if not self._wanted or self.active:
                return
            for upstream in self._choice.upstreams:
                try:
                    self._use(upstream)
                except Exception as error:
                    self._failed.append(f"{upstream.distribution} {_version(upstream.distribution)} failed: {error!r}")
                    _logger.debug("%s does not work here", upstream.distribution, exc_info=True)
                    self._close_gate()
                    continue
                return
            note_fault(f"instrumenting {self.name}", RuntimeError("; ".join(self._failed)))
            _logger.warning("%s", self.problem)

    def _use(self, upstream: Upstream) -> None:
        instrumentor = getattr(importlib.import_module(upstream.module), upstream.instrumentor)()
        if instrumentor.is_instrumented_by_opentelemetry:
            self._in_use, self._by_program = upstream, True
            return
        self._gate = Gate(self._provider)
        if upstream.silences:
            silence(upstream.silences, self)
        with content_switch(upstream.family, self, wanted=self._captures_content) as arguments:
            # Metrics are ours, from the finished spans: a second set would count every call twice.
            instrumentor.instrument(
                tracer_provider=self._gate,
                meter_provider=NoOpMeterProvider(),
                **({} if upstream.family is Family.BUILT_IN else {"skip_dep_check": True}),
                **arguments,
            )
        self._instrumentor, self._in_use, self._by_program = instrumentor, upstream, False


def would_record(name: str) -> tuple[str, str | None]:
    """Which package would record the library called `name` here, and what is wrong where none would."""
    client = ClientInstrumentation(name, NoOpTracerProvider(), captures_content=False)
    return client.by, client.problem


def _choice(client: Client) -> _Choice:
    fit: list[Upstream] = []
    unfit: list[str] = []
    for upstream in client.upstreams:
        version = _version(upstream.distribution)
        if version is None:
            continue
        wanted = _unmet(upstream, client)
        if wanted:
            unfit.append(f"{upstream.distribution} {version} is for {', '.join(wanted)}")
        else:
            fit.append(upstream)
    return _Choice(tuple(fit), tuple(unfit))


def _unmet(upstream: Upstream, client: Client) -> list[str]:
    """What an instrumentation asks of the library's own packages and does not find in the installed versions."""
    from packaging.requirements import Requirement  # noqa: PLC0415  (every instrumentation brings it along)

    lines = [f"{upstream.needs}; extra == '{_EXTRA}'"] if upstream.needs else []
    if upstream.family is not Family.BUILT_IN:
        lines += metadata.requires(upstream.distribution) or ()
    unmet = []
    for requirement in map(Requirement, lines):
        found = _version(requirement.name) if requirement.name in client.distributions else None
        if found is None or requirement.marker is None or not requirement.marker.evaluate({"extra": _EXTRA}):
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            unmet.append(f"{requirement.name}{requirement.specifier} (installed is {found})")
    return unmet


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _loaded(module: str) -> bool:
    """Whether the import of a module is complete; configured from within it, we wait for its end."""
    found = sys.modules.get(module)
    return found is not None and not getattr(getattr(found, "__spec__", None), "_initializing", False)
