#!/usr/bin/env python3
"""Holds lm-evaluation-harness, scoring a model over `onebit serve`, against `onebit evaluate`: the same accuracies, task by
task, from the same log-likelihoods, item by item.

    .venv/bin/pip install "lm_eval[api]==0.4.13"
    .venv/bin/python runs/check_lm_eval.py MODEL ../shared/data/eval --limit 200 [--strings] [--tasks arc_easy,piqa]

The harness's own task definitions, with the data sets from files in place of the hub. Prompts go as token ids, made by the
server's /tokenize, or with --strings as text: then without the items that are longer than the context, which the harness cuts
between tokens and whose text has others. Prints a table; exit code 1 if anything differs.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("data", type=pathlib.Path)
parser.add_argument("--limit", type=int, default=200)
parser.add_argument("--tasks", default="boolq,hellaswag,arc_challenge,arc_easy,piqa,winogrande")
parser.add_argument("--strings", action="store_true")
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
try:
    for line in server.stderr:
        if address := re.search(r"http://\S+/v1", line):
            break
    else:
        sys.exit("onebit serve did not come up")
    with urllib.request.urlopen(f"{address[0]}/models") as answer:
        context = json.load(answer)["data"][0]["max_model_len"]

    # The harness has a token generated behind each text, and sends one less than it was told: the whole context, whose last
    # token is scored and not read. A model that it runs itself, and ours, reads a whole context before the token that is scored.
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "items.jsonl"
        subprocess.run(
            [arguments.onebit, "evaluate", arguments.model, "--data", arguments.data, "--tasks", arguments.tasks, "--limit",
             str(arguments.limit), "--bos", "none", "--context", str(context - 1), "--items", file, "--quiet"],
            check=True, stdout=subprocess.DEVNULL)
        items = [json.loads(line) for line in file.open()]
    chosen = {
        task: [number for number, item in enumerate(item for item in items if item["task"] == task)
               if not (arguments.strings and item["truncated"])]
        for task in tasks}

    results = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "base_url": f"{address[0]}/completions", "model": "served", "max_length": context + 1,
            "tokenized_requests": not arguments.strings, "num_concurrent": 4, "batch_size": 8,
        },
        tasks=tasks, samples=chosen, bootstrap_iters=0)
finally:
    server.terminate()
    server.wait()

differs = False
for task in tasks:
    ours = [item for item in items if item["task"] == task]
    theirs = {sample["doc_id"]: sample["filtered_resps"] for sample in results["samples"][task]}
    assert sorted(theirs) == chosen[task]
    distance = max(
        abs(value - response[0])
        for number in chosen[task] for value, response in zip(ours[number]["log_likelihoods"], theirs[number], strict=True))
    for metric in ("acc", "acc_norm"):
        accuracy = results["results"][task].get(f"{metric},none")
        if accuracy is None:
            continue
        value = sum(ours[number][metric] for number in chosen[task]) / len(chosen[task])
        equal = abs(value - accuracy) < 1e-9 and distance < 1e-6
        differs |= not equal
        print(
            f"{task:14} {metric:9} {len(chosen[task])} items   harness over HTTP {accuracy:.4f}   onebit evaluate {value:.4f}   "
            f"log-likelihoods within {distance:.1e}  {'' if equal else 'DIFFERS'}")
sys.exit(1 if differs else 0)
