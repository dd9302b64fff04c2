#!/usr/bin/env python3
"""Treats `onebit serve` as hostile, broken and impatient clients do, over raw sockets.

    python3 runs/check_hostile_clients.py MODEL [--onebit .build/release/onebit] [--connections 10000] [--rounds 2]

Half and malformed requests, slow ones, ones that are never read, connections by the thousand, requests abandoned by the hundred. While they
last `/health` is asked all the time. Prints what was checked, the longest time that `/health` took, and the server's resident memory; exit
code 1 if anything fails. Needs nothing but Python and Linux.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--onebit", default=".build/release/onebit")
parser.add_argument("--connections", type=int, default=10_000)
parser.add_argument("--rounds", type=int, default=2, help="the memory after the last is held against that after the first")
arguments = parser.parse_args()

# Each connection is a file of this process and one of the server's, which inherits the limit.
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
connections = min(arguments.connections, hard - 200)

failures = []


def check(what, condition, found=""):
    print(("ok      " if condition else "FAILED  ") + what + (f": {found}" if found != "" else ""), flush=True)
    if not condition:
        failures.append(what)


class Server:
    """`onebit serve`, and what can be seen of it from outside."""

    def __init__(self, limit=None, options=()):
        def lower():
            if limit:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        self.process = subprocess.Popen(
            [arguments.onebit, "serve", arguments.model, "--port", "0", *options], stderr=subprocess.PIPE, text=True,
            preexec_fn=lower)
        for line in self.process.stderr:
            if address := re.search(r"http://127.0.0.1:(\d+)/v1", line):
                self.port = int(address[1])
                break
        else:
            sys.exit("onebit serve did not come up")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def connect(self, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def get(self, path, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def post(self, path, body, timeout=120):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metric(self, name):
        return int(re.search(rf"^{name} (\d+)$", self.get("/metrics")[1], re.M)[1])

    def resident(self):
        """Bytes of memory that the process has."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None


