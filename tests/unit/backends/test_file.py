"""The file backend on real files: format, sharing, rotation, and everything a disk can refuse."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_llm.backends import file as file_module
from otel_llm.backends.file import FileBackend, create
from otel_llm.config import load
from otel_llm.contracts import CheckStatus, Delivered, Outcome, Retry
from otel_llm.delivery.codec import decode
from otel_llm.otlp_json import from_otlp_json
from tests.fakes.spans import make_batch

TIMEOUT = 20.0
NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _send(backend: FileBackend, **fields: Any) -> Outcome:
    return backend.send(make_batch(**fields), timeout=TIMEOUT)


def test_each_batch_is_a_line_of_otlp_json(tmp_path: Path) -> None:
    """Lines read back as the very requests that were sent."""
    backend = FileBackend(tmp_path / "spans.jsonl")
    batches = [make_batch(2, name="line\nbreak\u2028"), make_batch(1, attributes={"n": 2**40})]
    for batch in batches:
        assert backend.send(batch, timeout=TIMEOUT) == Delivered(batch.span_count)
    assert [from_otlp_json(line) for line in _lines(backend.path)] == [decode(batch) for batch in batches]


def test_file_and_new_directories_are_private(tmp_path: Path) -> None:
    """Only the owner can read what people wrote, whatever the umask."""
    path = tmp_path / "new" / "deeper" / "spans.jsonl"
    before = os.umask(0)
    try:
        assert _send(FileBackend(path)) == Delivered(1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_path_comes_from_the_settings(tmp_path: Path) -> None:
    """`file_path` names the file."""
    backend = create(load({"file_path": str(tmp_path / "mine.jsonl")}))
    assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    assert len(_lines(tmp_path / "mine.jsonl")) == 1


def test_full_file_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    """No file exceeds its limit, the numbers rise with age, and only so many are kept."""
    backend = FileBackend(tmp_path / "s.jsonl", max_bytes=2_000, old_files=2)
    for number in range(40):
        assert _send(backend, name=f"batch {number}") == Delivered(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.jsonl", "s.jsonl.1", "s.jsonl.2"]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())
    newest_last = [line for name in ("s.jsonl.2", "s.jsonl.1", "s.jsonl") for line in _lines(tmp_path / name)]
    names = [line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] for line in newest_last]
    assert names == [f"batch {number}" for number in range(40 - len(names), 40)]


def test_no_old_files_means_none(tmp_path: Path) -> None:
    """With `old_files` 0 a full file starts anew."""
    backend = FileBackend(tmp_path / "s.jsonl", max_bytes=1_000, old_files=0)
    for _ in range(10):
        _send(backend)
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]


def test_batch_larger_than_a_file_is_written_whole(tmp_path: Path) -> None:
    """A batch over the limit gets a file of its own, and is not lost or rotated for ever."""
    backend = FileBackend(tmp_path / "s.jsonl", max_bytes=1_000, old_files=3)
    for _ in range(2):
        assert _send(backend, count=20) == Delivered(20)
    assert len(_lines(tmp_path / "s.jsonl")) == len(_lines(tmp_path / "s.jsonl.1")) == 1


def test_processes_share_a_file_without_tearing_lines(tmp_path: Path) -> None:
    """Four processes write and rotate at once: every line is whole and none is lost."""
    path = tmp_path / "s.jsonl"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from otel_llm.backends.file import FileBackend\n"
        "from tests.fakes.spans import make_batch\n"
        "backend = FileBackend(Path(sys.argv[1]), max_bytes=200_000, old_files=50)\n"
        "for number in range(50):\n"
        "    outcome = backend.send(make_batch(5, name=f'{sys.argv[2]}-{number}'), timeout=30)\n"
        "    assert type(outcome).__name__ == 'Delivered', outcome\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(n)]) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = [line for file in tmp_path.iterdir() for line in _lines(file)]
    names = {line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] for line in lines}
    assert len(lines) == len(names) == 200
    assert len(list(tmp_path.iterdir())) > 1, "it was rotated too"


def test_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """Programs like logrotate may take the file at any time."""
    backend = FileBackend(tmp_path / "s.jsonl")
    _send(backend)
    (tmp_path / "s.jsonl").rename(tmp_path / "taken")
    assert _send(backend) == Delivered(1)
    assert len(_lines(tmp_path / "s.jsonl")) == len(_lines(tmp_path / "taken")) == 1


def test_lock_of_another_process_is_waited_for_within_the_timeout(tmp_path: Path) -> None:
    """A file that somebody holds gives a Retry, not a hang."""
    backend = FileBackend(tmp_path / "s.jsonl")
    _send(backend)
    with (tmp_path / "s.jsonl").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcome = backend.send(make_batch(), timeout=0.1)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "locked"
    assert _send(backend) == Delivered(1)


def test_full_disk_leaves_no_torn_line(tmp_path: Path) -> None:
    """What fits only in part is taken back, the batch is kept, and a smaller one still goes."""
    backend = FileBackend(tmp_path / "s.jsonl")
    _send(backend, name="whole")
    size = (tmp_path / "s.jsonl").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 2_000, hard))
    try:
        outcome = _send(backend, count=100)
        again = _send(backend, name="small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert isinstance(outcome, Retry)
    assert again == Delivered(1)
    assert len(_lines(tmp_path / "s.jsonl")) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_disk_full_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ENOSPC is told as such and needs no setting to be changed."""
    real = os.open
    monkeypatch.setattr(file_module.os, "open", lambda _path, _flags, _mode: real("/dev/full", os.O_WRONLY))
    monkeypatch.setattr(file_module, "_require_regular", os.fstat)
    monkeypatch.setattr(FileBackend, "_is_current", lambda *_args: True)
    outcome = _send(FileBackend(tmp_path / "s.jsonl"))
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("disk_full", False)


