#!/usr/bin/env python3
"""TokenizerBenchmark and Hugging Face's `tokenizers`, on one thread each and in turn, as a Markdown table.

    swift build -c release --package-path Benchmarks --scratch-path .build-benchmarks --product TokenizerBenchmark
    pip install tokenizers==0.23.3
    tokenizers_python.py --benchmark .build-benchmarks/release/TokenizerBenchmark TOKENIZER… TEXT…

A round runs ours in a process of its own, then theirs here; figures are medians over the rounds. Both encode a whole file
in one call, theirs without computing offsets (`encode_batch_fast`), which ours does not compute either, and with its cache
of words filled from the second round on. Where the ids are not the same, the row says so.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402  (reads the environment)


def measure_ours(arguments):
    """{(tokenizer, text): (seconds to load, MB/s, checksum)}"""
    paths = [str(path) for path in arguments.paths]
    finished = subprocess.run([arguments.benchmark, "1", *paths], check=True, capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in finished.stdout.splitlines()[2:]]
    return {(row[0], row[3]): (float(row[2]), float(row[5]), row[6]) for row in rows}


def checksum(ids):
    value = 0
    for id in ids:
        value = (value * 31 + id) % 2**64
    return f"{value:x}"


def measure_theirs(directories, texts):
    results = {}
    tokenizer = None
    for directory in directories:
        del tokenizer  # freeing the one before is no part of loading
        start = time.perf_counter()
        tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        load = time.perf_counter() - start
        for path, text in texts.items():
            start = time.perf_counter()
            [encoding] = tokenizer.encode_batch_fast([text], add_special_tokens=False)
            speed = len(text.encode()) / 1e6 / (time.perf_counter() - start)
            results[directory.name, path.name] = (load, speed, checksum(encoding.ids))
    return results


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--benchmark", default=".build-benchmarks/release/TokenizerBenchmark")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("paths", type=pathlib.Path, nargs="+")
arguments = parser.parse_args()
directories = [path for path in arguments.paths if path.is_dir()]
# As they are: Python would turn line ends into its own.
texts = {path: path.read_bytes().decode() for path in arguments.paths if not path.is_dir()}

ours, theirs = [], []
for _ in range(arguments.rounds):
    ours.append(measure_ours(arguments))
    theirs.append(measure_theirs(directories, texts))

print(f"tokenizers {tokenizers.__version__}")
print("| tokenizer | text | loads in s | theirs | ratio | encodes MB/s | theirs | ratio | ids |")
print("|---|---|---:|---:|---:|---:|---:|---:|---|")
for key in theirs[0]:
    load, speed = (statistics.median(run[key][index] for run in ours) for index in (0, 1))
    their_load, their_speed = (statistics.median(run[key][index] for run in theirs) for index in (0, 1))
    same = "same" if {run[key][2] for run in ours + theirs} == {ours[0][key][2]} else "DIFFERENT"
    print(
        f"| {key[0]} | {key[1]} | {load:.3f} | {their_load:.3f} | {their_load / max(load, 0.001):.1f} "
        f"| {speed:.1f} | {their_speed:.1f} | {speed / their_speed:.1f} | {same} |"
    )
