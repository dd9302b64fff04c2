#!/usr/bin/env python3
"""An exported student in llama.cpp against the student in onebit: perplexity within 1 %, the same tokens, greedy text.

    check_gguf.py STUDENT STUDENT.gguf --text held-out.txt [--onebit .build/release/onebit] [--prompt "Once upon a time"]

Needs llama-cpp-python (Benchmarks/peers/run.sh --setup-only makes such an environment). Both tokenize the text by
themselves. Exit code 1 where perplexity or tokens differ. Texts part where two tokens are nearly as likely, since llama.cpp
rounds the layers' inputs to 8 bits; how far they agree is printed.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import llama_cpp
import numpy as np


def onebit(arguments, *words):
    return subprocess.run([arguments.onebit, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def perplexity(model, tokens, window, count):
    """exp of the mean negative log-likelihood, windows without overlap, the first token of each given (GPTQ's protocol)."""
    losses = []
    for first in range(0, count * window, window):
        part = tokens[first : first + window]
        model.reset()
        model.eval(part)
        logits = np.array(model.scores[: window - 1], np.float64)
        largest = logits.max(1, keepdims=True)
        total = largest[:, 0] + np.log(np.exp(logits - largest).sum(1))
        losses.append(total - logits[np.arange(window - 1), part[1:]])
    return float(np.exp(np.concatenate(losses).mean()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=pathlib.Path)
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--onebit", type=pathlib.Path, default=pathlib.Path(".build/release/onebit"))
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--tokens", type=int, default=100, help="to generate")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=6)
    arguments = parser.parse_args()

    model = llama_cpp.Llama(str(arguments.gguf), n_ctx=max(arguments.window, 512), logits_all=True, verbose=False)
    theirs = model.create_completion(arguments.prompt, max_tokens=arguments.tokens, temperature=0)["choices"][0]["text"]
    options = ("--prompt", arguments.prompt, "--temperature", 0, "--max-tokens", arguments.tokens)
    ours = onebit(arguments, "generate", arguments.student, *options).removeprefix(arguments.prompt)
    same = ours.strip() == theirs.strip()
    shared = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    print(f"greedy text of {arguments.tokens} tokens: " + ("equal" if same else f"equal for {shared} characters"))
    if not same:
        print(f"  onebit:    {ours[: shared + 40]!r}\n  llama.cpp: {theirs[: shared + 40]!r}")

    window = ("--window", arguments.window, "--limit-windows", arguments.windows)
    report = json.loads(
        onebit(arguments, "perplexity", arguments.student, "--text", arguments.text, *window, "--json", "--quiet")
    )
    tokens = model.tokenize(arguments.text.read_bytes(), add_bos=True, special=True)
    theirs = perplexity(model, tokens, arguments.window, arguments.windows)
    ratio = theirs / report["perplexity"]
    print(f"perplexity of {arguments.windows} windows: {report['perplexity']:.4f}, llama.cpp {theirs:.4f}, {ratio:.4f}")
    print(f"tokens of the text: {report['tokens_in_text']}, llama.cpp {len(tokens)}")
    sys.exit(0 if len(tokens) == report["tokens_in_text"] and abs(ratio - 1) <= 0.01 else 1)


main()
