"""What waits for the program's imports: in processes of their own, where wrapt is not loaded before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HEAD = """
import importlib, importlib.util, sys, threading
from otel_llm.faults import fault_counts
from otel_llm.instrumentation.awaited import findable, when_imported
assert "wrapt" not in sys.modules
seen = []
def note(module):
    seen.append((module.__name__, getattr(module, "complete", False)))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], str]:
    """Runs a program that can import `awaited_one`, `awaited_two` and `awaited_package.inner`; gives its output."""
    (tmp_path / "awaited_one.py").write_text("import time; time.sleep(0.05); complete = True")
    (tmp_path / "awaited_two.py").write_text("import awaited_one; complete = True")
    package = tmp_path / "awaited_package"
    package.mkdir()
    (package / "__init__.py").write_text("complete = True")
    (package / "inner.py").write_text("complete = True")
    (tmp_path / "unsteady.py").write_text(
        "import sys\nif not hasattr(sys, 'steady'):\n    raise ImportError('not yet')\ncomplete = True"
    )

    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _HEAD + textwrap.dedent(program)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_it_is_called_when_the_import_is_complete(run: Callable[[str], str]) -> None:
    """Once, with the whole module; nothing is loaded for it before that, and all other imports are left alone."""
    assert (
        run("""
            when_imported("awaited_one", note)
            import wave
            assert "wrapt" not in sys.modules and not seen
            import awaited_one
            import awaited_one as again
            importlib.reload(awaited_one)
            print(seen, awaited_one.__spec__.name, type(awaited_one.__loader__).__name__, awaited_one.__file__[-14:])
        """)
        == "[('awaited_one', True)] awaited_one SourceFileLoader awaited_one.py"
    )


def test_two_may_wait_for_one_name_and_for_two(run: Callable[[str], str]) -> None:
    """Each is called, in the order in which they came; a module that imports another comes after it."""
    out = run("""
        when_imported("awaited_one", note)
        when_imported("awaited_two", note)
        when_imported("awaited_one", lambda module: seen.append("second"))
        import awaited_two
        print(seen)
    """)
    assert out == "[('awaited_one', True), 'second', ('awaited_two', True)]"


def test_one_that_comes_when_wrapt_is_there_waits_too(run: Callable[[str], str]) -> None:
    """The program may have loaded wrapt meanwhile."""
    out = run("""
        when_imported("awaited_one", note)
        import wrapt
        when_imported("awaited_one", lambda module: seen.append("second"))
        when_imported("awaited_two", note)
        import awaited_two
        print(sorted(map(str, seen)))
    """)
    assert out == """["('awaited_one', True)", "('awaited_two', True)", 'second']"""


def test_what_is_imported_already_is_told_at_once(run: Callable[[str], str]) -> None:
    """Nothing is left to wait for."""
    assert run("import awaited_one; when_imported('awaited_one', note); print(seen)") == "[('awaited_one', True)]"


def test_submodules(run: Callable[[str], str]) -> None:
    """The parent's import is not the child's."""
    out = run("""
        when_imported("awaited_package.inner", note)
        import awaited_package
        print(seen)
        import awaited_package.inner
        print(seen)
    """)
    assert out.splitlines() == ["[]", "[('awaited_package.inner', True)]"]


def test_an_import_that_fails_and_is_tried_again(run: Callable[[str], str]) -> None:
    """The program sees the failure as it is; the import that succeeds is the one that counts."""
    out = run("""
        when_imported("unsteady", note)
        when_imported("awaited_nowhere", note)
        for name in ("unsteady", "unsteady", "awaited_nowhere"):
            try:
                importlib.import_module(name)
            except ImportError as error:
                print(type(error).__name__, error)
        assert not seen
        sys.steady = True
        import unsteady
        print(seen)
    """)
    assert out.splitlines() == [
        "ImportError not yet",
        "ImportError not yet",
        "ModuleNotFoundError No module named 'awaited_nowhere'",
        "[('unsteady', True)]",
    ]