class Pulse(threading.Thread):
    """Asks for /health all the time."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.longest, self.count, self.failed, self.is_over = server, 0.0, 0, [], False

    def run(self):
        while not self.is_over:
            begin = time.monotonic()
            try:
                status, _ = self.server.get("/health", timeout=20)
                if status != 200:
                    self.failed.append(status)
            except OSError as error:
                self.failed.append(repr(error))
            self.longest = max(self.longest, time.monotonic() - begin)
            self.count += 1
            time.sleep(0.05)


def read_all(connection, seconds):
    """What comes until the other side closes; None if it does not in time."""
    connection.settimeout(seconds)
    received = b""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            part = connection.recv(65536)
            if not part:
                return received
            received += part
    except ConnectionResetError:
        return received
    except TimeoutError:
        pass
    return None if not received else received


def statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received or b"")]


def request(body, more=b"", path=b"/v1/completions", length=None):
    body = body.encode() if isinstance(body, str) else body
    length = len(body) if length is None else length
    return (
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n" + more
        + b"Content-Length: " + str(length).encode() + b"\r\n\r\n" + body)


# MARK: What is sent in one go: bytes, and the statuses that may come back; none where the connection may just be closed.

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
REQUESTS = {
    "no JSON": (request("{"), {400}),
    "an empty body": (request(""), {400}),
    "a text": (request('"a"'), {400}),
    "NaN": (request('{"prompt": "a", "temperature": NaN}'), {400}),
    "Infinity": (request('{"prompt": "a", "temperature": -Infinity}'), {400}),
    "1e999": (request('{"prompt": "a", "temperature": 1e999}'), {400}),
    "a number of 100,000 digits": (request('{"prompt": "a", "seed": ' + "9" * 100_000 + "}"), {400}),
    "an exponent of 100,000 digits": (request('{"prompt": "a", "top_p": 1e' + "9" * 100_000 + "}"), {400}),
    "100,000 brackets": (request("[" * 100_000), {400}),
    "100,000 brackets in a field": (request('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}"), {400}),
    "100,000 braces": (request('{"a":' * 100_000 + "1" + "}" * 100_000), {400}),
    "duplicate keys": (request('{"prompt": "a", "max_tokens": 99999999999, "max_tokens": 1}'), {200}),
    "100,000 keys": (request('{"prompt": "a", "max_tokens": 1, ' + ", ".join(f'"k{i}": 0' for i in range(100_000)) + "}"), {200}),
    "half a character": (request(b'{"prompt": "\xe4\xb8"}'), {400}),
    "half of a surrogate pair": (request('{"prompt": "\\ud800", "max_tokens": 1}'), {200, 400}),
    "a zero in a text": (request('{"prompt": "a\\u0000b", "max_tokens": 1}'), {200}),
    "a byte order mark": (request(b'\xef\xbb\xbf{"prompt": "a"}'), {400}),
    "a body of 17 MB": (request('{"prompt": "' + "a" * (17 << 20) + '"}'), {413}),
    "a length of 17 GB": (HEAD + b"Content-Length: 17000000000\r\n\r\n{}", {413}),
    "a length without a body": (HEAD + b"Content-Length: 0\r\n\r\n", {400}),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n{}", {400}),
    "a length that is no number": (HEAD + b"Content-Length: abc\r\n\r\n{}", {400}),
    "a length beyond 64 bits": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{}", {400, 413}),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}", {400}),
    "a length and chunks": (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "chunks that are none": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n", {400}),
    "a chunk beyond 64 bits": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n{}\r\n0\r\n\r\n", {400}),
    "chunks": (HEAD + b'Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1c\r\n"prompt": "a", "max_tokens":\r\n3\r\n 1}\r\n0\r\n\r\n', {200}),
    "an unknown transfer coding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}", {400, 501}),
    "another type": (request("{}").replace(b"application/json", b"text/plain"), {415}),
    "no type": (request("{}").replace(b"Content-Type: application/json\r\n", b""), {415}),
    "a header of 100 kB": (GET + b"X: " + b"a" * 100_000 + b"\r\n\r\n", {400, 431}),
    "10,000 headers": (GET + b"X: a\r\n" * 10_000 + b"\r\n", {400, 431}),
    "an address of 100 kB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404, 414, 431}),
    "a header without a name": (GET + b": a\r\n\r\n", {400}),
    "a zero in a header": (GET + b"X: a\0b\r\n\r\n", {400}),
    "a folded header": (GET + b"X: a\r\n b\r\nConnection: close\r\n\r\n", {200, 400}),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n", {400}),
    "no host": (b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", {400}),
    "another host": (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", {403}),
    "an address with a host": (b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {200, 400, 404}),
    "an address with dots": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {400, 404}),
    "an address in percents": (b"GET /%2e%2e%2f%00%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {400, 404}),
    "a method that there is not": (b"BREW /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {400, 404, 405, 501}),
    "a tunnel": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {400, 403, 404, 405}),
    "an upgrade": (GET + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", {200, 400}),
    "HTTP/1.0": (b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n", {200}),
    "HTTP/0.9": (b"GET /health\r\n\r\n", {400}),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 403, 404, 405, 505}),
    "HTTP/9.9": (b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", {400, 505}),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + b"\0" * 200, {400}),
    "noise": (bytes(range(256)) * 40, {400}),
    "HEAD": (b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {200}),
    "HEAD of what there is not": (b"HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    "DELETE": (b"DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", {405}),
    "nothing but line ends": (b"\r\n" * 10_000, {400}),
}


def one_go(server):
    for name, (sent, allowed) in REQUESTS.items():
        with server.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent)
            begin = time.monotonic()
            received = read_all(connection, 40)
            seconds = time.monotonic() - begin
        found = statuses(received)
        # A client that still sends when the answer and the end come may lose the answer (RFC 9112, section 9.6).
        is_good = received is not None and (found[:1] == [] or found[0] in allowed) and len(found) <= 1 and seconds < 35
        if b"\r\nconnection: close\r\n" in received.lower():
            is_good = is_good and seconds < 5
        if found and found[0] >= 400 and b"\r\n\r\n{" in received:
            is_good = is_good and b'"message"' in received and b"Fatal" not in received
        check(f"{name}", is_good, f"{found or 'closed' if received is not None else 'no answer'}, {seconds:.1f} s")


def in_order(server):
    with server.connect() as connection:
        connection.sendall((GET + b"\r\n") * 50 + GET + b"Connection: close\r\n\r\n")
        found = statuses(read_all(connection, 20))
    check("51 requests at once are answered in order", found == [200] * 51, len(found))
    body = '{"prompt": "a", "max_tokens": 2}'
    with server.connect() as connection:
        connection.sendall(request(body).replace(b"Connection: close\r\n", b"") + GET + b"Connection: close\r\n\r\n")
        found = statuses(read_all(connection, 20))
    check("a request behind one for a text is answered or its connection closed", found[:1] == [200] and len(found) <= 2, found)
    with server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = statuses(read_all(connection, 20))
    check("what follows a refused request is no request", found == [400], found)
    with server.connect() as connection:
        connection.sendall(request("{}", more=b"Expect: 100-continue\r\n"))
        found = statuses(read_all(connection, 20))
    check("Expect: 100-continue", found[-1:] == [400], found)


def half_closed(server):
    for name, sent, allowed in [
        ("/health", GET + b"\r\n", [[200]]),
        ("a text", request('{"prompt": "a", "max_tokens": 2}'), [[200], [499], []]),
        ("half a head", GET, [[], [400]]),
        ("half a body", request("{}", length=1000), [[], [400], [499]]),
    ]:
        with server.connect() as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            received = read_all(connection, 20)
        check(f"half-closed after {name}", received is not None and statuses(received) in allowed, statuses(received) or "closed")


def reset(server, count=500):
    """Connections that end by a reset, at every stage."""
    stages = [b"", GET, GET + b"\r\n", HEAD, request("{}", length=100), request('{"prompt": "a", "max_tokens": 400, "stream": true}'),
              request('{"prompt": "a", "max_tokens": 400}')]
    for number in range(count):
        connection = server.connect()
        connection.sendall(stages[number % len(stages)])
        if number % 3 == 0:
            time.sleep(0.002)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    check(f"{count} connections reset at every stage", settles(server), ", ".join(f"{server.metric('onebit_texts_' + name)} {name}" for name in ["in_flight", "running", "waiting"]))


def settles(server, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.metric("onebit_texts_in_flight") == 0 and server.metric("onebit_texts_running") == 0:
            return True
        time.sleep(0.05)
    return False


def drip(server, head, byte, count, name, seconds, allowed):
    """A byte a second on many connections: each has to be closed."""
    sockets = []
    for _ in range(count):
        connection = server.connect()
        connection.sendall(head)
        connection.setblocking(False)
        sockets.append(connection)
    begin, ends, found = time.monotonic(), [], set()
    while sockets and time.monotonic() - begin < seconds:
        time.sleep(1)
        for connection in list(sockets):
            try:
                connection.send(byte)
                received = connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                received = b""
            found.update(statuses(received))
            if not received:
                ends.append(time.monotonic() - begin)
                sockets.remove(connection)
                connection.close()
    check(f"{name}, {count} connections", not sockets and found <= allowed,
          f"{len(ends)} ended, the last after {max(ends, default=0):.0f} s, {sorted(found) or 'closed'}")
    for connection in sockets:
        connection.close()


def unread(server):
    """Asks for much and reads nothing."""
    body = {"prompt": "Once", "max_tokens": 500, "n": 16, "logprobs": 20, "stream": True, "ignore_eos": True, "temperature": 1}
    sockets = []
    for _ in range(2):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request(json.dumps(body)))
        sockets.append(connection)
    begin = time.monotonic()
    time.sleep(1)
    waiting = server.metric("onebit_texts_in_flight")
    while server.metric("onebit_texts_in_flight") and time.monotonic() - begin < 150:
        time.sleep(0.5)
    seconds = time.monotonic() - begin
    # A minute from when the buffers between the two are full.
    check("clients that do not read lose their texts", seconds < 120, f"{waiting} texts, {seconds:.0f} s")
    for connection in sockets:
        connection.close()


def crowd(server):
    before = server.resident()
    sockets = []
    begin = time.monotonic()
    for _ in range(connections):
        sockets.append(server.connect())
    opened = time.monotonic() - begin
    time.sleep(1)
    begin = time.monotonic()
    status, _ = server.get("/health")
    answer = time.monotonic() - begin
    status_text, _ = server.post("/v1/completions", {"prompt": "a", "max_tokens": 4})
    during = server.resident()
    check(f"{connections} open connections, and /health and a text are answered", status == 200 and status_text == 200,
          f"opened in {opened:.1f} s, /health in {answer * 1000:.0f} ms, {(during - before) / connections / 1024:.1f} KiB each")
    begin = time.monotonic()
    while server.files() > 200 and time.monotonic() - begin < 60:
        time.sleep(0.5)
    check("those that say nothing are closed", server.files() <= 200, f"{time.monotonic() - begin:.0f} s, {server.files()} files left")
    for connection in sockets:
        connection.close()


def abandon(server, count=200, seconds=0.5):
    body = {"prompt": "Once upon a time", "max_tokens": 400, "ignore_eos": True, "temperature": 0, "n": 8}

    def quiet():
        begin = time.monotonic()
        status, _ = server.post("/v1/completions", body)
        return time.monotonic() - begin, status

    alone = min(quiet()[0] for _ in range(3))
    sockets = []
    begin = time.monotonic()
    for _ in range(count):
        connection = server.connect()
        connection.sendall(request(json.dumps({**body, "n": 16})))
        sockets.append(connection)
    time.sleep(max(0, begin + seconds - time.monotonic()))
    for connection in sockets:
        connection.close()
    then, status = quiet()
    check(f"{count} requests abandoned after {seconds} s, then one within twice its quiet time",
          status == 200 and then < 2 * alone, f"{then:.2f} s beside {alone:.2f} s, {status}")


def few_files():
    """A server that may open few files, and more connections than that."""
    server = Server(limit=128)
    sockets = [server.connect() for _ in range(300)]
    time.sleep(2)
    for connection in sockets:
        connection.close()
    time.sleep(1)
    try:
        status = server.get("/health", timeout=60)[0]
    except OSError as error:
        status = repr(error)
    check("a server out of files answers again when connections have gone", status == 200 and server.process.poll() is None, status)
    check("SIGTERM ends it", server.stop() == 0)


def main():
    few_files()
    server = Server()
    server.post("/v1/completions", {"prompt": "a", "max_tokens": 4})
    pulse = Pulse(server)
    pulse.start()
    memory = [server.resident()]
    for number in range(arguments.rounds):
        print(f"-- round {number + 1}, {memory[-1] / 2**20:.0f} MiB", flush=True)
        one_go(server)
        in_order(server)
        half_closed(server)
        reset(server)
        abandon(server)
        slow = [
            threading.Thread(target=drip, args=(server, GET, b"a", 50, "heads of a byte a second", 60, {400, 408})),
            threading.Thread(target=drip, args=(server, request("{", length=1000), b" ", 50, "bodies of a byte a second", 60, {408})),
            threading.Thread(
                target=drip, args=(server, GET + b"Content-Length: 1000\r\n\r\n", b" ", 50, "bodies that nobody reads", 60, {200})),
            threading.Thread(target=unread, args=(server,)),
        ]
        for thread in slow:
            thread.start()
        for thread in slow:
            thread.join()
        crowd(server)
        memory.append(server.resident())
    pulse.is_over = True
    pulse.join()
    check("/health was answered all the time", not pulse.failed, f"{pulse.count} times, the longest {pulse.longest:.2f} s {pulse.failed[:3] or ''}")
    check("the memory is flat", memory[-1] <= 1.02 * memory[1] + (2 << 20), " → ".join(f"{bytes / 2**20:.0f}" for bytes in memory) + " MiB")
    check("the server lives", server.process.poll() is None)
    check("SIGTERM ends it", server.stop() == 0)
    sys.exit(1 if failures else 0)


main()
