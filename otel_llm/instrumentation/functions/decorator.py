"""`@otel_llm.trace`: a span around the program's own functions, of every form, and around the methods of a class.

    @otel_llm.trace("answer a question", operation="workflow")
    async def answer(question: str) -> str: ...

The type of what is decorated is kept as it is. Before `configure`, and after `shutdown`, a decorated function is
the plain one. Decorators are made while modules are imported, so nothing here loads the SDK.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast, overload

from otel_llm.instrumentation.functions.operations import operation_named
from otel_llm.instrumentation.functions.work import Plan, plain_attributes
from otel_llm.instrumentation.functions.wrappers import wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_llm.instrumentation.functions.operations import OperationName

__all__ = ["Capture", "Decorator", "decorator", "trace"]

Target = TypeVar("Target")
Function = TypeVar("Function", bound=Callable[..., Any])
Capture: TypeAlias = 'bool | Literal["input", "output"]'

_TRACED = "__otel_llm_traced__"


class Decorator:
    """What `trace(...)` makes: takes a function, method, classmethod, staticmethod or class, gives the same back."""

    def __init__(self, name: str | None, plan: Plan, ignored: Sequence[str] = ()) -> None:
        self._name = name
        self._plan = plan
        self._ignored = tuple(ignored)

    def __call__(self, target: Target, /) -> Target:
        """`target` with a span around each call; of a class, around each public method that it defines itself."""
        if isinstance(target, type):
            self._decorate_methods(target)
            return target
        return cast("Target", self._decorated(target, self._name or _name_of(target)))

    def _decorated(self, target: Any, name: str) -> Any:
        if isinstance(target, (classmethod, staticmethod)):
            return type(target)(self._decorated(target.__func__, name))
        made = wrapped(target, replace(self._plan, what=name), self._ignored)
        setattr(made, _TRACED, True)
        return made

    def _decorate_methods(self, owner: type) -> None:
        prefix = self._name or owner.__qualname__.rpartition("<locals>.")[2]
        for name, member in list(vars(owner).items()):
            if _is_public_method(name, member):
                setattr(owner, name, self._decorated(member, f"{prefix}.{name}"))


@overload
def trace(
    name: str | None = None,
    /,
    *,
    operation: OperationName | None = None,
    capture: Capture = True,
    ignore: Sequence[str] = (),
    attributes: Mapping[str, object] | None = None,
    aggregate: Callable[[list[Any]], Any] | None = None,
) -> Decorator: ...
@overload
def trace(function: Function, /) -> Function: ...
def trace(
    name: str | Callable[..., Any] | None = None,
    /,
    *,
    operation: OperationName | None = None,
    capture: Capture = True,
    ignore: Sequence[str] = (),
    attributes: Mapping[str, object] | None = None,
    aggregate: Callable[[list[Any]], Any] | None = None,
) -> Any:
    """Record each call of a function as a span; LLM calls inside become its children.

    `name` names the span (default: the function's qualified name); of a class, `name.method`. `operation` makes it one
    of the GenAI conventions' spans: `tool`, `agent`, `workflow`, `plan` or `retrieval`. Arguments and results are
    recorded where the content policy allows it (settings `content*`, off by default); `capture` narrows that to
    `"input"`, `"output"` or nothing (False), `ignore` leaves out arguments by name. `attributes` are set on every span.
    `aggregate` makes one output of the items of a generator (default: text joined, anything else a list).

    Exceptions go through unchanged, and mark the span. Raises `ValueError` for an unknown operation, and nothing later.
    """
    if name is not None and not isinstance(name, str):
        return decorator(None)(name)
    return decorator(
        name, operation=operation, capture=capture, ignore=ignore, attributes=attributes, aggregate=aggregate
    )


def decorator(
    name: str | None,
    *,
    operation: str | None = None,
    capture: Capture = True,
    ignore: Sequence[str] = (),
    attributes: Mapping[str, object] | None = None,
    aggregate: Callable[[list[Any]], Any] | None = None,
) -> Decorator:
    """The decorator that these words describe; see `trace`."""
    plan = Plan(
        what=name or "",
        operation=operation_named(operation),
        attributes=plain_attributes(attributes),
        captures_input=capture in (True, "input"),
        captures_output=capture in (True, "output"),
        aggregate=aggregate,
    )
    return Decorator(name, plan, ignore)


def _name_of(target: Any) -> str:
    inner = getattr(target, "__func__", target)
    inner = getattr(inner, "func", inner)  # functools.partial
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _is_public_method(name: str, member: Any) -> bool:
    if name.startswith("_") and name != "__call__":
        return False
    inner = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    return isinstance(inner, types.FunctionType) and not hasattr(inner, _TRACED)
