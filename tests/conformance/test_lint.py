"""`otel-llm lint`: the three kinds of files, what is said about them, and what is no such file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otel_llm.backends.file import FileBackend
from otel_llm.backends.local import LocalBackend
from otel_llm.cli import main
from otel_llm.conformance import check, read
from otel_llm.delivery.codec import encode
from otel_llm.otlp_json import to_otlp_json
from otel_llm.wire import decode

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.contracts import Batch

RIGHT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.request.temperature": 1.0,
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.response.finish_reasons": ["stop"],
}
SECRET = "what-a-person-wrote"


def batch(*spans: dict[str, Any], scope: str = "app") -> Batch:
    """Spans of one instrumentation, as a backend gets them, with a span of something else before them."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "s"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("web").start_span("GET /").end()
    for attributes in spans:
        tracer = provider.get_tracer(scope, schema_url="https://opentelemetry.io/schemas/gen-ai/1.42.0")
        tracer.start_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=attributes).end()
    (made,) = encode(exporter.get_finished_spans())
    return made


def file_of(kind: str, directory: Path, made: Batch) -> Path:
    """The batch as a file of this kind."""
    if kind == "store":
        path = directory / "store.db"
        local = LocalBackend(path)
        assert local.send(made, timeout=10)
        local.close()
        return path
    path = directory / "spans.json"
    if kind == "lines":
        backend = FileBackend(path)
        backend.send(made, timeout=10)
        backend.send(made, timeout=10)
    else:
        path.write_text(json.dumps(to_otlp_json(decode(made)), indent=2))
    return path


