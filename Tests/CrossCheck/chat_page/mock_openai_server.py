"""A server that speaks OpenAI's chat interface with scripted answers, for check_chat_page.py.

The last user message chooses the answer: the name of a script below, or "say NAME [SIZE [PAUSE]]" for a text given to the
server under that name, in pieces of SIZE characters, PAUSE seconds apart; anything else is echoed. The page is sent with the Content-Security-Policy that `onebit serve` sends. Run alone,
it serves the page for trying by hand.
"""

import base64
import hashlib
import json
import pathlib
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = pathlib.Path(__file__).resolve().parents[3] / "Sources/OneBitServer/Page/index.html"


def content_security_policy(html):
    def sources(tag):
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(parts) == 1, f"{len(parts)} <{tag}> elements"
        return "'sha256-" + base64.b64encode(hashlib.sha256(parts[0].encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def send_body(self, status, body, content_type="application/json", headers=()):
        body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error_object(self, status, message, kind="invalid_request_error"):
        self.send_body(status, {"error": {"message": message, "type": kind, "param": None, "code": None}})

    def is_allowed(self):
        key = self.server.key
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self.send_error_object(401, "Incorrect API key provided.", "authentication_error")
            return False
        return True

    def do_GET(self):
        self.server.paths.append(self.path)
        if self.path == "/":
            html = PAGE.read_text()
            headers = [
                ("Content-Security-Policy", content_security_policy(html)),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
            ]
            self.send_body(200, html, "text/html; charset=utf-8", headers)
        elif self.path == "/v1/models":
            if self.is_allowed():
                self.send_body(200, {"object": "list", "data": self.server.models})
        else:
            self.send_error_object(404, f"There is nothing at {self.path}.")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        if self.path != "/v1/chat/completions" or not self.is_allowed():
            return None
        self.server.requests.append(body)
        question = body["messages"][-1]["content"].split("\n\n")[-1]
        name = question.split()[0].replace("-", "_") if question.split() else ""
        if name == "refuse":
            return self.send_error_object(400, "max_tokens: 5000 is more than the <b>2048</b> tokens of the context.")
        if name == "busy":
            return self.send_body(503, "<html>busy</html>", "text/html", [("Retry-After", "3")])
        if name == "whole":
            choices = [
                {"index": 0, "message": {"role": "assistant", "content": "Not streamed."}, "finish_reason": "stop"}
            ]
            usage = {"prompt_tokens": 5, "completion_tokens": 3}
            return self.send_body(200, {"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            getattr(self, "answer_" + name, self.answer_text)(question)
        except (BrokenPipeError, ConnectionResetError):
            self.server.disconnections += 1
            self.close_connection = True

    # Streams

    def write(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def event(self, delta=None, finish_reason=None, newline="\n", **extra):
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": "mock", "choices": choices, **extra}
        return f"data: {json.dumps(chunk, ensure_ascii=False)}{newline}{newline}".encode()

    def end_stream(self, tokens=7, reason="stop", **extra):
        usage = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
        self.write(self.event({}, reason) + self.event(None, usage=usage, **extra) + b"data: [DONE]\n\n")
        self.write(b"")

    def stream(self, text, size=7, pause=0.0):
        self.write(self.event({"role": "assistant", "content": None}))
        for start in range(0, len(text), size):
            self.write(self.event({"content": text[start : start + size]}))
            if pause:
                time.sleep(pause)

    def answer_text(self, question):
        if question.startswith("say "):
            name, *numbers = re.match(r"say (\w+)(?: (\d+))?(?: ([\d.]+))?", question).groups(default="0")
            self.stream(self.server.texts[name], int(numbers[0]) or 7, float(numbers[1]))
        else:
            self.stream(f"You said: {question}")
        self.end_stream()

    def answer_slow(self, question):
        for index in range(400):
            self.write(self.event({"content": f"word{index} " + ("\n\n" if index % 8 == 7 else "")}))
            time.sleep(0.03)
        self.end_stream(400)

    def answer_silent(self, question):
        for _ in range(5):
            self.write(b": ping\n\n")
            time.sleep(0.2)
        self.stream("After the silence.")
        self.end_stream()

    def answer_split(self, question):
        """Every byte in a chunk of its own, with CRLF and CR line ends and comments between."""
        data = b": ping\r\n\r\n"
        for text in ("Grüße, ", "世界 ", "👩‍🔬 ", "naïve"):
            data += self.event({"content": text}, newline="\r\n") + b": ping\n\n"
        data += self.event({"content": "!"}, newline="\r")
        for byte in data:
            self.write(bytes([byte]))
            time.sleep(0.0005)
        self.end_stream(timings={"prompt_tokens_per_second": 900.0, "generated_tokens_per_second": 123.4})

    def answer_error(self, question):
        self.stream("Half an answer")
        self.write(
            b'data: {"error": {"message": "The engine <i>failed</i>.", "type": "server_error"}}\n\ndata: [DONE]\n\n'
        )
        self.write(b"")

    def answer_broken(self, question):
        self.stream("This much had come, and then ")
        time.sleep(0.3)
        self.wfile.write(b'20\r\ndata: {"cho')
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)

    def answer_cut(self, question):
        """The stream ends properly for HTTP, but without a finish reason or [DONE]."""
        self.stream("No end in sight")
        self.write(b"")

    def answer_length(self, question):
        self.stream("Cut by the lim")
        self.end_stream(reason="length")

    def answer_reasoning(self, question):
        for text in ("First I ", "think **hard**."):
            self.write(self.event({"reasoning_content": text}))
        self.stream("The answer is *42*.")
        self.end_stream()

    def answer_burst(self, question):
        """A whole text in events that arrive at once."""
        text = self.server.texts[question.split()[1]]
        events = b"".join(self.event({"content": text[start : start + 5]}) for start in range(0, len(text), 5))
        for start in range(0, len(events), 1 << 20):
            self.write(events[start : start + (1 << 20)])
        self.end_stream()


class MockServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.texts = {}
        self.reset()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def reset(self):
        self.key = ""
        self.requests, self.paths, self.disconnections = [], [], 0
        defaults = {"temperature": 0.7, "top_p": 0.95}
        self.models = [
            {"id": "mock-1bit", "object": "model", "max_model_len": 2048, "default_sampling_params": defaults}
        ]

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)


if __name__ == "__main__":
    server = MockServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8642)
    print(f"{server.url} (Ctrl+C ends)")
    threading.Event().wait()
