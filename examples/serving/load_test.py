"""A load test of a server: so many requests over so many connections, to all of its adapters in turn.

    pip install openai
    python examples/serving/load_test.py http://localhost:8000 --requests 1000 --connections 64

Every adapter whose task has one column is asked to complete a text. Prints the answers a second, the median and the
99th percentile of their seconds, and how many requests failed, by the reason.
"""

import argparse
import asyncio
import json
import os
import time
import urllib.request
from collections import Counter
from urllib.parse import quote

import openai

TEXTS = ["a fine film", "an awful film that nobody should have to see", "the tall king helped the shy monk ."]


def columns(url: str, key: str, adapter: str) -> list[str]:
    """Return the columns of an adapter's task; none where it has no task."""
    request = urllib.request.Request(f"{url}/v1/models/{quote(adapter)}", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as answer:
        found = json.loads(answer.read())
    return [] if found["answers"] == "embeddings" else list(found["task"]["fields"])


async def load(url: str, key: str, requests: int, connections: int) -> None:
    """Send the requests, and print what became of them."""
    seconds: list[float] = []
    failed: Counter[str] = Counter()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        every = [model.id async for model in client.models.list()]
        adapters = [name for name in every if len(await asyncio.to_thread(columns, url, key, name)) == 1]
        if not adapters:
            raise SystemExit(f"none of the {len(every)} adapters has a task of one column.")
        waiting = iter(range(requests))

        async def ask() -> None:
            for number in waiting:
                start = time.monotonic()
                try:
                    await client.completions.create(
                        model=adapters[number % len(adapters)],
                        prompt=TEXTS[number % len(TEXTS)],
                        extra_headers={"x-adapter": adapters[number % len(adapters)]},
                    )
                    seconds.append(time.monotonic() - start)
                except openai.OpenAIError as error:
                    failed[type(error).__name__] += 1

        start = time.monotonic()
        await asyncio.gather(*(ask() for _ in range(connections)))
    spent = time.monotonic() - start
    ordered = sorted(seconds) or [float("nan")]
    print(f"{len(adapters)} adapters, {len(seconds)} answers, {len(seconds) / spent:.1f} a second")
    print(f"p50 {ordered[len(ordered) // 2]:.3f} s, p99 {ordered[int(0.99 * len(ordered))]:.3f} s")
    print("failed: " + (", ".join(f"{number} {name}" for name, number in failed.items()) or "none"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--api-key", default=os.environ.get("HYPERADAPTERS_API_KEY", "none"))
    args = parser.parse_args()
    asyncio.run(load(args.url.rstrip("/"), args.api_key, args.requests, args.connections))
