"""Plain threads: `otel_llm.carry` takes trace and tenant into a pool; and feedback for what was answered.

python examples/threads_app.py --fake         # no key, no network
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

from shared import answer, fake_provider

import otel_llm


def main():
    with ThreadPoolExecutor(2) as pool:
        for name in ("acme", "globex"):
            with otel_llm.tenant(name), otel_llm.span("batch") as batch:
                for said in [pool.submit(otel_llm.carry(answer), question) for question in ("why", "how")]:
                    print(said.result())
            otel_llm.add_feedback(batch, "thumbs", 1, reason="both were right", tenant=name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Answer four questions in two threads, end.")
    parser.add_argument("--fake", action="store_true", help="call a stand-in for OpenAI on loopback")
    with fake_provider(parser.parse_args().fake):
        otel_llm.configure()
        main()
        print(otel_llm.flush())
