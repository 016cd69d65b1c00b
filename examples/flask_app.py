"""Flask: each request is a trace of its tenant, with the LLM call inside; health pages below /otel-llm.

gunicorn --chdir examples flask_app:app       # with OPENAI_API_KEY
python examples/flask_app.py --fake           # serves itself, asks itself three questions, and ends
"""

import argparse

from flask import Flask, request
from shared import answer, fake_provider, tenant_of, visit

import otel_llm

app = Flask(__name__)
app.wsgi_app = otel_llm.WsgiMiddleware(
    app.wsgi_app, tenant=lambda environ: tenant_of(environ.get("HTTP_AUTHORIZATION", "")), health="/otel-llm"
)


@app.get("/ask")
def ask():
    return {"answer": answer(request.args["question"])}


def main():
    import threading

    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    visit(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve, ask three questions, end.")
    parser.add_argument("--fake", action="store_true", help="call a stand-in for OpenAI on loopback")
    with fake_provider(parser.parse_args().fake):
        otel_llm.configure()
        main()
        print(otel_llm.flush())
