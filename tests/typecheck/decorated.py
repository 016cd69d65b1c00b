"""Not run: read by mypy and pyright, which must reveal the types that the functions had without the decorator."""

# ruff: noqa: D103, TC003

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Generic, TypeVar, overload

from typing_extensions import reveal_type

import otel_llm

T = TypeVar("T")


@otel_llm.trace("plain")
def plain(a: int, *, b: str = "") -> list[str]:
    return [b] * a


@otel_llm.trace
async def bare(a: int) -> str:
    return str(a)


@otel_llm.trace(operation="tool", capture="input", ignore=["a"], attributes={"k": 1})
def generator(a: int) -> Generator[int, str, bool]:
    yield a
    return True


@otel_llm.trace("agen", operation="agent")
async def agenerator(a: int) -> AsyncGenerator[int, None]:
    yield a


@otel_llm.trace("generic")
def generic(a: T) -> list[T]:
    return [a]


@overload
def either(a: int) -> int: ...
@overload
def either(a: str) -> str: ...
@otel_llm.trace("either")
def either(a: int | str) -> int | str:
    return a


@otel_llm.trace("Service")
class Service(Generic[T]):
    @otel_llm.trace("method")
    def method(self, a: T) -> T:
        return a

    @classmethod
    @otel_llm.trace("make")
    def make(cls, a: int) -> int:
        return a

    @staticmethod
    @otel_llm.trace("helper")
    def helper(a: int) -> str:
        return str(a)


@otel_llm.opik_trace(name="judge", type="llm", tags=["a"])
def judge(a: int) -> float:
    return a / 2


@otel_llm.opik_trace
def track(a: int) -> float:
    return a / 2


service: Service[str] = Service()
reveal_type(plain(1, b="x"))  # expect: list[str]
reveal_type(bare(1))  # expect: Coroutine[Any, Any, str]
reveal_type(generator(1))  # expect: Generator[int, str, bool]
reveal_type(agenerator(1))  # expect: AsyncGenerator[int, None]
reveal_type(generic("x"))  # expect: list[str]
reveal_type(either(1))  # expect: int
reveal_type(either("x"))  # expect: str
reveal_type(service.method("x"))  # expect: str
reveal_type(Service.make(1))  # expect: int
reveal_type(Service.helper(1))  # expect: str
reveal_type(judge(1))  # expect: float
reveal_type(track(1))  # expect: float
reveal_type(otel_llm.carry(plain)(1, b="x"))  # expect: list[str]
with otel_llm.span("block", operation="workflow") as handle:
    reveal_type(handle.trace_id)  # expect: str
reveal_type(otel_llm.current().opik_url)  # expect: str | None

plain("x")  # expect error
bare()  # expect error
service.method(1)  # expect error
judge("x")  # expect error
otel_llm.trace("x", operation="tools")  # expect error
