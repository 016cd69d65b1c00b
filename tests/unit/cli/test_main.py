"""The command `otel-llm`: which module answers, and how it ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from otel_llm import cli

if TYPE_CHECKING:
    from pathlib import Path

DUMMY = '''
"""A command for tests."""
import argparse
from otel_llm.errors import ConfigError, StoreError

HELP = "do something for a test"
MORE = ""


def configure(parser):
    parser.add_argument("--mode", default="plain")
    parser.add_argument("command", nargs=argparse.REMAINDER)


def run(args):
    if args.mode == "config":
        raise ConfigError("backend: wrong")
    if args.mode == "store":
        raise StoreError("no store")
    if args.mode == "interrupt":
        raise KeyboardInterrupt
    if args.mode == "bug":
        raise RuntimeError("a bug")
    print(args.mode, args.command)
    return 7
'''


@pytest.fixture
def dummy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands `dummy`, which exists, and `missing`, which does not, beside the real ones."""
    (tmp_path / "dummy.py").write_text(DUMMY)
    monkeypatch.setattr(cli, "__path__", [str(tmp_path)])
    monkeypatch.setattr(cli, "COMMANDS", ("dummy", "missing"))
    monkeypatch.delitem(sys.modules, "otel_llm.cli.dummy", raising=False)


@pytest.mark.usefixtures("dummy")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dummy", "python", "-m", "x", "--flag"], "plain ['python', '-m', 'x', '--flag']"),
        (["dummy", "--mode", "loud", "python", "--mode", "quiet"], "loud ['python', '--mode', 'quiet']"),
        (["dummy", "python", "--", "--help", "-h"], "plain ['python', '--', '--help', '-h']"),
        (["dummy", "gunicorn", "--mod", "x"], "plain ['gunicorn', '--mod', 'x']"),
        (["dummy"], "plain []"),
    ],
)
def test_what_follows_a_command_reaches_it_untouched(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options of the program that a command starts are never taken for our own."""
    assert cli.main(words) == 7
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.usefixtures("dummy")
@pytest.mark.parametrize(
    ("mode", "code", "message"),
    [
        ("config", 2, "otel-llm: backend: wrong\n"),
        ("store", 1, "otel-llm: no store\n"),
        ("interrupt", 130, ""),
    ],
)
def test_errors_end_in_a_message_and_an_exit_code(
    mode: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input is 2, another error of ours 1, Ctrl-C 130; the message goes to stderr without a traceback."""
    assert cli.main(["dummy", "--mode", mode]) == code
    assert capsys.readouterr() == ("", message)


@pytest.mark.usefixtures("dummy")
def test_a_bug_keeps_its_traceback() -> None:
    """An error that is not ours is not dressed up as one."""
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["dummy", "--mode", "bug"])


@pytest.mark.usefixtures("dummy")
def test_help_lists_the_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose module is not part of the build is neither listed nor in the way."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "dummy" in out
    assert "do something for a test" in out
    assert "missing" not in out


@pytest.mark.usefixtures("dummy")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dumy"], "there is no command 'dumy'; did you mean 'dummy'?"),
        (["missing"], "there is no command 'missing'; commands: dummy"),
        (["--loud"], "unknown option '--loud'"),
        (["--loud", "dummy"], "unknown option '--loud'"),
        (["dummy", "--mode"], "expected one argument"),
    ],
)
def test_bad_words_end_in_code_2(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command or option is bad input, and the nearest command is named."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.usefixtures("dummy")
def test_without_a_command_the_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """`otel-llm` alone says what it can do and ends with 2."""
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "do something for a test" in err


# --- as a process of its own ---------------------------------------------------------------------------------


def otel_llm(*words: str, **options: object) -> subprocess.Popen[str]:
    """`python -m otel_llm`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "otel_llm", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_version_is_the_installed_one() -> None:
    """`--version` prints the distribution's version."""
    out, _ = otel_llm("--version").communicate(timeout=60)
    assert out == f"otel-llm {version('otel-llm')}\n"


def test_one_command_loads_no_other() -> None:
    """`otel-llm config` imports no other command, no database and no HTTP client."""
    code = """
        import sys
        from otel_llm.cli import main
        main(["config", "show"])
        loaded = {name for name in sys.modules if name.startswith("otel_llm.cli.")} | {"sqlite3", "requests"}
        print(sorted(loaded & set(sys.modules)), file=sys.stderr)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stderr.strip() == "['otel_llm.cli.config', 'otel_llm.cli.tables']"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """With the other end of the pipe closed, the command ends quietly, as `| head` expects."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "otel_llm", "config", "show"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_ctrl_c_ends_a_command_with_130(tmp_path: Path) -> None:
    """SIGINT ends a running command without a traceback."""
    (tmp_path / "slow.py").write_text(
        "import signal\nHELP = 'wait'\nMORE = ''\n\ndef configure(parser):\n    pass\n\n"
        "def run(args):\n    print('ready', flush=True)\n    signal.pause()\n"
    )
    code = (
        "import sys\nfrom otel_llm import cli\ncli.COMMANDS = ('slow',)\n"
        f"cli.__path__ = [{str(tmp_path)!r}]\nsys.exit(cli.main(['slow']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["usage", "--tennant", "x"], "unrecognized arguments: --tennant x; did you mean '--tenant'?"),
        (["usage", "--tennant=x"], "unrecognized arguments: --tennant=x; did you mean '--tenant'?"),
        (["run", "--json", "python"], "unrecognized arguments: --json"),
        (["ship", "--wach"], "unrecognized arguments: --wach; did you mean '--watch'?"),
        (["config", "show", "--jsn"], "unrecognized arguments: --jsn"),
        (["usage", "everything"], "unrecognized arguments: everything"),
    ],
)
def test_a_wrong_option_names_the_nearest_right_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and of options that the command has the one that is meant, where one is near."""
    with pytest.raises(SystemExit) as leaving:
        cli.main(words)
    assert leaving.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


def test_output_that_the_caller_has_closed_is_no_error(tmp_path: Path) -> None:
    """With `>&-` what is printed goes nowhere, and the exit code is what it would have been."""
    command = f"{sys.executable} -m otel_llm config show >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_closed_to_this_user_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the file, and what would help."""

    def closed(_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/other/state")

    monkeypatch.setattr("otel_llm.cli.status.run", closed)
    assert cli.main(["status"]) == 1
    said = capsys.readouterr().err
    assert "This user may not use /home/other/state" in said
    assert "OTEL_LLM_STATE_DIR" in said


@pytest.mark.parametrize("text", ["abc", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("command", [["ship"], ["replay", "--to", "local"], ["doctor"]])
def test_a_time_that_is_none_is_refused(command: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No command takes a limit that it would then say the network had broken."""
    with pytest.raises(SystemExit) as leaving:
        cli.main([*command, f"--timeout={text}"])
    assert leaving.value.code == 2
    assert f"{text!r} is not a number of seconds above 0" in capsys.readouterr().err
