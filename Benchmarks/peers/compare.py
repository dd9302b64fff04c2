#!/usr/bin/env python3
"""`onebit bench` and llama.cpp on random models of one shape, in turn, as a Markdown table.

    Benchmarks/peers/run.sh --shape llama-7b --threads 2 --pp 512 --tg 128      # makes the environment, then runs this
    compare.py --variant "" --variant "--input-bits 16"                          # more than one way to run ours
    compare.py --batch 1,2,4,8 --depth 0,2048                                    # in company, and deep in a context
    compare.py --shape DIRECTORY/OF/A/LLAMA --types F16                          # a dense or packed model of our own

With a directory as --shape, ours runs that model and llama.cpp a random one of its shape.

A round measures every program once, each in a process of its own, so that a machine that gets slower or faster does so
for all of them; a figure is the median over the rounds of the mean of a run's repetitions. Ratios are ours ÷ theirs,
above 1 where ours is faster. Every run's JSON goes to --json-lines.

Each run's record tells how much of the machine other processes took meanwhile (`others_share`). Threads that wait for
each other at every layer lose more than that share, so runs above 5 % are named on standard error; --wait lets every
run begin in a quiet moment.
"""

import argparse
import json
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
import time

import llamacpp

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
QUIET = 0.05  # of the machine, taken by others


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure_onebit(arguments, variant):
    """One run of `onebit bench`, with the keys that a llama.cpp record has. All that is known about ours is here."""
    model = ["--shape", arguments.shape] if arguments.shape in llamacpp.SHAPES else [arguments.shape]
    command = [arguments.onebit, "bench", *model, "--threads", arguments.threads, *sizes(arguments), "--json"]
    command += shlex.split(variant)
    finished = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if finished.returncode != 0:
        say(f"onebit bench failed: {finished.stderr.strip()}")
        return None
    record = json.loads(finished.stdout)
    bandwidth = record.pop("read_bandwidth")  # the memory's; below it is a test's, as in a llama.cpp record
    for result in record["results"]:
        if result["test"] == "tg" and result["sequences"] == 1 and result["depth"] == 0:
            result["read_bandwidth"] = record["bytes_per_token"] * result["tokens_per_second"]
    bits = 1.0 if record["kind"] == "packed" else 16.0
    return {"engine": "onebit", "type": variant, "bits_per_weight": bits, "memory_bandwidth": bandwidth, **record}


def sizes(arguments):
    """The options of the tests, which both programs know."""
    batch, depth = (",".join(map(str, numbers)) for numbers in (arguments.batch, arguments.depth))
    options = ["--pp", arguments.pp, "--tg", arguments.tg, "--batch", batch, "--depth", depth]
    return options + ["--repetitions", arguments.repetitions]


def has_bench(onebit):
    """Whether the binary is there and knows `bench`."""
    if not onebit.exists():
        say(f"Ours is left out: there is no {onebit}.")
        return False
    help_text = subprocess.run([onebit, "bench", "--help"], capture_output=True, text=True).stdout
    if "--shape" not in help_text:
        say(f"Ours is left out: {onebit} has no `bench --shape` yet.")
        return False
    return True


