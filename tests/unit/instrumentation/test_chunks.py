"""Chunks are read when there is time, and say what they said when the program got them."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import litellm
import pytest

from otel_llm.instrumentation.litellm import streams
from otel_llm.instrumentation.litellm.chunks import kept_chunk
from otel_llm.instrumentation.litellm.forms import FORMS
from otel_llm.instrumentation.litellm.request import Request
from otel_llm.instrumentation.litellm.stream_reader import StreamReader

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def chat(**delta: Any) -> Any:
    """A chunk as litellm makes it."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return litellm.ModelResponseStream(id="c1", model="m", choices=[choice])


def served(chunk: Any) -> Any:
    """With the provider's own name of the model beside it."""
    chunk._hidden_params["provider_response_model"] = "m-2026"
    return chunk


def counted(chunk: Any) -> Any:
    """With usage."""
    chunk.usage = litellm.Usage(**USAGE)
    return chunk


def plain(**members: Any) -> SimpleNamespace:
    """A chunk of a class that nobody knows."""
    return SimpleNamespace(**members)


CHUNKS: dict[str, Any] = {
    "words": lambda: chat(content="hello", role="assistant"),
    "role only": lambda: chat(role="assistant"),
    "reasoning": lambda: chat(reasoning_content="because"),
    "tool call": lambda: chat(tool_calls=[CALL]),
    "function call": lambda: chat(function_call={"name": "f", "arguments": "{}"}),
    "model beside it": lambda: served(chat(content="x")),
    "usage": lambda: counted(chat(content="x")),
    "text": lambda: litellm.TextCompletionResponse(id="t1", model="m", choices=[{"index": 0, "text": "word"}]),
    "dict": lambda: {"id": "d", "model": "m", "choices": [{"index": 1, "delta": {"content": "w"}}], "usage": USAGE},
    "foreign": lambda: plain(id="f", model="m", choices=[plain(index=0, delta=plain(content="w", tool_calls=[CALL]))]),
    "foreign call": lambda: plain(choices=[plain(delta=plain(tool_calls=[plain(**CALL)]))]),
    "delta of an answer": lambda: plain(type="response.output_text.delta", delta="w"),
    "end of an answer": lambda: {"type": "response.completed", "response": {"id": "r", "model": "m", "output": []}},
    "nothing": lambda: None,
    "a number": lambda: 7,
    "bytes": lambda: b"data: {}",
}


def said(*chunks: object) -> list[Any]:
    """What a reader makes of chunks, and which of them carried content."""
    reader = StreamReader(Request(FORMS["completion"], (), {"model": "openai/m", "messages": []}))
    carried = [reader.feed(chunk) for chunk in chunks]
    answer = reader.answer()
    usage = reader.usage(None)  # what the reader makes of the counts; in the answer they are as they came
    return [carried, answer if isinstance(answer, dict) else {**vars(answer), "usage": None}, usage]


@pytest.mark.parametrize("name", CHUNKS)
def test_a_kept_chunk_says_what_the_chunk_says(name: str) -> None:
    """Whatever the kind of chunk, reading what was kept of it comes to the same as reading the chunk."""
    chunk = CHUNKS[name]()
    first, second = said(kept_chunk(chunk)), said(chunk)
    assert str(first) == str(second)


@pytest.mark.parametrize(
    "name", ["words", "reasoning", "tool call", "function call", "usage", "text", "dict", "foreign"]
)
def test_what_the_program_does_to_a_chunk_is_not_recorded(name: str) -> None:
    """Changing names, texts, calls and counts of a chunk after it was kept leaves what was kept as it was."""
    chunk = CHUNKS[name]()
    kept, before = kept_chunk(chunk), str(said(CHUNKS[name]()))
    spoil(chunk, set())
    assert str(said(kept)) == before
    assert str(said(chunk)) != before


def spoil(value: Any, seen: set[int]) -> None:
    """Change everything in a value."""
    if id(value) in seen:
        return
    seen.add(id(value))
    for name, entry in entries(value):
        new = "spoilt" if isinstance(entry, str) else 99 if isinstance(entry, int) else None
        if new is None:
            spoil(entry, seen)
        elif isinstance(value, (dict, list)):
            value[name] = new
        else:
            setattr(value, name, new)


def entries(value: Any) -> list[tuple[Any, Any]]:
    """Names and values of what is in a value."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    extra = getattr(value, "__pydantic_extra__", None) or {}
    return [*getattr(value, "__dict__", {}).items(), *extra.items()]


class Recording:
    """Notes what it is told, in place of a recording whose facts are filled in later."""

    defers = True
    context = None
    ended = False

    def __init__(self) -> None:
        self.firsts: list[float] = []
        self.fills: list[Any] = []

    def first_chunk(self, at: float) -> None:
        self.firsts.append(at)

    def set(self, _: object) -> None:
        pass

    def end(self, fill: Any, size: int) -> None:
        self.fills.append((fill, size))


class Reader:
    """Notes chunks and who reads them."""

    size = 1024
    keep = staticmethod(kept_chunk)
    failure_in = None

    def __init__(self) -> None:
        self.read: list[Any] = []
        self.threads: set[int] = set()

    def feed(self, chunk: Any) -> bool:
        self.read.append(chunk["id"])
        self.threads.add(threading.get_ident())
        return bool(chunk["id"])


@pytest.fixture
def stream() -> tuple[streams.StreamRecording, Recording, Reader]:
    """A recording of a stream over stand-ins."""
    recording, reader = Recording(), Reader()
    return streams.StreamRecording(recording, reader, lambda *_: None), recording, reader  # type: ignore[arg-type]


def test_chunks_are_read_when_the_stream_is_over(stream: Any) -> None:
    """Until it ends no chunk is read, then all are, in order; the time is that of the first one that says something."""
    passing, recording, reader = stream
    for number in range(5):
        passing.chunk({"id": number})
    assert reader.read == []
    passing.end()
    ((fill, size),) = recording.fills
    assert size > 5 * 1024
    fill()
    assert reader.read == [0, 1, 2, 3, 4]
    assert recording.firsts == sorted(recording.firsts)
    assert len(recording.firsts) == 4


def test_a_long_streams_chunks_are_read_meanwhile(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From so many chunks on they are read aside, by another thread, each once and in order."""
    passing, recording, reader = stream
    asked: list[Any] = []
    monkeypatch.setattr(streams, "aside", asked.append)
    for number in range(streams._MANY):
        passing.chunk({"id": number})
    (read,) = asked
    thread = threading.Thread(target=read)
    thread.start()
    for number in range(streams._MANY, streams._MANY + 100):
        passing.chunk({"id": number})
    thread.join()
    passing.end()
    recording.fills[0][0]()
    assert reader.read == list(range(streams._MANY + 100))


def test_chunks_that_nobody_reads_do_not_pile_up(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the thread aside does not run, whoever reads the stream reads its chunks too."""
    passing, _, reader = stream
    monkeypatch.setattr(streams, "aside", lambda _: None)
    for number in range(streams._MOST):
        passing.chunk({"id": number})
    assert len(reader.read) == streams._MOST
    assert reader.threads == {threading.get_ident()}
