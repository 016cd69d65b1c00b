"""Runs in the environment of Opik's own SDK: code with `opik.track` and with otel_llm, one inside of the other.

tracked_program.py OPIK_URL PROVIDER_URL DIRECTORY [own|joined] [setting=value ...]
Prints what the program itself saw, as JSON. `joined` has a tracer provider of its own, and imports opik after us.
"""

# ruff: noqa: D103  (functions of a program, whose names are those of spans)
from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import otel_llm

URL, BASE, DIRECTORY, LAYOUT, *SETTINGS = sys.argv[1:]
PROJECT = "shop"
told: dict[str, Any] = {}
os.environ |= {
    "OPIK_URL_OVERRIDE": URL,
    "OPIK_PROJECT_NAME": PROJECT,
    "OPIK_SENTRY_ENABLE": "false",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_CONFIG_PATH": os.devnull,
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def configure() -> None:
    """Start us, with the settings of the command line."""
    given = dict(setting.split("=", 1) for setting in SETTINGS if "=" in setting)
    otel_llm.configure(backend="opik", state_dir=DIRECTORY, content="on", opik_tenants={"globex": "globex"}, **given)


if LAYOUT == "joined":
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    configure()
import opik  # noqa: E402
from opik import opik_context  # noqa: E402

if LAYOUT != "joined":
    configure()
CALLS = "without calls" not in SETTINGS


def call(text: str) -> None:
    """A call to a model."""
    import litellm

    messages = [{"role": "user", "content": text}]
    litellm.completion("openai/gpt-4o-mini", messages, api_base=BASE, api_key="sk-test", max_retries=0)


# --- theirs around ours around theirs ---------------------------------------------------------------------------


@opik.track
def theirs_inside() -> None:
    call("deep")


@opik.track
def theirs_outside() -> None:
    with otel_llm.span("ours between"):
        theirs_inside()
    with otel_llm.span("ours beside"):
        pass


# --- theirs in ours -----------------------------------------------------------------------------------------------


@opik.track
def step(name: str) -> str:
    opik_context.update_current_trace(
        tags=[f"tag {name}"],
        metadata={"who": "me"},
        thread_id="thread-7",
        feedback_scores=[{"name": f"score {name}", "value": 1.0}],
    )
    told[f"headers {name}"] = dict(opik_context.get_distributed_trace_headers())
    with otel_llm.span(f"in step {name}"):
        pass
    return name


@otel_llm.trace("work")
def work() -> None:
    told["work"] = otel_llm.current().trace_id
    call("before")
    told["steps"] = [step("one"), step("two")]


# --- side by side -------------------------------------------------------------------------------------------------


@opik.track
async def task(number: int) -> None:
    with otel_llm.span(f"in task {number}"):
        await asyncio.sleep(0.01 * (3 - number))


@otel_llm.trace("tasks")
async def tasks() -> None:
    await asyncio.gather(*(task(number) for number in range(3)))


@opik.track
def threaded(number: int, barrier: threading.Barrier) -> None:
    with otel_llm.span(f"in thread {number}"):
        barrier.wait(30)


@opik.track
def afterwards() -> None:
    told.setdefault("afterwards", []).append(opik_context.get_current_trace_data().id)


def threads() -> None:
    barrier = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        with otel_llm.span("threads"):
            list(pool.map(otel_llm.carry(lambda number: threaded(number, barrier)), range(3)))
        list(pool.map(lambda _: afterwards(), range(9)))
        told["left over"] = [
            left for left in pool.map(lambda _: opik_context.get_current_trace_data(), range(9)) if left
        ]


# --- other forms --------------------------------------------------------------------------------------------------


@opik.track
def numbers() -> Any:
    for number in range(2):
        with otel_llm.span(f"number {number}"):
            yield number


@opik.track
def failing() -> None:
    raise ZeroDivisionError("as before")


@opik.track(project_name="elsewhere")
def of_another_project() -> None:
    with otel_llm.span("below another project"):
        pass


@opik.track
def alone() -> None:
    pass


def forms() -> None:
    with otel_llm.span("forms"):
        told["numbers"] = list(numbers())
        try:
            failing()
        except ZeroDivisionError as error:
            told["error"] = str(error)
        with opik.start_as_current_span(name="by context manager"), otel_llm.span("in context manager"):
            pass
        of_another_project()
    alone()


@opik.track
def for_a_tenant() -> None:
    with otel_llm.tenant("globex"), otel_llm.span("of globex"):
        pass


def only_theirs() -> None:
    """A span of the program's that leads to nothing but `opik.track`."""
    from opentelemetry import trace

    with trace.get_tracer("app").start_as_current_span("request"):
        alone()
    with trace.get_tracer("app").start_as_current_span("other request"):
        pass


def main() -> None:
    theirs_outside() if CALLS else None
    work() if CALLS else None
    asyncio.run(tasks())
    threads()
    forms()
    for_a_tenant()
    only_theirs()
    opik.flush_tracker()
    report = otel_llm.flush(30)
    told["complete"] = report.complete
    told["faults"] = otel_llm.status().faults
    told["current"] = opik_context.get_current_trace_data() is None
    sys.stdout.write(json.dumps(told) + "\n")


main()
