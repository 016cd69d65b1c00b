"""The cost fixtures: what a provider answered, and what that costs, worked out by hand."""

from __future__ import annotations

import ast
import io
import json
import operator
import wave
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import openai

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider

__all__ = ["CASES", "DIRECT", "LITELLM", "LOST", "WIRE", "arguments", "computed", "run", "script"]

_DIRECTORY: Final = Path(__file__).parents[2] / "fixtures" / "cost"

CASES: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(_DIRECTORY.glob("*.json"))
}
DIRECT: Final = [name for name, case in CASES.items() if "not_over_the_wire" in case]
"""Cases that no call of litellm can lead to; each says why."""
WIRE: Final = [name for name in CASES if name not in DIRECT]
LITELLM: Final = tuple(map(int, version("litellm").split(".")[:2]))
"""Version of the litellm that runs."""
LOST: Final = {
    "gemini-flex": "drops the tier that served",
    "image-by-quality": "knows no fal.ai",
    "image-each": "sends images to AI/ML API to its own address, whatever `api_base` says",
    "image-tokens": "drops the kinds of tokens of an image",
    "openrouter-own-figure-stream": "drops the cost at the end of a stream",
    "openrouter-own-key-stream": "drops the cost at the end of a stream",
    "transcription-per-second": "drops the usage of a transcription",
    "transcription-tokens": "drops the usage of a transcription",
}
"""Cases of which litellm before 1.85 does not hand out what it is billed by, or cannot be asked for here."""


def script(provider: FakeProvider, case: dict[str, Any]) -> None:
    """Have the provider answer as the case says."""
    if "events" in case:
        head = {"Content-Type": "text/event-stream"}
        provider.error(200, "".join(map(_event, case["events"])), headers=head, times=None)
    elif isinstance(case["answer"], str):
        provider.error(200, case["answer"], headers={"Content-Type": "audio/mpeg"}, times=None)
    else:
        provider.json(case["answer"], times=None)


def _event(event: dict[str, Any]) -> str:
    data = event["data"] if isinstance(event["data"], str) else json.dumps(event["data"])
    name = f"event: {event['event']}\n" if "event" in event else ""
    return f"{name}data: {data}\n\n"


def arguments(provider: FakeProvider, case: dict[str, Any]) -> dict[str, Any]:
    """What litellm is called with."""
    made = {"api_key": "sk-test", "max_retries": 0, **case["call"]["arguments"]}
    for name, value in made.items():
        if isinstance(value, str):
            made[name] = (
                ("sound.wav", _second_of_silence()) if value == "{wav}" else value.replace("{url}", provider.url)
            )
    if case["call"]["function"] == "moderation" and LITELLM < (1, 85):  # which knows no other way to another server
        made["client"] = openai.OpenAI(base_url=made["api_base"], api_key="sk-test", max_retries=0)
    return made


def run(provider: FakeProvider, case: dict[str, Any]) -> Any:
    """Make the call and read a stream to its end."""
    import litellm

    asked = arguments(provider, case)
    answer = getattr(litellm, case["call"]["function"])(**asked)
    return list(answer) if asked.get("stream") else answer


def _second_of_silence() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8000)
    return made.getvalue()


# --- the arithmetic of a case, so that its total is what it shows ------------------------------------------------

_OPERATIONS: Final[dict[type, Callable[[Decimal, Decimal], Decimal]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def computed(arithmetic: str) -> Decimal:
    """The value of a sum such as `10*0.5 + 3`, in decimal."""

    def value(node: ast.expr) -> Decimal:
        if isinstance(node, ast.BinOp):
            return _OPERATIONS[type(node.op)](value(node.left), value(node.right))
        written = ast.get_source_segment(arithmetic, node)
        assert isinstance(node, ast.Constant), node
        assert written is not None
        return Decimal(written)

    return value(ast.parse(arithmetic, mode="eval").body)
