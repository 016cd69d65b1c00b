"""Make `quick-run.json` of the figures of a run: few peers, and nothing that the tables do not need.

python tests/benchmarks/trim.py FIGURES...      # scenes of a later file replace those of an earlier one
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_PEERS = (
    "bare",
    "otel_llm",
    "otel_llm_otlp",
    "openinference",
    "openllmetry",
    "openlit",
    "langfuse_sdk",
    "opik_callback",
)
_WAYS = (
    "ours_",
    "stock_",
    "opik_span",
    "opik_trace_span",
    "otlp_http",
    "opik",
    "floors",
    *(f"{each}_" for each in _PEERS),
)


def main() -> None:
    """Read, trim, write."""
    scenes = {}
    for file in sys.argv[1:]:
        document = json.loads(Path(file).read_text())
        scenes |= document["scenes"]
    for scene in scenes.values():
        runs = {name: results for name, results in scene["runs"].items() if _kept(name)}
        scene["runs"] = {name: [_rounded(run) for run in results] for name, results in runs.items()}
    target = Path(__file__).with_name("quick-run.json")
    target.write_text(json.dumps({"format": document["format"], "scenes": scenes}, indent=1) + "\n")


def _kept(name: str) -> bool:
    return name.split(maxsplit=1)[0] in _PEERS or name.startswith(_WAYS)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
