"""Media of messages kept as files: only with content on, private, named by hash, and bounded."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm import semconv
from otel_llm.store.media import MediaFiles
from otel_llm.store.queries import spans
from otel_llm.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
ENCODED = base64.b64encode(PNG).decode()
DIGEST = hashlib.sha256(ENCODED.encode()).hexdigest()


@pytest.fixture
def model() -> Iterator[FakeProvider]:
    """A provider of language models on loopback."""
    with FakeProvider() as serving:
        yield serving
    litellm.in_memory_llm_clients_cache.flush_cache()


def show(model: FakeProvider) -> None:
    """One call with an image in it."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]}]
    litellm.completion("openai/gpt-4o", messages, api_base=model.openai_base, api_key="k", max_retries=0)


def begin(tmp_path: Path, **settings: Any) -> TracerProvider:
    """Configure with the local store and media kept."""
    joined = TracerProvider(shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=joined, state_dir=tmp_path, media_keep=True, **settings)
    return joined


def test_an_image_of_a_call_is_a_private_file_that_its_span_names(model: FakeProvider, tmp_path: Path) -> None:
    """The file has the image's bytes; its name is the hash on the span; only the owner can read it."""
    begin(tmp_path, content="on")
    show(model)
    assert otel_llm.flush(30)
    (file,) = (tmp_path / "media").iterdir()
    assert file.name == f"{DIGEST}.png"
    assert file.read_bytes() == PNG
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    (span,) = [span for span in spans(tmp_path / "store.db") if span["is_llm"]]
    assert f'"base64_sha256":"{DIGEST}"' in span["attributes"][semconv.INPUT_MESSAGES].replace(": ", ":")


@pytest.mark.parametrize(
    "settings",
    [
        {"content": "off"},
        {"content": "metadata"},
        {"content": "on", "content_images": "metadata"},
        {"content": "off", "content_tenants": {"acme": "on"}},
        {"content": "on", "sampling_content_ratio": 0},
        {"content": "on", "sampling_ratio": 0},
    ],
    ids=",".join,
)
def test_nothing_is_kept_of_content_that_is_not_recorded(
    model: FakeProvider, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Content off, off for images, off for this tenant, or sampled out: no file."""
    begin(tmp_path, **settings)
    show(model)
    otel_llm.flush(30)
    assert not (tmp_path / "media").exists()


def test_inline_media_of_other_instrumentations_are_kept_too(tmp_path: Path) -> None:
    """A data URL in somebody else's span is replaced as ever, and its bytes are in a file."""
    joined = begin(tmp_path, content="on", spans="all")
    value = json.dumps({"url": f"data:image/png;base64,{ENCODED}"})
    joined.get_tracer("theirs").start_span("llm", attributes={"input.value": value}).end()
    otel_llm.flush(30)
    (file,) = (tmp_path / "media").iterdir()
    assert (file.name, file.read_bytes()) == (f"{DIGEST}.png", PNG)
    (span,) = spans(tmp_path / "store.db")
    assert ENCODED[:64] not in span["attributes"]["input.value"]
    assert DIGEST[:16] in span["attributes"]["input.value"]


def keep(files: MediaFiles, content: bytes, *, age: int = 0) -> str:
    """Keep one file of so many seconds' age; its name."""
    encoded = base64.b64encode(content).decode()
    digest = hashlib.sha256(encoded.encode()).hexdigest()
    files.offer(digest, encoded)
    files.keep(digest)
    assert files.flush(30)
    path = files.directory / digest
    if path.exists():
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return digest


def test_over_the_limit_the_files_used_longest_ago_go(tmp_path: Path) -> None:
    """The directory never holds more than its bytes; what alone is more is not kept at all."""
    files = MediaFiles(tmp_path / "media", max_bytes=1000)
    old = keep(files, b"a" * 400, age=300)
    used = keep(files, b"b" * 400, age=200)
    new = keep(files, b"c" * 400, age=100)
    assert {path.name for path in files.directory.iterdir()} == {used, new}
    assert old not in {used, new}
    keep(files, b"d" * 1001)
    assert {path.name for path in files.directory.iterdir()} == {used, new}


def test_what_no_span_names_is_never_written(tmp_path: Path) -> None:
    """An offer alone makes no file and no directory."""
    files = MediaFiles(tmp_path / "media", max_bytes=1000)
    files.offer("ab", "aGk=")
    assert files.flush(30)
    assert not files.directory.exists()


def test_a_directory_that_cannot_be_used_costs_the_files_only(tmp_path: Path) -> None:
    """A file where the directory should be: nothing is raised, and the queue goes on."""
    (tmp_path / "media").write_text("in the way")
    files = MediaFiles(tmp_path / "media", max_bytes=1000)
    keep(files, b"a")
    assert (tmp_path / "media").read_text() == "in the way"


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """Whoever puts a symbolic link there has nothing overwritten."""
    files = MediaFiles(tmp_path / "media", max_bytes=1000)
    digest = hashlib.sha256(base64.b64encode(b"a")).hexdigest()
    files.directory.mkdir()
    target = tmp_path / "target"
    target.write_text("theirs")
    (files.directory / digest).symlink_to(target)
    files.offer(digest, base64.b64encode(b"a").decode())
    files.keep(digest)
    assert files.flush(30)
    assert target.read_text() == "theirs"
