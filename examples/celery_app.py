"""Celery: a task belongs to the trace and the tenant of whoever sent it.

celery -A celery_app worker                   # in examples/, with OPENAI_API_KEY and a broker in CELERY_BROKER_URL
python examples/celery_app.py --fake          # a broker in memory, a worker in a thread, two tasks, and an end
"""

import argparse
import os

from celery import Celery
from shared import answer, fake_provider

import otel_llm

app = Celery("celery_app", broker=os.environ.get("CELERY_BROKER_URL", "memory://"), backend="cache+memory://")
otel_llm.instrument_celery()


@app.task
def ask(question):
    return answer(question)


def main():
    from celery.contrib.testing.worker import start_worker

    with start_worker(app, pool="solo", perform_ping_check=False):
        for name in ("acme", "globex"):
            with otel_llm.tenant(name), otel_llm.span("request"):
                print(ask.delay("why").get(timeout=60))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send two tasks to a worker, end.")
    parser.add_argument("--fake", action="store_true", help="call a stand-in for OpenAI on loopback")
    with fake_provider(parser.parse_args().fake):
        otel_llm.configure()
        main()
        print(otel_llm.flush())
