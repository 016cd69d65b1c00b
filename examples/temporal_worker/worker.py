"""The unified worker: workflows, activities and health pages in one process, as it runs in a container.

OTEL_LLM_BACKEND=opik python worker.py     straight to Opik (OPIK_API_KEY, OPIK_WORKSPACE, OPIK_PROJECT_NAME)
OTEL_LLM_BACKEND=otlp python worker.py     to a Collector beside it (OTEL_EXPORTER_OTLP_ENDPOINT, default port 4318)
"""

import asyncio
import os
import signal
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from activities import draft_reply, summarise
from temporalio.client import Client
from temporalio.worker import Worker
from workflows import HandleReview

import otel_llm
from otel_llm.temporal import OtelLlmPlugin

TASK_QUEUE = os.environ.get("TASK_QUEUE", "reviews")


class Quiet(WSGIRequestHandler):
    """Probes come every few seconds; they are no news."""

    def log_message(self, *args):
        pass


def serve_health() -> str:
    """Serve /healthz, /readyz, /status and /metrics from a thread; returns where."""
    port = int(os.environ.get("HEALTH_PORT", "8080"))
    server = make_server(os.environ.get("HEALTH_HOST", "127.0.0.1"), port, otel_llm.health_app(), handler_class=Quiet)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return f"http://{server.server_address[0]}:{server.server_port}"


async def main() -> None:
    otel_llm.configure()  # first: a wrong setting ends the worker here, with a reason, and is never swallowed
    health = serve_health()
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"), plugins=[OtelLlmPlugin()])
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[HandleReview], activities=[summarise, draft_reply]):
        print(f"working on {TASK_QUEUE}, health at {health}", flush=True)
        await stop.wait()
    report = otel_llm.flush()
    print(f"stopped: {report.delivered} spans delivered, {report.waiting} wait on disk for the next start", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
