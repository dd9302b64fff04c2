#!/usr/bin/env python3
"""Requests per second, time to the first token and time per token at several numbers of clients, beside llama-server.

    throughput.py MODEL [--gguf FILE --llama-server PROGRAM] [--clients 1,2,4,8,16] [--prompt 128] [--tokens 64]
    throughput.py MODEL --long-prompt 1900       # what texts under way lose while a long prompt arrives

Each client sends its next request when the last one is answered: --prompt random tokens, no two requests alike, --tokens
tokens generated (the token that ends texts is forbidden), streamed. The servers take turns at each number of clients. The
figures are medians over the requests; those per second count all that the clients did between the first request and the
last answer. With --json one line for each row.
"""

import argparse
import asyncio
import json
import pathlib
import random
import statistics
import time

from client import Server, request

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--onebit", default=".build/release/onebit")
parser.add_argument("--gguf", help="the same model for llama-server")
parser.add_argument("--llama-server", default="llama-server")
parser.add_argument("--clients", default="1,2,4,8,16", type=lambda text: [int(part) for part in text.split(",")])
parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
parser.add_argument("--tokens", type=int, default=64, help="tokens to generate")
parser.add_argument("--rounds", type=int, default=2, help="requests of each client")
parser.add_argument("--long-prompt", type=int, help="tokens of a prompt that arrives while four texts are under way")
parser.add_argument("--head-start", type=float, default=1.0, help="seconds that the others have before it")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--json", action="store_true")
arguments = parser.parse_args()

configuration = json.loads((arguments.model / "config.json").read_text())
end = configuration.get("eos_token_id", 2)
ends = end if isinstance(end, list) else [end]
generator = random.Random(1)


def body(prompt, tokens):
    ids = [generator.randrange(1000, configuration["vocab_size"] - 1000) for _ in range(prompt)]
    return {
        "prompt": ids, "max_tokens": tokens, "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
        "logit_bias": {str(token): -100 for token in ends}, "cache_prompt": False,
    }  # fmt: skip


async def post(server, prompt, tokens):
    answer = await request(server.port, "/v1/completions", body(prompt, tokens))
    if answer.error or answer.usage["completion_tokens"] != tokens:
        raise SystemExit(f"{server.name}: {answer.error or answer.usage}")
    return answer


def servers(slots, positions):
    """Both, each with so many slots of so many positions."""
    yield Server.onebit(
        arguments.onebit, str(arguments.model), "--parallel", str(slots), "--context", str(positions),
        "--threads", str(arguments.threads))  # fmt: skip
    if arguments.gguf:
        yield Server.llama(
            arguments.llama_server, arguments.gguf, "--parallel", str(slots), "--ctx-size", str(slots * positions),
            "--threads", str(arguments.threads), "--threads-batch", str(arguments.threads))  # fmt: skip


def show(row):
    if arguments.json:
        print(json.dumps(row), flush=True)
    else:
        print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()), flush=True)


async def load(server, clients):
    async def client():
        return [await post(server, arguments.prompt, arguments.tokens) for _ in range(arguments.rounds)]

    begin = time.perf_counter()
    answers = [answer for answers in await asyncio.gather(*(client() for _ in range(clients))) for answer in answers]
    seconds = time.perf_counter() - begin
    return {
        "server": server.name, "clients": clients, "requests_per_second": len(answers) / seconds,
        "tokens_per_second": len(answers) * arguments.tokens / seconds,
        "first_token": statistics.median(answer.begun for answer in answers),
        "per_token": statistics.median((answer.ended - answer.begun) / (arguments.tokens - 1) for answer in answers),
    }  # fmt: skip


async def interrupted(server):
    """Four texts under way, a long prompt arrives: the longest and the median pause of the others while it is read."""
    pauses, is_reading = [], False

    async def text():
        last = time.perf_counter()

        def note(event):
            nonlocal last
            now = time.perf_counter()
            if is_reading and event["choices"]:
                pauses.append(now - last)
            last = now

        await request(server.port, "/v1/completions", body(32, 1200), on_event=note)

    texts = [asyncio.create_task(text()) for _ in range(4)]
    await asyncio.sleep(arguments.head_start)
    is_reading = True
    answer = await post(server, arguments.long_prompt, 1)
    is_reading = False
    for task in texts:
        task.cancel()
    await asyncio.gather(*texts, return_exceptions=True)
    return {
        "server": server.name, "long_prompt": arguments.long_prompt, "first_token": answer.begun,
        "tokens_per_second_of_others": len(pauses) / answer.begun,
        "median_pause": statistics.median(pauses) if pauses else answer.begun,
        "longest_pause": max(pauses, default=answer.begun),
    }  # fmt: skip


if arguments.long_prompt:
    for server in servers(5, max(arguments.long_prompt, 1232) + 16):
        with server:
            asyncio.run(post(server, 32, 4))
            show(asyncio.run(interrupted(server)))
else:
    for clients in arguments.clients:
        for server in servers(clients, arguments.prompt + arguments.tokens):
            with server:
                # The first pass maps the weights.
                asyncio.run(post(server, 32, 4))
                show(asyncio.run(load(server, clients)))
