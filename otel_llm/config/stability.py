"""`OTEL_SEMCONV_STABILITY_OPT_IN`: which generation of the conventions a program asks its instrumentations for.

A list with commas that all instrumentations of a process share; each reads the words of its own domain. Ours is
`gen_ai_latest_experimental`: the newest state of the GenAI conventions and no names of before v1.37. Spans
are of that state whether it is asked for or not (docs/decisions/0061); metrics have older names too until it is.
The HTTP spans below ours follow `http` and `http/dup`, through OpenTelemetry's instrumentations of httpx and aiohttp.
Source: semantic conventions v1.41.1, `docs/gen-ai/README.md`, and `docs/non-normative/http-migration.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GEN_AI_LATEST", "VARIABLE", "misspelt_opt_ins", "newest_only"]

VARIABLE: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
GEN_AI_LATEST: Final = "gen_ai_latest_experimental"
_STEMS: Final = ("gen_ai", "genai", "gen-ai", "llm")
"""What words about our domain begin with; words about others are none of our business."""


def newest_only(text: str) -> str | None:
    """The setting `metrics.generation` that the variable's text asks for: `new`, or nothing."""
    return "new" if GEN_AI_LATEST in _words({VARIABLE: text}) else None


def misspelt_opt_ins(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each word about GenAI that no instrumentation knows; most likely a slip of the pen."""
    return [
        f"{VARIABLE} has {word[:60]!r}, which no instrumentation knows: it does nothing. The only word of the GenAI "
        f"conventions is {GEN_AI_LATEST!r}; write that, or leave it out (otel_llm writes the newest names either way)."
        for word in _words(environ)
        if word != GEN_AI_LATEST and word.lower().startswith(_STEMS)
    ]


def _words(environ: Mapping[str, str]) -> list[str]:
    return [word for part in environ.get(VARIABLE, "").split(",") if (word := part.strip())]
