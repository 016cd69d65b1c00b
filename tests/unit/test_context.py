"""Tenant, user and session travel with the work."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from opentelemetry import baggage
from opentelemetry import context as otel_context

import otel_llm
from otel_llm import faults
from otel_llm.context import Identity, current_identity, identity_from_baggage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import pytest


def test_outside_of_any_block_nobody_is_known() -> None:
    """Without a block there is neither tenant nor user nor session."""
    assert current_identity() == Identity()


def test_a_block_names_and_its_end_forgets() -> None:
    """Inside the block the identity is there, afterwards it is gone."""
    with otel_llm.tenant("acme", user="u", session="s") as identity:
        assert current_identity() == identity == Identity("acme", "u", "s")
    assert current_identity() == Identity()


def test_an_inner_block_of_the_same_tenant_inherits() -> None:
    """What an inner block leaves open comes from the outer one, if both are of one tenant or the inner names none."""
    with otel_llm.tenant("acme", user="u"), otel_llm.tenant(session="s"):
        assert current_identity() == Identity("acme", "u", "s")


def test_another_tenant_inherits_nobodys_user() -> None:
    """An inner block of another tenant does not carry the outer tenant's user and session."""
    with otel_llm.tenant("acme", user="u", session="s"), otel_llm.tenant("globex"):
        assert current_identity() == Identity("globex", None, None)


def test_ids_become_text() -> None:
    """Numbers are accepted as ids; empty strings count as not given."""
    with otel_llm.tenant(7, user=""):  # type: ignore[arg-type]
        assert current_identity() == Identity("7", None, None)


async def test_fifty_tenants_at_once_do_not_mix() -> None:
    """Tasks that run at the same time each see their own tenant at every step."""

    async def work(name: str) -> set[str | None]:
        seen = set()
        with otel_llm.tenant(name):
            for _ in range(20):
                await asyncio.sleep(0)
                seen.add(current_identity().tenant)
        return seen

    names = [f"tenant-{number}" for number in range(50)]
    assert await asyncio.gather(*map(work, names)) == [{name} for name in names]


def test_a_thread_with_a_copied_context_knows_the_tenant() -> None:
    """`contextvars.copy_context().run` carries the identity into a thread; a bare thread starts with nobody."""
    with otel_llm.tenant("acme"), ThreadPoolExecutor(1) as pool:
        copied = contextvars.copy_context()
        assert pool.submit(copied.run, current_identity).result().tenant == "acme"
        assert pool.submit(current_identity).result().tenant is None


def test_a_generator_left_early_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A generator that holds a block and is dropped half-way logs nothing about contexts."""

    def numbers() -> Iterator[int]:
        with otel_llm.tenant("acme"):
            yield 1
            yield 2

    with caplog.at_level(logging.DEBUG):
        contextvars.copy_context().run(next, stream := numbers())
        stream.close()
    assert "detach" not in caplog.text


async def test_a_reader_that_leaves_an_async_generator_keeps_its_own_tenant() -> None:
    """After `break` out of an async generator that holds a block, the reader is of its own tenant and span again."""

    async def numbers() -> AsyncIterator[int]:
        with otel_llm.tenant("theirs"), otel_llm.span("step"):
            yield 1
            yield 2

    with otel_llm.tenant("ours"):
        before = otel_context.get_current()
        async for _ in numbers():
            break
        gc.collect()
        await _until(lambda: otel_context.get_current() is before)
        assert current_identity().tenant == "ours"


async def test_a_generator_that_ends_elsewhere_takes_nothing_from_a_later_block() -> None:
    """A block that its reader has entered meanwhile stays, when the generator's own block ends in another task."""

    async def numbers() -> AsyncIterator[int]:
        with otel_llm.tenant("theirs"):
            yield 1

    stream = numbers()
    await anext(stream)
    with otel_llm.tenant("later"):
        await asyncio.create_task(_close(stream))
        assert current_identity().tenant == "later"


def test_a_generator_read_to_its_end_in_another_thread_leaves_the_first_one_alone() -> None:
    """The thread that read the first item is of its own tenant, once another has read the last."""

    def numbers() -> Iterator[int]:
        with otel_llm.tenant("theirs"):
            yield 1

    with otel_llm.tenant("ours"), ThreadPoolExecutor(1) as pool:
        stream = numbers()
        next(stream)
        assert pool.submit(list, stream).result() == []
        assert current_identity().tenant == "ours"


async def _close(stream: AsyncIterator[int]) -> None:
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator


async def _until(holds: Callable[[], bool]) -> None:
    """Let the loop go on until it `holds`, or for some turns."""
    for _ in range(100):
        if holds():
            return
        await asyncio.sleep(0)


def test_baggage_names_an_identity_of_bounded_length() -> None:
    """Entries of baggage are read under the given key, and cut."""
    context = baggage.set_baggage("tenant.id", "a" * 1000)
    context = baggage.set_baggage("user.id", "u", context)
    identity = identity_from_baggage(context, "tenant.id")
    assert identity == Identity("a" * 256, "u", None)
    assert identity_from_baggage(otel_context.get_current(), "tenant.id") == Identity()


class Unspeakable:
    """A lazy object whose database is away: every question to it raises."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __str__(self) -> str:
        raise RuntimeError("str")


def test_what_has_no_text_raises_nothing_into_the_program() -> None:
    """As tenant, user, session, span name or result it is told by its type, or not touched at all."""
    faults.reset_faults()
    odd: Any = Unspeakable()
    with otel_llm.tenant(odd, user=odd, session=odd) as identity, otel_llm.span(odd):
        assert identity.tenant == identity.user == identity.session == "<unreadable Unspeakable>"
    assert otel_llm.trace("work")(lambda: odd)() is odd
    with otel_llm.tenant(10**5000) as identity:  # type: ignore[arg-type]
        assert identity.tenant == "<unreadable int>"
    assert set(faults.fault_counts()) == {"the text of a tenant, user or session", "the name of a span"}
    faults.reset_faults()