def busy_seconds():
    """Processor time that the machine has spent since it started, with what its host took, all processors together."""
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(
        int, pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")


def share_of_others(work):
    """What `work` returns, and the share of the machine that processes other than its children's took meanwhile."""

    def times():
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.monotonic(), busy_seconds() - own.ru_utime - own.ru_stime

    (begin, busy), result, (end, busy_then) = times(), work(), times()
    return result, min(1, max(0, busy_then - busy) / (end - begin) / os.cpu_count())


def wait_for_quiet(seconds):
    """Until others take less than 5 % of the machine, `seconds` at most."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and share_of_others(lambda: time.sleep(3))[1] > QUIET:
        pass


def run_llamacpp(arguments, verb, kinds):
    command = [sys.executable, HERE / "llamacpp.py", verb, "--shape", arguments.shape, "--types", ",".join(kinds)]
    command += ["--work", arguments.work, "--threads", arguments.threads, *sizes(arguments)]
    output = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def medians(records):
    """By name of the test: tokens per second, and bytes per second read where the record has it."""
    names = [result["name"] for result in records[0]["results"]]
    found = {}
    for name in names:
        results = [result for record in records for result in record["results"] if result["name"] == name]
        bandwidths = [result["read_bandwidth"] for result in results if result.get("read_bandwidth")]
        found[name] = {
            "rate": statistics.median(result["tokens_per_second"] for result in results),
            "low": min(result["tokens_per_second"] for result in results),
            "high": max(result["tokens_per_second"] for result in results),
            "bandwidth": statistics.median(bandwidths) if bandwidths else None,
        }
    return found


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def tables(runs):
    """`runs`: label → the records of its rounds. Ours come first and are what the others are compared with."""
    figures = {label: medians(records) for label, records in runs.items()}
    ours = [label for label, records in runs.items() if records[0]["engine"] == "onebit"]
    tests = list(next(iter(figures.values())))
    header = ["", "bits per weight", "bits per input"]
    header += [f"{test} tokens/s (lowest to highest)" for test in tests] + ["GB/s read", "of reading"]
    rows = []
    for label, records in runs.items():
        found = figures[label]
        cells = [label, f"{records[0]['bits_per_weight']:.5g}", str(records[0].get("input_bits", ""))]
        for test in tests:
            cells.append(f"{found[test]['rate']:.2f} ({found[test]['low']:.2f} to {found[test]['high']:.2f})")
        bandwidths = [found[test]["bandwidth"] for test in tests if found[test]["bandwidth"]]
        cells.append(f"{bandwidths[-1] / 1e9:.2f}" if bandwidths else "")
        shares = [record["bandwidth_share"] for record in records if record.get("bandwidth_share")]
        cells.append(f"{statistics.median(shares):.2f}" if shares else "")
        rows.append(cells)
    text = markdown(header, rows)
    if ours:
        header = ["ours ÷ theirs"] + [f"{label}: {test}" for label in ours for test in tests]
        rows = []
        for label in (label for label in figures if label not in ours):
            ratios = [figures[mine][test]["rate"] / figures[label][test]["rate"] for mine in ours for test in tests]
            rows.append([label] + [f"{ratio:.2f}" for ratio in ratios])
        text += "\n\n" + markdown(header, rows)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onebit", type=pathlib.Path, default=REPOSITORY / ".build/release/onebit")
    parser.add_argument("--variant", action="append", help="more options for `onebit bench`, a row each")
    shapes = ", ".join(llamacpp.SHAPES)
    parser.add_argument("--shape", default="llama-7b", help=f"{shapes}, or a directory of a LLaMA (llama-7b)")
    parser.add_argument("--types", default=llamacpp.DEFAULT_TYPES, help=f"llama.cpp's ({llamacpp.DEFAULT_TYPES})")
    parser.add_argument("--work", type=pathlib.Path, default=REPOSITORY / ".build-peers", help="where the models go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pp", type=int, default=512)
    parser.add_argument("--tg", type=int, default=128)
    parser.add_argument("--batch", type=llamacpp.numbers, default=[1], help="sequences side by side (1)")
    parser.add_argument("--depth", type=llamacpp.numbers, default=[0], help="tokens in the context before (0)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="at most this, for a quiet machine")
    parser.add_argument("--json-lines", type=pathlib.Path, help="every run's record (WORK/compare-SHAPE.jsonl)")
    parser.add_argument("--delete", action="store_true", help="remove the models afterwards")
    arguments = parser.parse_args()

    kinds = run_llamacpp(arguments, "types", arguments.types.split(","))[0]["types"]
    run_llamacpp(arguments, "write", kinds)
    variants = arguments.variant or [""]
    if not has_bench(arguments.onebit):
        variants = []
    runs = {}
    name = pathlib.Path(arguments.shape).resolve().name
    json_lines = arguments.json_lines or arguments.work / f"compare-{name}.jsonl"
    with open(json_lines, "w") as lines:

        def run(label, measure):
            wait_for_quiet(arguments.wait)
            record, others = share_of_others(measure)
            if record is None:
                return
            runs.setdefault(label, []).append(record)
            print(json.dumps({"round": number, "others_share": others, **record}), file=lines, flush=True)
            rates = ", ".join(f"{one['name']} {one['tokens_per_second']:.2f}" for one in record["results"])
            warning = f"; disturbed: others took {others:.0%} of the machine" if others > QUIET else ""
            say(f"  {label}: {rates}{warning}")

        for number in range(1, arguments.rounds + 1):
            say(f"round {number} of {arguments.rounds}")
            for variant in variants:
                run(f"onebit {variant}".strip(), lambda: measure_onebit(arguments, variant))
            for kind in kinds:
                run(f"llama.cpp {kind}", lambda: run_llamacpp(arguments, "bench", [kind])[0])

    theirs = next(records[0] for records in runs.values() if records[0]["engine"] == "llama.cpp")
    protocol = f"{arguments.threads} threads, {arguments.rounds} rounds of {arguments.repetitions} repetitions"
    print(f"{arguments.shape}, {protocol}; {theirs['version']}; {theirs['system']}\n")
    print(tables(runs))
    if arguments.delete:
        for kind in kinds:
            llamacpp.model_path(arguments.work, arguments.shape, llamacpp.Type[kind]).unlink()


main()
