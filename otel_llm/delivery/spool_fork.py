"""What must happen around `os.fork` to an object that holds files, locks or threads.

An SQLite connection must not cross a fork, not even closed in the child: SQLite would believe that the child holds
the parent's file locks, and the next process to close the database would delete a log that is still written to.
So connections are closed before the fork, and opened again by whoever needs them.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkAware", "watch_forks"]


class ForkAware(Protocol):
    """Something that wants to know about forks of its process."""

    def before_fork(self) -> None:
        """In the forking thread, before: come to rest. Never raises, never blocks for long."""

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""

    def after_fork_in_child(self) -> None:
        """In the child, where no other thread is left: begin anew; what was queued stays the parent's."""


_watching: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def watch_forks(watcher: ForkAware) -> None:
    """Tell `watcher` of every fork for as long as it lives (it is held weakly)."""
    _watching.add(watcher)


def _before() -> None:
    for watcher in list(_watching):
        watcher.before_fork()


def _after_in_parent() -> None:
    for watcher in list(_watching):
        watcher.after_fork_in_parent()


def _after_in_child() -> None:
    for watcher in list(_watching):
        watcher.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
