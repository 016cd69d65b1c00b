"""Finds every function of the recorder, and makes one of them raise."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from types import FunctionType
from typing import TYPE_CHECKING, Any

from otel_llm import instrumentation
from otel_llm.instrumentation.divert import divert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SHELL", "Sabotage", "hooks", "observed", "sabotaged"]

SHELL = {
    f"otel_llm.instrumentation.litellm.{name}" for name in ("around", "caching", "callbacks", "listening", "unasked")
}
"""Modules that a call must pass through: they call the original, guard all else, and stand on nothing of ours."""

_ON_AND_OFF = {
    "otel_llm.instrumentation.awaited",
    "otel_llm.instrumentation.divert",
    "otel_llm.instrumentation.http",
    "otel_llm.instrumentation.litellm.installation",
    "otel_llm.instrumentation.litellm.switch",
}
_NOT_PART_OF_A_CALL = _ON_AND_OFF | SHELL
"""What runs when recording is turned on and off, and the shell itself."""

_DECORATOR = f"{instrumentation.__name__}.functions"
"""`@otel_llm.trace`: a call to a model does not pass through it, and it has tests of its own."""


class Sabotage(RuntimeError):
    """A fault of ours, made on purpose."""


def hooks() -> dict[str, FunctionType]:
    """Every function and method of the recorder by its qualified name, properties and class methods included."""
    found: dict[str, FunctionType] = {}
    for module in _modules():
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                for member in vars(value).values():
                    _add(found, member, module.__name__)
            else:
                _add(found, value, module.__name__)
    return found


def _modules() -> Iterator[Any]:
    for info in pkgutil.walk_packages(instrumentation.__path__, f"{instrumentation.__name__}."):
        if info.name.startswith(_DECORATOR):
            continue
        if info.name not in _NOT_PART_OF_A_CALL and not info.name.endswith(".instrumentor"):
            yield importlib.import_module(info.name)


def _add(found: dict[str, FunctionType], member: object, module: str) -> None:
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, (classmethod, staticmethod)):
        member = member.__func__
    member = getattr(member, "__wrapped__", member)
    if isinstance(member, FunctionType) and member.__module__ == module and not _made_by_dataclass(member):
        found[f"{module.removeprefix('otel_llm.instrumentation.')}:{member.__qualname__}"] = member


def _made_by_dataclass(function: FunctionType) -> bool:
    return function.__code__.co_filename == "<string>" or "__create_fn__" in function.__qualname__


@contextlib.contextmanager
def sabotaged(function: FunctionType, *, after: bool) -> Iterator[list[None]]:
    """Within the block `function` raises `Sabotage`, instead of its work or `after` it; gives one entry per time."""
    raised: list[None] = []

    def handler(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if after:
            original(*args, **kwargs)
        raised.append(None)
        raise Sabotage(function.__qualname__)

    diversion = divert(function, handler)
    assert diversion is not None
    try:
        yield raised
    finally:
        diversion.restore()


@contextlib.contextmanager
def observed(functions: dict[str, FunctionType]) -> Iterator[set[str]]:
    """Within the block: the names of those `functions` that have run so far."""
    seen: set[str] = set()

    def watcher(name: str) -> Callable[..., Any]:
        def handler(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            seen.add(name)
            return original(*args, **kwargs)

        return handler

    diversions = [divert(function, watcher(name)) for name, function in functions.items()]
    try:
        yield seen
    finally:
        for diversion in diversions:
            if diversion is not None:
                diversion.restore()