@pytest.mark.parametrize("kind", ["lines", "document", "store"])
def test_spans_that_conform_pass(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of spans that conform gives exit code 0 and one line that counts them."""
    path = file_of(kind, tmp_path, batch(RIGHT, RIGHT))
    times = 2 if kind == "lines" else 1
    assert main(["lint", str(path)]) == 0
    expected = f"{2 * times} GenAI spans of {3 * times} checked: 0 kinds of violation, 0 of advice.\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("kind", ["lines", "document", "store"])
def test_a_violation_says_what_where_which_rule_and_what_to_do(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and all of it is said once, however many spans show it; what people wrote is not shown."""
    wrong = {**RIGHT, "gen_ai.request.temperature": 1, "gen_ai.input.messages": json.dumps([{"role": SECRET}])}
    path = file_of(kind, tmp_path, batch(wrong, wrong))
    assert main(["lint", str(path)]) == 1
    out = capsys.readouterr().out
    assert out.count("violation  type: `gen_ai.request.temperature` is of type int, and should be double") == 1
    assert f"{4 if kind == 'lines' else 2} spans of 'app'; first 'chat gpt-4o' (trace " in out
    assert "has no 'parts' at $[0]" in out
    assert "do       Write a floating-point number, 1.0 and not 1." in out
    assert "source   registry, https://github.com/open-telemetry/semantic-conventions-genai" in out
    assert "2 kinds of violation" in out.splitlines()[-1]
    assert SECRET not in out


def test_json_has_the_same_in_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one document with every kind of finding, its first span and the sums."""
    path = file_of("lines", tmp_path, batch({**RIGHT, "gen_ai.system": "openai", "gen_ai.usage.input_tokens": "7"}))
    assert main(["lint", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["conforms"], found["spans"], found["genai_spans"]) == (False, 4, 2)
    assert (found["violations"], found["advice"], found["declared"]) == (1, 1, 0)
    first, second = found["findings"]
    assert (first["rule"], first["level"], first["attribute"]) == ("type", "violation", "gen_ai.usage.input_tokens")
    assert first["spans"] == 2
    assert first["first"]["line"] == "1"
    assert len(first["first"]["trace_id"]) == 32
    assert (second["rule"], second["level"]) == ("older-name", "advice")


def test_advice_fails_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Advice leaves the exit code 0, and `--strict` makes it 1."""
    path = file_of("document", tmp_path, batch({**RIGHT, "gen_ai.request.stream": False}))
    assert main(["lint", str(path)]) == 0
    assert main(["lint", str(path), "--strict"]) == 1
    assert "advice     condition: `gen_ai.request.stream` is false" in capsys.readouterr().out


def test_what_otel_llm_does_on_purpose_is_shown_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A declared deviation of our own spans passes, `--strict` or not; the same on others' spans is a violation."""
    costly = {**RIGHT, "gen_ai.usage.cost": 0.25}
    assert main(["lint", str(file_of("document", tmp_path, batch(costly, scope="otel_llm"))), "--strict"]) == 0
    assert "because  The conventions have no cost yet" in capsys.readouterr().out
    assert main(["lint", str(file_of("document", tmp_path, batch(costly)))]) == 1


def test_spans_of_something_else_are_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no span is a GenAI span, it says that nothing was checked."""
    assert main(["lint", str(file_of("document", tmp_path, batch()))]) == 0
    assert capsys.readouterr().out == "1 span, none of them a GenAI span: nothing was checked.\n"


BAD_FILES = [
    (None, "cannot be read: No such file"),
    (b"", "is empty. It should be OTLP/JSON lines"),
    (b"\xff\xfe\x00", "is no text"),
    (b"hello\n", "is no JSON"),
    (b"[" * 100_000, "is no JSON"),
    (b'{"spans": []}', "has no list `resourceSpans`"),
    (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', "does not fit OTLP/JSON"),
    (b'{"resourceSpans": []}', "holds no spans"),
    (b"SQLite format 3\x00nonsense", "The local store"),
]


@pytest.mark.parametrize(("content", "words"), BAD_FILES)
def test_another_file_is_bad_input(
    content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no file of spans ends in exit code 2 (1 for a broken store) and says what it should be."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert main(["lint", str(path)]) == (1 if content is not None and content.startswith(b"SQLite") else 2)
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""


def test_a_files_name_is_written_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it begins the sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("import litellm")
    assert main(["lint", "app.py"]) == 2
    assert "otel-llm: app.py is no JSON" in capsys.readouterr().err


def test_a_bad_line_does_not_hide_those_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What came before a broken line is reported; the line is named, and the exit code is 2."""
    path = file_of("lines", tmp_path, batch({**RIGHT, "gen_ai.request.temperature": 1}))
    with path.open("a") as file:
        file.write('\n{"resourceSpans": [')
    assert main(["lint", str(path)]) == 2
    printed = capsys.readouterr()
    assert "violation  type" in printed.out
    assert f"Line 4 of {path} is no JSON" in printed.err


@pytest.mark.parametrize(
    "words", [[], ["x", "--live"], ["x", "--port", "1"], ["x", "--for", "1"]], ids=["nothing", "both", "port", "for"]
)
def test_what_is_asked_must_be_clear(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A file or `--live`, not both and not neither, and what goes with `--live` only there."""
    assert main(["lint", *words]) == 2
    assert "--live" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "x"], ["--port", "70000"], ["--for", "0"], ["--for", "nan"]])
def test_numbers_are_numbers(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A port or a time that is none is refused with the reason."""
    with pytest.raises(SystemExit) as ended:
        main(["lint", "--live", *words])
    assert ended.value.code == 2
    assert repr(words[1]) in capsys.readouterr().err


def test_without_the_schema_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package jsonschema is an extra: without it the command names the extra and does nothing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    from otel_llm.cli import lint
    from otel_llm.errors import ConfigError

    with pytest.raises(ConfigError, match=r"otel-llm\[lint\]"):
        lint._require_schemas()


def test_the_store_gives_what_was_sent(tmp_path: Path) -> None:
    """Through the store a span is found as it was sent, with the types of its values."""
    made = batch(RIGHT)
    from_file = [span for span in read(file_of("document", tmp_path, made)) if span.scope == "app"]
    from_store = [span for span in read(file_of("store", tmp_path, made)) if span.scope == "app"]
    assert [dict(span.attributes) for span in from_store] == [dict(span.attributes) for span in from_file] == [RIGHT]
    assert [check(span) for span in from_store] == [[]]