def _link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_link, "unsafe_path"),
        (lambda path: path.mkdir(), "unsafe_path"),
        (os.mkfifo, "unsafe_path"),
        (lambda path: path.parent.rmdir() or path.parent.write_text(""), "unsafe_path"),
    ],
    ids=["symbolic link", "directory", "FIFO", "file for a directory"],
)
def test_unfit_places_are_refused_at_once(tmp_path: Path, make: Any, reason: str) -> None:
    """Nothing is written through a link or into something that is no file, and a FIFO does not hang us."""
    path = tmp_path / "place" / "s.jsonl"
    path.parent.mkdir()
    make(path)
    backend = FileBackend(path)
    outcome = _send(backend)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == (reason, True)
    assert "file_path" in outcome.why
    (finding,) = backend.check()
    assert finding.status is CheckStatus.FAILED
    assert not (tmp_path / "place" / "target").exists()


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="a place where nobody can make a directory is Linux's /proc"
)
def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """What to do is to choose another path; nothing is promised about the spans, which no spool holds here."""
    outcome = _send(FileBackend(Path("/proc/nobody-makes-this/s.jsonl")))
    assert isinstance(outcome, Retry)
    assert outcome.why.endswith(
        "Its directory is missing and cannot be made: choose another file_path (OTEL_LLM_FILE_PATH)."
    )


@NOT_ROOT
def test_missing_right_is_named(tmp_path: Path) -> None:
    """A directory that is somebody else's is told as such, by batch and by check."""
    (tmp_path / "closed").mkdir(mode=0o500)
    backend = FileBackend(tmp_path / "closed" / "s.jsonl")
    outcome = _send(backend)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "permission"
    assert backend.check()[0].status is CheckStatus.FAILED


def test_check_creates_nothing(tmp_path: Path) -> None:
    """Looking is not writing."""
    (finding,) = FileBackend(tmp_path / "new" / "s.jsonl").check()
    assert finding.status is CheckStatus.OK
    assert list(tmp_path.iterdir()) == []
