"""What happens in a Python process that was started under `otel-llm run`.

The command puts the directory `site` in front of `PYTHONPATH`; Python imports the `sitecustomize` it finds there
in every interpreter that the program starts: workers, reloaders, subprocesses. All that it does is to wait for
`import litellm`, so a process that never calls a model pays next to nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_llm.instrumentation.awaited import when_imported

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RUN_PID", "SITE_DIRECTORY", "run_environment", "start_when_needed"]

RUN_PID: Final = "_OTEL_LLM_RUN_PID"
"""Environment variable with the process id of the program that `otel-llm run` became; `site` spells it too."""

SITE_DIRECTORY: Final = str(Path(__file__).parent / "site")
_TRIGGERS: Final = ("litellm",)


def start_when_needed() -> None:
    """Configure from environment and files as soon as the program imports a library that we record."""
    for library in _TRIGGERS:
        if library in sys.modules:
            _start(None)
        else:
            when_imported(library, _start)


def run_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a program whose Pythons are to record: our directory in front of `PYTHONPATH`, once.

    The process id lets the program's own Python say so, should it find no otel_llm; its helpers stay silent.
    """
    others = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != SITE_DIRECTORY]
    return {**environ, "PYTHONPATH": os.pathsep.join([SITE_DIRECTORY, *others]), RUN_PID: str(os.getpid())}


def _start(_: object) -> None:
    """Configure; runs inside the program's own import, so wrong settings are said and the program goes on."""
    from otel_llm.errors import OtelLlmError  # noqa: PLC0415  (costs time that only model callers should pay)
    from otel_llm.faults import note_fault  # noqa: PLC0415

    try:
        from otel_llm.control.running import configure  # noqa: PLC0415

        configure()
    except OtelLlmError as error:
        sys.stderr.write(f"otel_llm: nothing is recorded: {error}\n")
    except Exception as error:  # noqa: BLE001  (the program's `import litellm` must succeed)
        note_fault("starting", error)
        sys.stderr.write(f"otel_llm: nothing is recorded: starting failed ({type(error).__name__})\n")
