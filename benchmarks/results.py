"""The file of all figures. A later run, or a part of one, adds its scenes to it or replaces them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.environments import ENVIRONMENTS, REPOSITORY, home_of, versions

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.driver import Runs
    from benchmarks.scenes.scene import Options

FORMAT = 3


class Results:
    """Scenes by name, each with its runs, and with the machine and the load under which they were made."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.scenes: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            document = json.loads(file.read_text())
            if document.get("format") == FORMAT:
                self.scenes = document["scenes"]

    def complete(self, name: str) -> bool:
        """Whether a scene was measured to its end."""
        return bool(self.scenes.get(name, {}).get("complete"))

    def differs(self, name: str, options: Options) -> bool:
        """Whether a scene is there that was measured with other options."""
        return name in self.scenes and self.scenes[name]["options"] != _plain(options)

    def begun(self, name: str, options: Options) -> Runs:
        """What there is of a scene to go on with: of the same options and the same code; none otherwise."""
        scene = self.scenes.get(name)
        if scene is None or self.differs(name, options) or scene["machine"]["commit"] != commit():
            return {}
        return self.runs(name)

    def of_size(self, size: str) -> list[str]:
        """The scenes that were measured at that size."""
        return [name for name, scene in self.scenes.items() if scene["options"]["size"] == size]

    def seconds(self, name: str) -> float:
        """How long a scene took so far."""
        return float(self.scenes.get(name, {}).get("machine", {}).get("seconds", 0.0))

    def runs(self, name: str) -> Runs:
        """The runs of a scene; none where it was not measured."""
        found: Runs = self.scenes.get(name, {}).get("runs", {})
        return found

    def keep(self, name: str, runs: Runs, options: Options, facts: dict[str, Any], *, complete: bool) -> None:
        """Put a scene, or what there is of it, into the file."""
        self.scenes[name] = {"complete": complete, "options": _plain(options), "machine": facts, "runs": runs}
        self.save()

    def beside(self, name: str, text: str) -> None:
        """Write another file into the directory."""
        if self._file is not None:
            (self._file.parent / name).write_text(text)

    def save(self) -> None:
        """Write the file, so that there is a whole one at every moment."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_name(self._file.name + ".new")
        beside.write_text(json.dumps({"format": FORMAT, "scenes": self.scenes}, indent=1))
        os.replace(beside, self._file)


def _plain(options: Options) -> Any:
    """As it is read from the file again."""
    return json.loads(json.dumps(asdict(options)))


class Watch:
    """Time and load of one scene."""

    def __init__(self, work: Path, before: float = 0.0) -> None:
        self._work = work
        self._began = time.monotonic() - before
        self._versions: dict[str, dict[str, str]] = {}
        self._started = time.strftime("%Y-%m-%d %H:%M", time.gmtime())

    def facts(self, runs: Runs) -> dict[str, Any]:
        """What the machine was while `runs` were made, and whose versions they are of."""
        loads = [run["load"] for results in runs.values() for run in results if "load" in run] or [os.getloadavg()[0]]
        homes = {home_of(name.split()[0]) for name in runs}
        return {
            "started": self._started,
            "seconds": round(time.monotonic() - self._began, 1),
            "cpus": os.cpu_count(),
            "cpu": _cpu_model(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "python": platform.python_version(),
            "system": platform.platform(),
            "load": {"lowest": round(min(loads), 2), "highest": round(max(loads), 2)},
            "commit": commit(),
            "versions": {home: self._versions_in(home) for home in sorted(homes & set(ENVIRONMENTS))},
        }

    def _versions_in(self, home: str) -> dict[str, str]:
        if home not in self._versions:
            self._versions[home] = versions(self._work, home)
        return self._versions[home]


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"


def commit() -> str:
    """The commit of the checkout, with a plus where something in it was changed since; empty outside of git."""
    git = ["git", "-C", str(REPOSITORY)]
    found = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "otel_llm"], capture_output=True, text=True, check=False)
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")
