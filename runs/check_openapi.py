#!/usr/bin/env python3
"""Holds `onebit serve` against its own description of the API, with the requests that schemathesis makes of it.

    pip install schemathesis
    python runs/check_openapi.py MODEL [--onebit .build/release/onebit] [--examples 500] [--seed 1]

Requests that fit the description and ones that do not, at every address: no status of 500 and above, no request that takes longer than
20 s, no answer that the description does not know, no wrong request that is taken. Exit code 1 if anything is found.

MODEL without a chat template is given ChatML's.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--onebit", default=".build/release/onebit")
parser.add_argument("--examples", type=int, default=500, help="for each operation")
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    # What fits the description can still be too long for the model: positive_data_acceptance is not among them.
    "response_schema_conformance", "negative_data_rejection", "unsupported_method",
]


def main(folder):
    for file in arguments.model.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    if not (folder / "chat_template.jinja").exists():
        (folder / "chat_template.jinja").write_text(CHATML)
    server = subprocess.Popen([arguments.onebit, "serve", str(folder), "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            if address := re.search(r"(http://\S+)/v1", line):
                break
        else:
            sys.exit("onebit serve did not come up")
        threading.Thread(target=server.stderr.read, daemon=True).start()
        result = subprocess.run([
            str(pathlib.Path(sys.executable).with_name("schemathesis")), "run", address[1] + "/openapi.json", "--checks", ",".join(CHECKS),
            "--mode", "all", "--max-examples", str(arguments.examples), "--seed", str(arguments.seed), "--workers", "2",
            "--request-timeout", "20", "--continue-on-failure", "--no-color", "--suppress-health-check", "all"], cwd=folder)
        metrics = urllib.request.urlopen(address[1] + "/metrics").read().decode()
        requests = re.findall(r'^onebit_requests_total\{route="([^"]*)",status="(\d+)"\} (\d+)', metrics, re.M)
        total = sum(int(count) for _, _, count in requests)
        failed = sum(int(count) for _, status, count in requests if int(status) >= 500 and status != "503")
        print(f"{total} requests, {failed} with a status of 500 and above; " + ", ".join(
            f"{sum(int(count) for _, status, count in requests if status[0] == kind)} of {kind}xx" for kind in "245"))
        is_good = result.returncode == 0 and failed == 0 and server.poll() is None
    finally:
        server.terminate()
    if server.wait(timeout=40) != 0:
        print("the server did not end by SIGTERM")
        is_good = False
    sys.exit(0 if is_good else 1)


with tempfile.TemporaryDirectory() as name:
    main(pathlib.Path(name))
