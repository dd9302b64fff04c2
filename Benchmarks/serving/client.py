"""A client of OpenAI's completions, and the servers that it talks to: no more than a measurement needs, standard library alone."""

import asyncio
import dataclasses
import json
import os
import re
import socket
import subprocess
import time
import urllib.request


@dataclasses.dataclass
class Answer:
    """What came back for a request."""

    status: int
    choices: list  # of a whole answer, or put together from a stream
    usage: dict | None
    begun: float  # seconds from the request to the first token
    ended: float  # and to the last
    error: str | None = None


class Left(Exception):
    """The client has gone away on purpose."""


async def request(port, path, body, leave_after=None, on_event=None):
    """Posts a body and reads the answer, streamed or whole; leaves the connection after so many seconds if asked to.

    `on_event` is called with each event of a stream.
    """
    task = asyncio.create_task(exchange(port, path, body, on_event))
    if leave_after is None:
        return await task
    try:
        return await asyncio.wait_for(task, leave_after)
    except asyncio.TimeoutError:
        raise Left from None


async def exchange(port, path, body, on_event=None):
    begin = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        data = json.dumps(body).encode()
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        chunks = pieces(reader, head.lower())
        if not body.get("stream") or status != 200:
            whole = b"".join([piece async for piece in chunks])
            ended = time.perf_counter() - begin
            answer = json.loads(whole)
            return Answer(status, answer.get("choices", []), answer.get("usage"), ended, ended, text_of_error(answer))
        answer = Answer(status, [], None, 0, 0)
        async for event in events(chunks):
            if event == "[DONE]":
                break
            event = json.loads(event)
            take(answer, event, time.perf_counter() - begin)
            if on_event:
                on_event(event)
        return answer
    finally:
        writer.close()


async def pieces(reader, head):
    """The body, in chunks (RFC 9112, section 7.1) or as long as it says."""
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            yield await reader.readexactly(size)
            await reader.readline()
    elif length := re.search(rb"content-length: (\d+)", head):
        yield await reader.readexactly(int(length[1]))
    else:
        while piece := await reader.read(1 << 16):
            yield piece


async def events(chunks):
    """The data of server-sent events."""
    rest = b""
    async for chunk in chunks:
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                yield line[6:].decode().rstrip("\r")


def take(answer, event, time):
    """Adds a chunk of a stream to the answer."""
    if error := text_of_error(event):
        answer.error = error
        return
    answer.usage = event.get("usage") or answer.usage
    for choice in event["choices"]:
        if not answer.begun:
            answer.begun = time
        answer.ended = time
        while len(answer.choices) <= choice["index"]:
            answer.choices.append({"index": len(answer.choices), "text": "", "finish_reason": None})
        whole = answer.choices[choice["index"]]
        whole["text"] += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]


def text_of_error(answer):
    error = answer.get("error")
    return error if error is None or isinstance(error, str) else error.get("message")


class Server:
    """A server on a port of its own, as long as the block that it is used in."""

    def __init__(self, name, command, log=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.name, self.log = name, log or os.devnull
        self.command = [*command, "--host", "127.0.0.1", "--port", str(self.port)]

    @classmethod
    def onebit(cls, binary, model, *options, log=None):
        return cls("onebit", [binary, "serve", model, "--quiet", *options], log)

    @classmethod
    def llama(cls, binary, model, *options):
        return cls("llama-server", [binary, "--model", model, "--no-webui", "--log-disable", *options])

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"{self.name} ended with {self.process.returncode}: {' '.join(self.command)}")
            time.sleep(0.2)
        raise SystemExit(f"{self.name} did not come up")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def memory(self):
        """Bytes of its own: of mapped files nothing counts."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status.read())[1])

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return json.load(answer)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            return float(re.search(rf"^{name} (\S+)$", answer.read().decode(), re.M)[1])
