"""An ordinary program that calls language models through litellm. It knows nothing of how it is watched.

export OPENAI_API_KEY=...            # or OPENAI_API_BASE of anything that speaks OpenAI's format
python examples/app.py

python examples/app.py --fake        # no key, no network: a stand-in for OpenAI on loopback
"""

import argparse
import asyncio
import os
from contextlib import ExitStack

# litellm would otherwise fetch its price table from the network while it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from litellm import acompletion, completion, embedding

MODEL = os.environ.get("APP_MODEL", "gpt-4o-mini")
REVIEWS = [
    "Arrived late, but the lamp itself is lovely.",
    "Two of the six glasses were broken.",
    "Exactly as described. Would buy again!",
]


def ask(text):
    return [
        {"role": "system", "content": "You work for a shop. Answer in one short sentence."},
        {"role": "user", "content": text},
    ]


def summarise(review):
    answer = completion(model=MODEL, messages=ask(f"Summarise: {review}"))
    return answer.choices[0].message.content


def stream_reply(review):
    pieces = completion(model=MODEL, messages=ask(f"Write to the customer: {review}"), stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces)


async def sentiments(reviews):
    answers = await asyncio.gather(
        *(acompletion(model=MODEL, messages=ask(f"Good or bad? {review}"), user="reviewer") for review in reviews)
    )
    # Some versions of litellm on Python 3.10 never let asyncio.run end while they are still logging a call.
    await asyncio.sleep(0.2)
    return [answer.choices[0].message.content for answer in answers]


def main():
    for review in REVIEWS:
        print("summary:  ", summarise(review))
    print("reply:    ", stream_reply(REVIEWS[1]))
    for sentiment in asyncio.run(sentiments(REVIEWS)):
        print("sentiment:", sentiment)
    vectors = embedding(model="text-embedding-3-small", input=REVIEWS).data
    print("vectors:  ", len(vectors))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Summarise reviews, answer one of them, sort and index them.")
    parser.add_argument("--fake", action="store_true", help="call a stand-in for OpenAI on loopback")
    with ExitStack() as stack:
        if parser.parse_args().fake:
            from otel_llm.testing import FakeProvider

            provider = stack.enter_context(FakeProvider())
            os.environ.update(OPENAI_API_BASE=provider.openai_base, OPENAI_API_KEY="any")
        main()
