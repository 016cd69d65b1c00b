"""Ids: valid UUIDv7, unique, stable, ordered by time, and the same from every process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from otel_llm.backends.opik import ids
from otel_llm.backends.opik.links import opik_trace_id_of, opik_url_of
from otel_llm.backends.opik.trace_time import TraceTimeSampler

_NOW_NS = 1_795_348_800_000_000_000
_trace_ids = st.binary(min_size=16, max_size=16)
_span_ids = st.binary(min_size=8, max_size=8)
_times = st.integers(min_value=0, max_value=(1 << 63) - 1)


def _is_rfc_uuid7(text: str) -> bool:
    found = uuid.UUID(text)
    return found.version == 7 and found.variant == uuid.RFC_4122 and str(found) == text


@given(trace_id=_trace_ids, span_id=_span_ids, start_ns=_times)
def test_derived_ids_are_uuid7_and_stable(trace_id: bytes, span_id: bytes, start_ns: int) -> None:
    """Whatever the OTel ids and the time, trace and span get valid UUIDv7s, the same each time."""
    trace_uuid = ids.opik_trace_id(trace_id, "", start_ns)
    span_uuid = ids.opik_span_id(trace_uuid, trace_id, span_id)
    assert _is_rfc_uuid7(trace_uuid)
    assert _is_rfc_uuid7(span_uuid)
    assert ids.uuid_millis(span_uuid) == ids.uuid_millis(trace_uuid)
    assert trace_uuid == ids.opik_trace_id(trace_id, "", start_ns)
    assert ids.uuid7_or_none(trace_uuid.upper()) == trace_uuid


@given(st.sets(st.tuples(_trace_ids, _span_ids), min_size=2, max_size=50))
def test_derived_span_ids_are_unique(pairs: set[tuple[bytes, bytes]]) -> None:
    """Different spans of traces of one moment get different ids."""
    parent = ids.uuid7_from(_NOW_NS // 1_000_000, b"0123456789")
    assert len({ids.opik_span_id(parent, trace_id, span_id) for trace_id, span_id in pairs}) == len(pairs)


@given(
    st.integers(min_value=0, max_value=(1 << 48) - 1),
    st.integers(min_value=0, max_value=(1 << 48) - 1),
    st.binary(min_size=20),
)
def test_ids_are_ordered_by_time(one: int, other: int, noise: bytes) -> None:
    """Of two ids the one with the later millisecond sorts later, whatever the hash bits."""
    first, second = ids.uuid7_from(one, noise[:10]), ids.uuid7_from(other, noise[10:])
    if one != other:
        assert (first < second) == (one < other)
    assert ids.uuid_millis(first) == one


@given(
    trace_id=_trace_ids,
    version=st.sampled_from([0x40, 0x70]),
    variant=st.sampled_from([0x00, 0x80, 0xC0]),
    off_ms=st.sampled_from([0, 1, ids.PLAUSIBLE_MS, ids.PLAUSIBLE_MS + 1, -ids.PLAUSIBLE_MS, -ids.PLAUSIBLE_MS - 1]),
)
def test_a_trace_id_is_ours_or_not_whichever_way_it_is_asked(
    trace_id: bytes, version: int, variant: int, off_ms: int
) -> None:
    """The sampler, which has the id as a number, and the mapping, which has its bytes, decide alike."""
    time_of_id = (_NOW_NS // 1_000_000 + off_ms).to_bytes(6, "big")
    middle = bytes((version | trace_id[6] & 0x0F, trace_id[7], variant | trace_id[8] & 0x3F))
    for made in (trace_id, time_of_id + middle + trace_id[9:]):
        assert ids.is_own(int.from_bytes(made, "big"), _NOW_NS) == (ids.own_millis(made, _NOW_NS) is not None)


def test_generator_makes_uuid7_in_order() -> None:
    """A thousand generated trace ids are valid, distinct, carry the time of now, and their tails differ."""
    generator = ids.Uuid7IdGenerator()
    made = [generator.generate_trace_id().to_bytes(16, "big") for _ in range(1000)]
    now_ns = int.from_bytes(made[-1][:6], "big") * 1_000_000
    assert len(set(made)) == 1000
    assert [raw[:6] for raw in made] == sorted(raw[:6] for raw in made)
    assert all(ids.own_millis(raw, now_ns) is not None for raw in made)
    assert len({raw[9:] for raw in made}) == 1000
    assert generator.is_trace_id_random()
    spans = {generator.generate_span_id() for _ in range(1000)}
    assert len(spans) == 1000
    assert all(0 < span < 1 << 64 for span in spans)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children_make_ids_of_their_own() -> None:
    """Children forked from one process never repeat each other's ids."""
    script = (
        "import os,sys\n"
        "from otel_llm.backends.opik.ids import Uuid7IdGenerator as G\n"
        "g=G(); g.generate_span_id()\n"
        "for _ in range(4):\n"
        "    if os.fork()==0:\n"
        "        line=f'{g.generate_trace_id():032x} {g.generate_span_id():016x}\\n'\n"
        "        os.write(1,line.encode()); os._exit(0)\n"
        "for _ in range(4): os.wait()\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    words = run.stdout.split()
    assert len(words) == 8
    assert len(set(words)) == 8


def test_ids_agree_with_the_formula_written_out() -> None:
    """The ids of a known foreign trace are what the documented formula gives, computed apart from our code."""
    trace_id, span_id = bytes.fromhex("0af7651916cd43dd8448eb211c80319c"), bytes.fromhex("b7ad6b7169203331")
    stamped = ids.opik_trace_id(trace_id, f"otelllm=t:{1752624000123:x}", _NOW_NS)
    assert stamped == "01981087-ec7b-7334-bd2a-4b7838de7d6e"  # also what Opik's own OTLP route derives for this time
    digest = hashlib.sha256(trace_id + span_id).hexdigest()
    variant = "89ab"[int(digest[4], 16) & 3]
    expected = f"01981087-ec7b-7{digest[1:4]}-{variant}{digest[5:8]}-{digest[8:20]}"
    assert ids.opik_span_id(stamped, trace_id, span_id) == expected


@pytest.mark.parametrize("value", ["", "t:", "t:zz", "p:abc", "t:0", f"t:{1 << 48:x}", "x"])
def test_malformed_stamps_are_none(value: str) -> None:
    """A tracestate entry without a sane time is no stamp."""
    assert ids.read_stamp(f"a=b,{ids.TRACESTATE_KEY}={value}") is None


@given(
    st.integers(min_value=1, max_value=(1 << 48) - 1),
    st.one_of(st.just(""), st.binary(min_size=8, max_size=8).map(bytes.hex)),
)
def test_stamps_survive_tracestate(millis: int, parent: str) -> None:
    """What is written into tracestate is a legal value there, and is read back the same."""
    stamp = ids.Stamp(millis, parent)
    state = TraceState([("vendor", "x"), (ids.TRACESTATE_KEY, ids.write_stamp(stamp))])
    assert ids.read_stamp(state.to_header()) == stamp


def _remote(trace_id: int, state: TraceState | None = None) -> trace.Context:
    context = SpanContext(trace_id, 0xABABABABABABABAB, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    return trace.set_span_in_context(NonRecordingSpan(context))


def test_sampler_stamps_foreign_traces_once_and_hands_on() -> None:
    """The entry span of a foreign trace gets a stamp naming its parent; descendants and the next service keep it."""
    tracer = TracerProvider(sampler=TraceTimeSampler(ParentBased(ALWAYS_ON))).get_tracer("t")
    foreign = 0x0AF7651916CD43DD8448EB211C80319C
    with tracer.start_as_current_span("entry", context=_remote(foreign, TraceState([("vendor", "x")]))) as entry:
        state = entry.get_span_context().trace_state
        stamp = ids.read_stamp(state.to_header())
        assert stamp is not None
        assert stamp.foreign_parent == "ab" * 8
        assert state.get("vendor") == "x"
        with tracer.start_as_current_span("child") as child:
            assert child.get_span_context().trace_state == state
            assert opik_trace_id_of(child) == opik_trace_id_of(entry)
    with tracer.start_as_current_span("next service", context=_remote(foreign, state)) as onward:
        assert onward.get_span_context().trace_state == state


def test_a_foreign_trace_has_one_time_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans of one trace that begin below different spans of a vendor's, minutes apart, have the same id in Opik."""
    tracer = TracerProvider(sampler=TraceTimeSampler(ALWAYS_ON)).get_tracer("t")
    foreign = 0x0AF7651916CD43DD8448EB211C80319C
    local = trace.NonRecordingSpan(SpanContext(foreign, 7, is_remote=False, trace_flags=TraceFlags(1)))
    now = time.time_ns()
    found = []
    for number, parent in enumerate((trace.set_span_in_context(local), _remote(foreign), _remote(foreign))):
        monkeypatch.setattr(time, "time_ns", lambda number=number: now + number * 100 * 10**9)
        with tracer.start_as_current_span(f"{number}", context=parent) as span:
            found.append(opik_trace_id_of(span))
    assert len(set(found)) == 1


def test_sampler_leaves_our_own_traces_alone() -> None:
    """A trace whose id carries its time needs no tracestate, and the decision is always the delegate's."""
    provider = TracerProvider(sampler=TraceTimeSampler(ALWAYS_ON), id_generator=ids.Uuid7IdGenerator())
    span = provider.get_tracer("t").start_span("root")
    assert span.get_span_context().trace_state.to_header() == ""
    assert str(uuid.UUID(int=span.get_span_context().trace_id)) == opik_trace_id_of(span)
    dropped = TracerProvider(sampler=TraceTimeSampler(ALWAYS_OFF)).get_tracer("t").start_span("root")
    assert not dropped.is_recording()


_OF_THE_SDK = (
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_ON,
    DEFAULT_OFF,
    ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF),
    ParentBased(ALWAYS_ON, remote_parent_not_sampled=ALWAYS_ON),
)


@pytest.mark.parametrize("delegate", _OF_THE_SDK, ids=lambda sampler: sampler.get_description())
@pytest.mark.parametrize("flags", [None, 0, TraceFlags.SAMPLED, 0xFE])
@pytest.mark.parametrize("remote", [False, True])
def test_traces_of_our_own_are_decided_by_the_delegate(delegate: Sampler, flags: int | None, remote: bool) -> None:
    """Whatever stands above a span, here or elsewhere, the answer is the delegate's, also where it is not asked."""
    generator = ids.Uuid7IdGenerator()
    trace_id, around = generator.generate_trace_id(), Context()
    if flags is not None:
        state = TraceState([("vendor", "x")])
        above = SpanContext(trace_id, generator.generate_span_id(), remote, TraceFlags(flags), state)
        around = trace.set_span_in_context(NonRecordingSpan(above), around)
    asked = (around, trace_id, "name", trace.SpanKind.CLIENT, {"a": 1})
    theirs, ours = delegate.should_sample(*asked), TraceTimeSampler(delegate).should_sample(*asked)
    assert (ours.decision, ours.trace_state) == (theirs.decision, theirs.trace_state)
    assert dict(ours.attributes or {}) == dict(theirs.attributes or {})


def test_a_parent_that_is_none_is_no_parent() -> None:
    """A span context without ids above a span decides nothing, whatever it says of sampling."""
    nobody = NonRecordingSpan(SpanContext(0, 0, False, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "x")])))
    around = trace.set_span_in_context(nobody, Context())
    trace_id = ids.Uuid7IdGenerator().generate_trace_id()
    found = TraceTimeSampler(DEFAULT_ON).should_sample(around, trace_id, "name")
    assert (found.decision, found.trace_state) == (Decision.RECORD_AND_SAMPLE, None)


def test_link_to_a_span_names_its_trace() -> None:
    """`opik_url_of` gives Opik's redirect address with the trace's id; a span that is not real has none."""
    span = TracerProvider(id_generator=ids.Uuid7IdGenerator()).get_tracer("t").start_span("root")
    link = opik_url_of(span, "http://localhost:5173/api/")
    assert link is not None
    assert link.startswith(
        "http://localhost:5173/api/v1/session/redirect/projects/?trace_id=" + str(opik_trace_id_of(span))
    )
    assert link.endswith("&path=aHR0cDovL2xvY2FsaG9zdDo1MTczL2FwaS8=")
    assert opik_url_of(trace.INVALID_SPAN, "http://localhost:5173/api/") is None
