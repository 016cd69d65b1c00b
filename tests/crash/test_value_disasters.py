"""Disasters inside of spans: hostile values, keys and names; the span arrives, and nobody is harmed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import otel_llm
from tests.crash.pipeline_kit import Rig, arrivals
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.fakes.spans import values_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.disaster_table import Verdict


class Lying(dict[str, Any]):
    """A mapping that cannot be looked into."""

    def items(self) -> Any:
        raise RuntimeError("no")

    def __len__(self) -> int:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Unspeakable:
    """An object whose every text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def deep(levels: int) -> Any:
    """Lists in lists."""
    found: Any = []
    for _ in range(levels):
        found = [found]
    return found


def cyclic() -> Any:
    """A list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


HOSTILE: dict[str, Any] = {
    "half a character": "\ud800 text",
    "NUL": "a\0b",
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "2**70": 2**70,
    "bytes": b"\xff\xfe",
    "a set": {1, 2},
    "a list of lists of itself": cyclic(),
    "10,000 levels": deep(10_000),
    "a mapping that raises": Lying(a=1),
    "an object that raises": Unspeakable(),
    "a generator": (number for number in range(3)),
    "None": None,
    "an exception": ValueError("x"),
    "a type": int,
}
ENDLESS = {"a list of lists of itself", "10,000 levels", "a mapping that raises", "an object that raises"}
"""What OpenTelemetry's own `set_attribute` raises at, before anything of ours sees it."""


def test_hostile_values(tmp_path: Path, verdict: Verdict) -> None:
    """As result, argument and note of a function, and as bare attribute: every span arrives, as strict JSON too."""
    with OtlpReceiver() as receiver:
        settings = {"backend": ["otlp", "file"], "content": "on", "file_path": tmp_path / "spans.jsonl"}
        rig = Rig(tmp_path, otlp_endpoint=receiver.url, **settings)
        before = len(HOSTILE)
        for name, value in HOSTILE.items():

            @otel_llm.trace(f"f {name}", operation="tool")
            def work(argument: Any, result: Any = value) -> Any:
                otel_llm.current().set(note=argument)
                return result

            assert work(value) is value
            span = rig.provider.get_tracer("app").start_span(f"g {name}", attributes={"good": 1})
            if name not in ENDLESS:
                span.set_attribute("b", value)
                span.add_event("e", {"c": value})
            span.end()
        assert rig.settled()
        found = [span.name for span in receiver.spans]
        assert len(found) == len(set(found)) == 2 * before
        assert all(values_of(span)["good"] == 1 for span in receiver.spans if span.name.startswith("g "))
        lines = (tmp_path / "spans.jsonl").read_text(encoding="utf-8").splitlines()
        assert sum(_strictly(line) for line in lines) == 2 * before
        verdict(
            26,
            f"{before} kinds of hostile values, in functions and attributes",
            created=2 * before,
            delivered=len(set(found)),
        )
        assert rig.backend("otlp").created == 2 * before


def _strictly(line: str) -> int:
    """The number of spans in a line of JSON without NaN and infinity."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    document = json.loads(line, parse_constant=refuse)
    return sum(len(scope["spans"]) for group in document["resourceSpans"] for scope in group["scopeSpans"])


KEYS = [
    "",
    " ",
    "__proto__",
    "constructor",
    "a",
    "A",
    "a.b",
    "a\nb",
    "\0",
    "k" * 100_000,
    "ключ",
    "\ud800",
    "$ref",
    "<script>",
]


def test_odd_keys(tmp_path: Path, verdict: Verdict) -> None:
    """Empty, endless and look-alike keys: the span arrives with the others as they were, and within its size."""
    with OtlpReceiver() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        for number, key in enumerate(KEYS):
            rig.spans(1, f"key {number}", **{key: "value", "good": 1})
        rig.spans(1, "all", **dict.fromkeys(KEYS, "value"))
        rig.spans(1, "many", **{f"{number}{'k' * 50_000}": "value" for number in range(100)})
        assert rig.settled()
        by_name = {span.name: span for span in receiver.spans}
        assert all(values_of(by_name[f"key {number}"])["good"] == 1 for number in range(len(KEYS)))
        assert values_of(by_name["all"])["a"] == values_of(by_name["all"])["A"] == "value"
        assert max(span.ByteSize() for span in receiver.spans) < 1_100_000
        rig.tell(verdict, 27, "odd keys: empty, 100 kB, __proto__, by case, 5 MB of keys", arrivals(receiver))


NAMES = [
    "../../../evil",
    "/etc/passwd",
    "..",
    ".",
    "a/b",
    "a\\b",
    "~root",
    "con",
    "x" * 5000,
    "n\nl",
    "%2e%2e%2f",
    "$(id)",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_name_leads_out_of_the_directory(name: str, tmp_path: Path, verdict: Verdict) -> None:
    """Whatever service, tenant, user, model and project are called, files are made below the state directory alone."""
    state = tmp_path / "below" / "state"
    here = sorted(os.listdir())
    with OtlpReceiver() as receiver:
        rig = Rig(
            state,
            otlp_endpoint=receiver.url,
            service_name=name.replace("\n", " "),
            backend=["otlp", "local", "file"],
            content="on",
            media_keep=True,
        )
        with otel_llm.tenant(name, user=name, session=name):
            rig.spans(3, name or "n", **{"gen_ai.request.model": name, "gen_ai.operation.name": "chat"})
        assert rig.settled()
        made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
        assert {path.parts[:2] for path in made if len(path.parts) > 1} == {("below", "state")}
        (spool,) = (state / "spool").iterdir()
        assert set(spool.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert sorted(os.listdir()) == here
        verdict(
            31,
            "names like ../../../evil for service, tenant, user, model",
            created=3,
            delivered=len(set(arrivals(receiver))),
        )
