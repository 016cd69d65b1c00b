"""What the server examples have in common: a model to ask, a stand-in for it, and a client that plays the visitors."""

import os
from contextlib import contextmanager

# litellm would otherwise fetch its price table from the network while it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from litellm import completion

import otel_llm

MODEL = os.environ.get("APP_MODEL", "gpt-4o-mini")
TOKENS = {"token-of-acme": "acme", "token-of-globex": "globex"}
"""Who holds which token: what a real service asks its identity provider."""


@otel_llm.trace("answer", operation="workflow")
def answer(question):
    said = completion(model=MODEL, messages=[{"role": "user", "content": question}])
    return said.choices[0].message.content


def tenant_of(token):
    """The tenant of a token that was checked; None for a token that nobody issued."""
    return TOKENS.get(token.removeprefix("Bearer ").strip())


@contextmanager
def fake_provider(wanted):
    """With `wanted`, language models are a stand-in on loopback: no key, no network."""
    if not wanted:
        yield
        return
    from otel_llm.testing import FakeProvider

    with FakeProvider() as provider:
        os.environ.update(OPENAI_API_BASE=provider.openai_base, OPENAI_API_KEY="any")
        yield


def visit(url):
    """Two tenants ask one question each; and one who only claims to be a tenant."""
    import json
    import urllib.request

    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for headers in (
        {"Authorization": "Bearer token-of-acme", "traceparent": traceparent},
        {"Authorization": "Bearer token-of-globex"},
        {"X-Tenant-Id": "acme"},
    ):
        with urllib.request.urlopen(urllib.request.Request(f"{url}/ask?question=why", headers=headers)) as reply:
            print(json.loads(reply.read())["answer"])
    with urllib.request.urlopen(f"{url}/otel-llm/readyz") as reply:
        print("ready:", json.loads(reply.read())["ready"])
