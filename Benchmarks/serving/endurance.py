#!/usr/bin/env python3
"""A server at saturation, with clients that leave: every answer has to be the one that its request gets alone.

    endurance.py saturate MODEL --minutes 60 [--clients 24] [--seed 1]
    endurance.py conversations MODEL --count 1000

`saturate` asks a fixed set of requests one by one on a quiet server (chats and completions, whole and streamed, several choices,
log probabilities, echo, stop strings, prompts that begin alike), and then all of them at once in random order from many clients,
of which three in ten leave at a random moment. A wrong answer, an answer that is missing or memory that grows ends with exit code 1.
`conversations` holds so many conversations of three turns, four at a time, and compares memory after the first tenth with that at
the end: within 2 %.

Memory is the server's own: mapped weights do not count. A model without a chat template is asked for completions alone, and
holds no conversations.
"""

import argparse
import asyncio
import json
import pathlib
import random
import statistics
import sys
import time

from client import Left, Server, request

WORDS = "the a red big old cat dog house river sun tree runs sees finds with under over small green bird was is and then".split()


def sentence(generator, count):
    return " ".join(generator.choice(WORDS) for _ in range(count))


def requests_of(seed, with_chats):
    """Path and body of each request."""
    generator = random.Random(seed)
    shared = sentence(generator, 60)
    for number in range(48):
        tokens = generator.choice([1, 4, 16, 40, 80])
        prompt = generator.choice(["", shared + " "]) + sentence(generator, generator.choice([2, 20, 90]))
        body = {
            "max_tokens": tokens, "seed": number, "temperature": generator.choice([0, 0.7, 1.2]), "top_p": 0.95,
            "stream": generator.random() < 0.5, "n": generator.choice([1, 1, 1, 3]),
            "frequency_penalty": generator.choice([0, 0.5]),
        }  # fmt: skip
        if generator.random() < 0.2:
            body["stop"] = ["cat", " the b"]
        if with_chats and number % 2:
            yield "/v1/chat/completions", body | {"messages": [{"role": "user", "content": prompt}]}
        else:
            if generator.random() < 0.3 and not body["stream"]:
                body |= {"logprobs": 3, "echo": True}
            yield "/v1/completions", body | {"prompt": prompt}


def essence(answer):
    """What has to be the same each time."""
    return [
        (
            choice["index"], choice.get("text") or (choice.get("message") or {}).get("content") or "",
            choice["finish_reason"], json.dumps(choice.get("logprobs")),
        )
        for choice in sorted(answer.choices, key=lambda choice: choice["index"])
    ]  # fmt: skip


class Counts:
    right = wrong = left = refused = lost = 0


async def saturate(server, arguments):
    everything = list(requests_of(arguments.seed, server.get("/tokenizer_info").get("chat_template")))
    alone, seconds = [], []
    for path, body in everything:
        answer = await request(server.port, path, body | {"cache_prompt": False})
        if answer.status != 200 or answer.error:
            sys.exit(f"{path} {body}: {answer.error}")
        alone.append(essence(answer))
        seconds.append(answer.ended)
    print(f"{len(everything)} requests alone, {statistics.median(seconds):.2f} s each (median)", flush=True)
    begin, memories = time.monotonic(), []
    end = begin + 60 * arguments.minutes

    async def client(generator):
        while time.monotonic() < end:
            number = generator.randrange(len(everything))
            path, body = everything[number]
            leave = generator.uniform(0, 2 * arguments.clients * seconds[number]) if generator.random() < 0.3 else None
            try:
                answer = await request(server.port, path, body, leave)
            except Left:
                Counts.left += 1
                continue
            except Exception as error:
                Counts.lost += 1
                print(f"lost: {type(error).__name__} {error}", flush=True)
                if server.process.poll() is not None:
                    return
                continue
            if answer.status == 503:
                Counts.refused += 1
                await asyncio.sleep(0.2)
            elif answer.status == 200 and essence(answer) == alone[number]:
                Counts.right += 1
            else:
                Counts.wrong += 1
                print(f"wrong: {path} {body}\n  {answer.error or essence(answer)}\n  {alone[number]}", flush=True)

    async def watch():
        while time.monotonic() < end and server.process.poll() is None:
            await asyncio.sleep(min(60, max(1, end - time.monotonic())))
            memories.append(server.memory())
            print(
                f"{(time.monotonic() - begin) / 60:5.1f} min  right {Counts.right}  wrong {Counts.wrong}  left {Counts.left}  "
                f"refused {Counts.refused}  lost {Counts.lost}  {memories[-1] / 1e6:.1f} MB", flush=True)  # fmt: skip

    generators = [random.Random(1000 * arguments.seed + number) for number in range(arguments.clients)]
    await asyncio.gather(watch(), *(client(generator) for generator in generators))
    for _ in range(50):
        in_flight = server.metric("onebit_texts_in_flight")
        if in_flight == 0:
            break
        await asyncio.sleep(0.2)
    # Kept conversations have filled their places after some minutes.
    settled = memories[len(memories) // 4 :]
    growth = statistics.median(settled[-3:]) / statistics.median(settled[:3]) - 1
    print(f"texts in flight at the end {in_flight:.0f}, memory {growth:+.1%} since a quarter of the time")
    return not (Counts.wrong or Counts.lost or in_flight) and growth < 0.05


async def conversations(server, arguments):
    generator = random.Random(arguments.seed)
    memories = []

    async def conversation():
        messages = []
        for _ in range(3):
            messages.append({"role": "user", "content": sentence(generator, generator.randrange(3, 40))})
            body = {"messages": messages, "max_tokens": 24, "seed": generator.randrange(1 << 30), "stream": True}
            answer = await request(server.port, "/v1/chat/completions", body)
            if answer.status != 200 or answer.error:
                sys.exit(f"{body}: {answer.error}")
            messages.append({"role": "assistant", "content": answer.choices[0]["text"]})

    tenth = max(1, arguments.count // 10)
    for number in range(10):
        for _ in range(0, tenth, 4):
            await asyncio.gather(*(conversation() for _ in range(4)))
        memories.append(server.memory())
        print(f"{(number + 1) * tenth} conversations, {memories[-1] / 1e6:.1f} MB", flush=True)
    growth = memories[-1] / memories[0] - 1
    print(f"memory {growth:+.1%} since the first tenth")
    return growth < 0.02


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["saturate", "conversations"])
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--onebit", default=".build/release/onebit")
parser.add_argument("--minutes", type=float, default=60)
parser.add_argument("--clients", type=int, default=24)
parser.add_argument("--count", type=int, default=1000)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--log", help="where what the server prints goes")
arguments = parser.parse_args()
with Server.onebit(arguments.onebit, str(arguments.model), "--threads", str(arguments.threads), log=arguments.log) as server:
    passed = asyncio.run((saturate if arguments.what == "saturate" else conversations)(server, arguments))
if server.process.returncode:
    sys.exit(f"The server ended with {server.process.returncode}.")
sys.exit(not passed)
