"""Make calls of a function go through us without changing the function object.

A program may have written `from litellm import completion` long before we were asked to record, so replacing
a module's attribute would miss it. Instead the *code* of the function is exchanged: every reference to it,
however it was come by (import, alias, partial, default argument), reaches us, and its identity, type,
signature and attributes stay as they were. See docs/decisions/0002-divert-by-code.md.

    diversion = divert(litellm.completion, handler)     # handler(original, args, kwargs)
    diversion.restore()
"""

from __future__ import annotations

import inspect
import threading
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Diversion", "divert"]

_HANDLER_MARK = "otel_llm: the handler stands here"

_SOURCE = """
def outer():
    {declare}
    {kind}def diverted(*args, **kwargs):
        handler = {mark!r}
        return {wait}handler(args, kwargs)
        {hold}
    return diverted
"""

_diversions: dict[FunctionType, Diversion] = {}
_lock = threading.RLock()


class Diversion:
    """A function whose calls go through a handler; `original` calls the function as it was."""

    def __init__(self, function: FunctionType, handler: Callable[..., Any]) -> None:
        self.function = function
        self.original = _twin(function)
        self._old_code = function.__code__
        self._added_signature = _keep_signature(function)
        original = self.original

        def enter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return handler(original, args, kwargs)

        function.__code__ = _diverted_code(function, enter)

    def restore(self) -> None:
        """Give the function its own code back. Calls that are under way finish as they began."""
        with _lock:
            if _diversions.pop(self.function, None) is None:
                return
            self.function.__code__ = self._old_code
            if self._added_signature:
                del self.function.__dict__["__signature__"]


def divert(function: object, handler: Callable[..., Any]) -> Diversion | None:
    """Send every call of `function` to `handler(original, args, kwargs)`.

    For a coroutine function `handler` must return an awaitable. Returns None when `function` is diverted
    already. Raises `TypeError` for anything that is not a plain Python function (a builtin, a class, a
    callable object): those have no code to exchange.
    """
    if not isinstance(function, FunctionType):
        message = f"{function!r} is not a plain Python function"
        raise TypeError(message)
    with _lock:
        if function in _diversions:
            return None
        diversion = Diversion(function, handler)
        _diversions[function] = diversion
        return diversion


def _twin(function: FunctionType) -> FunctionType:
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__dict__.update(function.__dict__)
    twin.__qualname__ = function.__qualname__
    twin.__module__ = function.__module__
    return twin


def _keep_signature(function: FunctionType) -> bool:
    """Pin the signature, which `inspect` would otherwise read off the exchanged code."""
    if hasattr(function, "__wrapped__") or hasattr(function, "__signature__"):
        return False
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return True


def _diverted_code(function: FunctionType, enter: Callable[..., Any]) -> CodeType:
    """Code that hands its arguments to `enter`, with the same free variables as the function's own code.

    Python only accepts code with as many free variables as the function has cells; naming them after the
    return makes the compiler count them without ever reading them.
    """
    old = function.__code__
    asynchronous = inspect.iscoroutinefunction(function)
    source = _SOURCE.format(
        declare=" = ".join((*old.co_freevars, "_")) + " = None",
        hold=", ".join(old.co_freevars) or "pass",
        kind="async " if asynchronous else "",
        wait="await " if asynchronous else "",
        mark=_HANDLER_MARK,
    )
    scope: dict[str, Any] = {}
    exec(compile(source, "<otel_llm diversion>", "exec"), scope)  # noqa: S102  (our own text; names come from a code object)
    made: CodeType = scope["outer"]().__code__
    constants = tuple(enter if constant == _HANDLER_MARK else constant for constant in made.co_consts)
    return made.replace(
        co_consts=constants, co_name=old.co_name, co_filename=old.co_filename, co_firstlineno=old.co_firstlineno
    )