def test_who_only_asks_gets_the_usual_answer(run: Callable[[str], str]) -> None:
    """`find_spec` of others and ours: nothing is imported by it, and what waits goes on waiting."""
    out = run("""
        when_imported("awaited_one", note)
        assert findable("awaited_one") and findable("wave")
        assert not findable("awaited_nowhere") and not findable("awaited_nowhere.inner")
        assert "wrapt" not in sys.modules
        spec = importlib.util.find_spec("awaited_one")
        print(spec.name, spec.origin[-14:], spec.has_location, importlib.util.find_spec("awaited_nowhere"))
        assert "awaited_one" not in sys.modules and not seen
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        print(module.complete)
        import awaited_one
        print(seen)
    """)
    assert out.splitlines() == ["awaited_one awaited_one.py True None", "True", "[('awaited_one', True)]"]


def test_who_asks_from_many_threads_leaves_nobody_blind(run: Callable[[str], str]) -> None:
    """Questions that overlap do not hide an import that follows."""
    out = run("""
        when_imported("awaited_one", note)
        def ask():
            for _ in range(300):
                findable("awaited_one"); findable("awaited_nowhere")
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads: thread.start()
        ask()
        for thread in threads: thread.join()
        import awaited_one
        print(seen)
    """)
    assert out == "[('awaited_one', True)]"


def test_many_threads_import_at_once(run: Callable[[str], str]) -> None:
    """One of them imports, the others wait for it; it is told once. Others that only ask meanwhile change nothing."""
    out = run("""
        when_imported("awaited_one", note)
        when_imported("awaited_package.inner", note)
        start = threading.Barrier(12)
        def load(number):
            start.wait()
            if number % 3 == 0:
                importlib.util.find_spec("awaited_one")
            else:
                import awaited_one, awaited_package.inner
                assert awaited_one.complete
        threads = [threading.Thread(target=load, args=(number,)) for number in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(sorted(seen))
    """)
    assert out == "[('awaited_one', True), ('awaited_package.inner', True)]"


def test_a_fault_of_ours_breaks_no_import(run: Callable[[str], str]) -> None:
    """It is counted; whoever else waits is told."""
    out = run("""
        def broken(module):
            raise RuntimeError("ours")
        when_imported("awaited_one", broken)
        when_imported("awaited_one", note)
        import awaited_one
        print(awaited_one.complete, seen, fault_counts())
    """)
    assert out == "True [('awaited_one', True)] {'the import of awaited_one': 1}"


def test_without_wrapt_the_import_works_all_the_same(run: Callable[[str], str]) -> None:
    """A wrapt that cannot be loaded costs the recording, and is counted."""
    out = run("""
        when_imported("awaited_one", note)
        sys.modules["wrapt"] = None
        import awaited_one
        print(awaited_one.complete, seen, fault_counts())
    """)
    assert out == "True [] {'waiting for an import': 1}"


def test_litellm_that_comes_after_the_end_is_left_alone(run: Callable[[str], str]) -> None:
    """Recording was switched off before the program imported it: nothing of it is diverted, and on again it is."""
    out = run("""
        from otel_llm.instrumentation.litellm import switch
        from otel_llm.instrumentation.recorder import Recorder
        recorder = Recorder()
        switch.begin(recorder)
        print(switch.is_begun(), switch.is_recording())
        switch.end()
        import litellm
        print(switch.is_begun(), switch.is_recording())
        switch.begin(recorder)
        print(switch.is_begun(), switch.is_recording())
        switch.end()
        print(switch.is_begun(), switch.is_recording(), fault_counts())
    """)
    assert out.splitlines() == ["True False", "False False", "True True", "False False {}"]


def test_where_something_is_can_be_asked_while_it_is_waited_for(run: Callable[[str], str]) -> None:
    """The answer is the usual one; nothing is loaded for it, and the import that follows is noticed."""
    out = run("""
        from otel_llm.instrumentation.awaited import located
        when_imported("awaited_one", note)
        print(located("awaited_one").origin[-14:], located("awaited_nowhere"))
        assert "wrapt" not in sys.modules and "awaited_one" not in sys.modules
        import awaited_one
        print(seen)
    """)
    assert out.splitlines() == ["awaited_one.py None", "[('awaited_one', True)]"]
