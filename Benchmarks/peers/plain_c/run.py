#!/usr/bin/env python3
"""Speed of small models in plain C, beside `onebit generate`, in turn.

Compiles llama.c twice (`cc -O3`, `cc -Ofast -march=native`), checks that both give the reference's greedy tokens of
stories260K, then measures in rounds, every program once in each, and prints a Markdown table of medians. The last
column tells what a quiet machine would give: the same tokens over the time that the program had a processor.

    Benchmarks/peers/plain_c/run.py                         # the two models below, plain C alone
    Benchmarks/peers/plain_c/run.py --onebit .build/release/onebit MODEL=PACKED

MODEL=PACKED names a model that plain C runs and the packed directory that `onebit` runs; a packed model decodes other
tokens, of the same shape and number.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
BUILDS = {"cc -O3": "cc -O3", "cc -Ofast -march=native": "cc -Ofast -march=native"}
WARNINGS = "-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra"


def compile_all(folder):
    programs = {}
    for number, (name, command) in enumerate(BUILDS.items()):
        program = pathlib.Path(folder) / f"llama{number}"
        subprocess.run(shlex.split(f"{command} {WARNINGS}") + [HERE / "llama.c", "-o", program, "-lm"], check=True)
        programs[name] = program
    return programs


def decode(program, model, prompt, tokens, *options):
    command = [program, model, "--prompt", ",".join(map(str, prompt)), "--tokens", str(tokens), *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def check(programs, shared):
    """Every greedy continuation of the reference, token by token: proof that the yardstick computes a LLaMA."""
    reference = shared / "data/reference/stories260K/greedy.json"
    if not reference.exists():
        print(f"Not checked: there is no {reference}.", file=sys.stderr)
        return
    items = json.loads(reference.read_text())["items"]
    for name, program in programs.items():
        for item in items:
            prompt, expected = item["prompt_ids"], item["output_ids"]
            tokens = len(prompt) + len(expected) - 1
            options = ("--seconds", "0", "--print")
            found = decode(program, shared / "models/stories260K", prompt, tokens, *options)["output_ids"]
            if found != expected:
                sys.exit(f"{name}: {item['prompt']!r} goes on with {found}, the reference with {expected}")
    print(f"Checked: {len(items)} greedy texts of stories260K equal the reference, in every build.", file=sys.stderr)


def first_token(model):
    return json.loads((model / "config.json").read_text())["bos_token_id"]


def run_onebit(binary, packed, tokens):
    """Tokens per second of `onebit generate` from its JSON; it stops where the model ends its text."""
    command = [binary, "generate", packed, "--prompt", "Once upon a time", "--greedy", "--json"]
    command += ["--max-tokens", str(tokens)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        print(f"Skipped: onebit generate {packed}: {finished.stderr.strip()}", file=sys.stderr)
        return None
    return json.loads(finished.stdout)["tokens_per_second"]


def main():
    shared = REPOSITORY.parent / "shared"
    if not shared.exists():
        shared = pathlib.Path("/work/shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL[=PACKED]", help="stories260K and TinyTeacher by default")
    parser.add_argument("--onebit", type=pathlib.Path, help="the binary that runs the packed models")
    parser.add_argument("--shared", type=pathlib.Path, default=shared, help="where models/ and data/ are")
    parser.add_argument("--tokens", type=int, default=500, help="positions of a pass, the model's context at most")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    models = arguments.models or [
        str(arguments.shared / "models/stories260K"),
        str(REPOSITORY / "Examples/TinyTeacher/model"),
    ]

    with tempfile.TemporaryDirectory() as folder:
        programs = compile_all(folder)
        check(programs, arguments.shared)
        rates, processor = {}, {}
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
            for pair in models:
                model, _, packed = pair.partition("=")
                model = pathlib.Path(model)
                for name, program in programs.items():
                    result = decode(program, model, [first_token(model)], arguments.tokens, "--seconds", "2")
                    rates.setdefault((model, name), []).append(result["tokens_per_second"])
                    processor.setdefault((model, name), []).append(result["tokens_per_processor_second"])
                if packed and arguments.onebit:
                    rate = run_onebit(arguments.onebit, packed, arguments.tokens)
                    if rate is not None:
                        rates.setdefault((model, "onebit, packed"), []).append(rate)

    header = ["model", "program", "tokens per second", "lowest to highest", "per second of the processor"]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for (model, name), values in rates.items():
        label = model.parent.name if model.name == "model" else model.name
        median, low, high = statistics.median(values), min(values), max(values)
        pure = f"{statistics.median(processor[model, name]):,.0f}" if (model, name) in processor else ""
        print(f"| {label} | {name} | {median:,.0f} | {low:,.0f} to {high:,.0f} | {pure} |")


main()
