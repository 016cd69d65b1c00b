"""FastAPI: each request is a trace of its tenant, with the LLM call inside; health pages below /otel-llm.

uvicorn examples.fastapi_app:app              # with OPENAI_API_KEY
python examples/fastapi_app.py --fake         # serves itself, asks itself three questions, and ends
"""

import argparse

from fastapi import FastAPI
from shared import answer, fake_provider, tenant_of, visit

import otel_llm

app = FastAPI()


def tenant(scope):
    """From the token, which is checked; never from a header that anybody may write."""
    return tenant_of(dict(scope["headers"]).get(b"authorization", b"").decode())


app.add_middleware(otel_llm.AsgiMiddleware, tenant=tenant, health="/otel-llm")


@app.get("/ask")
def ask(question: str):
    return {"answer": answer(question)}


def main():
    import socket
    import threading

    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    visit(f"http://127.0.0.1:{listening.getsockname()[1]}")
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve, ask three questions, end.")
    parser.add_argument("--fake", action="store_true", help="call a stand-in for OpenAI on loopback")
    with fake_provider(parser.parse_args().fake):
        otel_llm.configure()
        main()
        print(otel_llm.flush())
