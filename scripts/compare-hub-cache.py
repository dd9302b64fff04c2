#!/usr/bin/env python3
"""Holds `onebit download` against huggingface_hub: the same files in the same cache, each reading what the other wrote.

    python3 -m venv .venv && .venv/bin/pip install huggingface_hub
    .venv/bin/python scripts/compare-hub-cache.py .build/release/onebit MODEL_DIRECTORY

A hub on loopback serves the directory as org/model: revision, listing in pages, files, and large ones by a redirect to a
second port. Prints what was compared; exit code 1 if anything differs. With HUB_SERVE=1 it serves only, and prints the address
for HF_ENDPOINT; HUB_DELAY=0.05 makes it slow: seconds for each megabyte.
"""

import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ONEBIT, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1_000_000
PAGE = 2

FILES = {str(path.relative_to(MODEL)): path for path in sorted(MODEL.rglob("*")) if path.is_file()}
asked = []


def git_hash(path):
    return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()


def entry(name):
    path = FILES[name]
    size = path.stat().st_size
    if size < LARGE:
        return {"type": "file", "path": name, "size": size, "oid": git_hash(path)}
    oid = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "file", "path": name, "size": size, "oid": hashlib.sha1(oid.encode()).hexdigest(),
        "lfs": {"oid": oid, "size": size, "pointerSize": 134},
    }


LISTING = [entry(name) for name in FILES]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def file(self, path, **headers):
        size = path.stat().st_size
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(first[1]) if first else 0
        if first:
            headers["Content_Range"] = f"bytes {first}-{size - 1}/{size}"
        self.send_response(206 if first else 200)
        for name, value in {"Content_Length": str(size - first), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with path.open("rb") as file:
            file.seek(first)
            while data := file.read(1 << 20):
                self.wfile.write(data)
                if DELAY:
                    time.sleep(DELAY)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        asked.append((self.server.server_port, self.command, self.path))
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if self.server is storage:
            name = path[1:]
            return self.file(FILES[name], ETag=f'"{next(e for e in LISTING if e["path"] == name)["lfs"]["oid"]}"')
        if path.startswith("/api/models/org/model/revision/"):
            return self.answer(200, json.dumps({"id": "org/model", "sha": COMMIT, "siblings": []}).encode())
        if path.startswith("/api/models/org/model/tree/"):
            start = int(urllib.parse.parse_qs(url.query).get("cursor", ["0"])[0])
            headers = {}
            if start + PAGE < len(LISTING):
                following = f"{endpoint}{url.path}?recursive=true&expand=false&cursor={start + PAGE}"
                headers["Link"] = f'<{following}>; rel="next"'
            return self.answer(200, json.dumps(LISTING[start : start + PAGE]).encode(), **headers)
        resolve = re.fullmatch(r"/org/model/resolve/[^/]+/(.+)", path)
        if resolve and resolve[1] in FILES:
            info = next(e for e in LISTING if e["path"] == resolve[1])
            if "lfs" not in info:
                return self.file(FILES[resolve[1]], ETag=f'"{info["oid"]}"', X_Repo_Commit=COMMIT)
            target = f"http://127.0.0.1:{storage.server_port}/{urllib.parse.quote(resolve[1])}?signature=x"
            return self.answer(
                302, Location=target, X_Repo_Commit=COMMIT, X_Linked_Size=str(info["size"]),
                X_Linked_Etag=f'"{info["lfs"]["oid"]}"')
        self.answer(404, X_Error_Code="EntryNotFound" if resolve else "RepoNotFound")


DELAY = float(os.environ.get("HUB_DELAY", "0"))


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # a client that was stopped


hub = Server(("127.0.0.1", 0), Handler)
storage = Server(("127.0.0.1", 0), Handler)
endpoint = f"http://127.0.0.1:{hub.server_port}"
for server in (hub, storage):
    threading.Thread(target=server.serve_forever, daemon=True).start()

if os.environ.get("HUB_SERVE"):
    print(endpoint, flush=True)
    threading.Event().wait()

os.environ["HF_ENDPOINT"] = endpoint
os.environ["HF_HUB_DISABLE_XET"] = "1"
import huggingface_hub  # noqa: E402  (reads the endpoint when imported)

problems = []


def check(what, condition):
    print(("ok      " if condition else "DIFFERS ") + what)
    if not condition:
        problems.append(what)


def onebit(home, *arguments, **more):
    environment = dict(os.environ, HF_HOME=str(home), **more)
    result = subprocess.run(
        [ONEBIT, "download", "org/model", "--json", *arguments], env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"onebit download: {result.stderr}")
    return json.loads(result.stdout)


def tree(folder):
    """{path: what is there}: a link's target, or a file's bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    ours, theirs = scratch / "ours", scratch / "theirs"
    everything = ["--include", "*"]
    result = onebit(ours, *everything)
    snapshot = huggingface_hub.snapshot_download("org/model", cache_dir=theirs / "hub")
    one, other = (home / "hub/models--org--model" for home in (ours, theirs))
    for folder in ("blobs", "snapshots", "refs"):
        check(f"the same {folder}", tree(one / folder) == tree(other / folder) != {})
    listings = [json.loads((home / f"trees/{COMMIT}.json").read_text()) for home in (one, other)]
    check("the same listing, kept as trees/COMMIT.json", listings[0] == listings[1])
    check("the same path", pathlib.Path(result["path"]).relative_to(ours) == pathlib.Path(snapshot).relative_to(theirs))

    # huggingface_hub reads ours.
    before = len(asked)
    found = huggingface_hub.snapshot_download("org/model", cache_dir=ours / "hub", local_files_only=True)
    check("huggingface_hub finds our snapshot offline", found == result["path"])
    found = huggingface_hub.try_to_load_from_cache("org/model", "config.json", cache_dir=ours / "hub")
    check("huggingface_hub finds our config.json", found == f"{result['path']}/config.json")
    info = huggingface_hub.scan_cache_dir(ours / "hub")
    repos = list(info.repos)
    check("scan_cache_dir has no warnings", not info.warnings and len(repos) == 1)
    check("scan_cache_dir counts our files", repos[0].nb_files == len(FILES))
    check("without a request", len(asked) == before)
    huggingface_hub.snapshot_download("org/model", cache_dir=ours / "hub")
    check("huggingface_hub downloads nothing anew", not any("resolve" in path for _, _, path in asked[before:]))

    # We read theirs.
    before = len(asked)
    found = onebit(theirs, *everything, HF_HUB_OFFLINE="1")
    check("onebit finds their snapshot offline, without a request", found["path"] == snapshot and len(asked) == before)
    found = onebit(theirs, *everything)
    check("onebit downloads nothing anew", found["downloaded_bytes"] == 0 and len(asked) == before + 1)

sys.exit(1 if problems else 0)
