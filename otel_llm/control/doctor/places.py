"""The places on this machine that spans wait in."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from otel_llm.control.doctor.examination import failed, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_llm.config import Config
    from otel_llm.contracts import Finding

__all__ = ["check_disk", "check_spool"]

_LITTLE_BYTES: Final = 128 * 1024**2


def check_disk(config: Config) -> Iterator[Finding]:
    """Whether the state directory can be written, and how much room there is."""
    place = _nearest_existing(config.state_dir)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        evidence = f"{config.state_dir} cannot be written by this user ({place} is in the way)."
        yield failed(
            "disk", evidence, "Give the user a directory of its own in OTEL_LLM_STATE_DIR, on a volume that stays."
        )
        return
    free = shutil.disk_usage(place).free
    evidence = f"{config.state_dir}, {free / 1e9:.1f} GB free."
    if free < _LITTLE_BYTES:
        yield warning(
            "disk", evidence, "Free some space: spans that wait for a backend are dropped and counted when full."
        )
    else:
        yield ok("disk", evidence)


def check_spool(config: Config) -> Iterator[Finding]:
    """What lies in the spool of this service, and whether it can take more."""
    from otel_llm.delivery.spool import Spool  # noqa: PLC0415  (loads sqlite3)
    from otel_llm.delivery.spool_files import spool_directory  # noqa: PLC0415
    from otel_llm.delivery.spool_types import SpoolSettings  # noqa: PLC0415

    if config.spool.mode == "off":
        yield warning(
            "spool", "Switched off: what a backend does not take in time is lost.", "Set spool.mode to always."
        )
        return
    spool = Spool(spool_directory(config.state_dir, config.service_name), SpoolSettings.of(config))
    try:
        report = spool.report()
    finally:
        spool.close()
    if report.set_aside:
        evidence = f"{report.set_aside} damaged spool files lie beside {report.path}: spans in them were lost."
        yield warning("spool.files", evidence, "Look for a failing disk or a foreign program, and delete corrupt-*.db.")
    for backend, found in report.backends.items():
        for each in found.parked:
            why = each.failure.why if each.failure is not None else "It takes spans again, or was not tried yet."
            evidence = f"{each.waiting} spans wait for workspace {each.workspace!r} of {backend}: {why}"
            yield warning("spool.workspaces", evidence, "They are kept, hold up no others, and go when it is open.")
    if report.degraded:
        yield warning("spool", report.degraded, "Until then spans wait in memory, and are lost with the process.")
    elif report.waiting:
        evidence = (
            f"{report.waiting} spans of {config.service_name} wait in {report.path} ({report.stored_bytes} bytes)."
        )
        yield warning("spool", evidence, "They are sent when the program runs, or by `otel-llm ship`.")
    else:
        yield ok("spool", f"Nothing waits in {report.path}.")


def _nearest_existing(path: Path) -> Path:
    """Not by `Path.exists`, which raises where this user may not look."""
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))
