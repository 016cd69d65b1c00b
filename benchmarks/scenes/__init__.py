"""The scenes: which jobs each is made of, how long it takes, and what its figures say as tables.

`measure` runs the jobs and answers their results, which are kept as they are; `tables` can be made of them at any time.
"""

from __future__ import annotations

from benchmarks.scenes.calls import CALL_SCENES
from benchmarks.scenes.collector import COLLECTOR_SCENES
from benchmarks.scenes.lateness import LATENESS_SCENES
from benchmarks.scenes.raw import RAW_SCENES
from benchmarks.scenes.scene import SIZES, Options, Scene
from benchmarks.scenes.service import SERVICE_SCENES
from benchmarks.scenes.start import START_SCENES

__all__ = ["SCENES", "SIZES", "Options", "Scene"]

SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (*START_SCENES, *CALL_SCENES, *RAW_SCENES, *LATENESS_SCENES, *SERVICE_SCENES, *COLLECTOR_SCENES)
}
"""In the order in which they run."""
