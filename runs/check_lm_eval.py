#!/usr/bin/env python3
"""Holds lm-evaluation-harness, scoring a model over `onebit serve`, against `onebit evaluate`: the same accuracies, task by task.

    .venv/bin/pip install "lm_eval[api]==0.4.13"
    .venv/bin/python runs/check_lm_eval.py MODEL ../shared/data/eval --limit 200 [--strings] [--tasks arc_easy,piqa]

The harness's own task definitions, with the data sets from files in place of the hub. Prompts go as token ids, made by the
server's /tokenize, or with --strings as text. Prints a table; exit code 1 if anything differs.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("data", type=pathlib.Path)
parser.add_argument("--limit", type=int, default=200)
parser.add_argument("--tasks", default="boolq,hellaswag,arc_challenge,arc_easy,piqa,winogrande")
parser.add_argument("--strings", action="store_true")
parser.add_argument("--max-length", type=int, default=2048)
parser.add_argument("--onebit", default=".build/release/onebit")
arguments = parser.parse_args()
tasks = arguments.tasks.split(",")

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
import datasets  # noqa: E402

FILES = {
    "ARC-Easy": "arc_easy.jsonl", "ARC-Challenge": "arc_challenge.jsonl", "boolq": "boolq.jsonl.gz",
    "hellaswag": "hellaswag.jsonl.gz", "piqa": "piqa.jsonl", "winogrande": "winogrande.jsonl",
}


def load_dataset(path=None, name=None, **_):
    file = FILES[name] if name in FILES else next(file for key, file in FILES.items() if key in path)
    source = arguments.data / file
    opened = gzip.open(source, "rt") if file.endswith(".gz") else source.open()
    with opened as lines:
        rows = datasets.Dataset.from_list([json.loads(line) for line in lines])
    return datasets.DatasetDict({split: rows for split in ("train", "validation", "test")})


datasets.load_dataset = load_dataset
import lm_eval  # noqa: E402

server = subprocess.Popen(
    [arguments.onebit, "serve", arguments.model, "--port", "0", "--parallel", "8"], stderr=subprocess.PIPE, text=True)
for line in server.stderr:
    if address := re.search(r"http://\S+/v1", line):
        break
else:
    sys.exit("onebit serve did not come up")
try:
    results = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "base_url": f"{address[0]}/completions", "model": "served", "max_length": arguments.max_length,
            "tokenized_requests": not arguments.strings, "num_concurrent": 4, "batch_size": 8,
        },
        tasks=tasks, limit=arguments.limit, bootstrap_iters=0)["results"]
finally:
    server.terminate()
    server.wait()

report = json.loads(
    subprocess.run(
        [arguments.onebit, "evaluate", arguments.model, "--data", arguments.data, "--tasks", arguments.tasks, "--limit",
         str(arguments.limit), "--bos", "none", "--json", "--quiet"],
        check=True, capture_output=True, text=True).stdout)
ours = {task["task"]: task["metrics"] for task in report["models"][0]["tasks"]}

differs = False
for task in tasks:
    for metric in ("acc", "acc_norm"):
        theirs = results[task].get(f"{metric},none")
        if theirs is None:
            continue
        value = ours[task][metric]["value"] if isinstance(ours[task][metric], dict) else ours[task][metric]
        equal = abs(value - theirs) < 1e-9
        differs |= not equal
        print(f"{task:14} {metric:9} harness over HTTP {theirs:.4f}   onebit evaluate {value:.4f}  {'' if equal else 'DIFFERS'}")
sys.exit(1 if differs else 0)
