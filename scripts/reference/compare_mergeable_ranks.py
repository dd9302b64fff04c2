#!/usr/bin/env python3
"""Holds `onebit tokenize` against tiktoken and mistral-common, on the tokenizers that models come with.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tiktoken==0.14.0 mistral-common==1.13.1
    compare_mergeable_ranks.py .build/release/onebit DIRECTORY TEXT… [--random COUNT] [--seed SEED]

DIRECTORY holds LLaMA 3's `tokenizer.model` (PyPI's llama-models 0.3.0 has it), or a `tekken.json` (mistral-common brings two as
data). Each TEXT is encoded whole, then as many made-up texts as COUNT says, in one: white space, letters of every case, marks,
characters of all of Unicode, special tokens and pieces of them. Prints the first ids that differ; exit code 1 if any do.

Characters are those that Python knows: Swift's tables may be newer than the judges', for which a letter of Unicode 17 is none.
"""

import argparse
import base64
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

import tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Of llama_models/llama3/tokenizer.py.
LLAMA3_NAMED = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
    "<|python_tag|>", "<|image|>",
]


def llama3(path):
    """What encodes, and the special tokens."""
    lines = path.read_text().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)}
    names = LLAMA3_NAMED + [f"<|reserved_special_token_{index}|>" for index in range(2, 246)]
    special = {token: len(ranks) + index for index, token in enumerate(names)}
    encoding = tiktoken.Encoding("llama3", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens=special)
    return lambda text: encoding.encode(text, allowed_special="all"), names


def tekken(path):
    tokenizer = Tekkenizer.from_file(path)
    names = [tokenizer.id_to_piece(id) for id in range(tokenizer.num_special_tokens)]
    ids = {name: id for id, name in enumerate(names)}
    special = re.compile("(" + "|".join(map(re.escape, names)) + ")")

    def encode(text):
        # mistral-common finds no special tokens in a text.
        found = []
        for part in special.split(text):
            found += [ids[part]] if part in ids else tokenizer.encode(part, bos=False, eos=False)
        return found

    return encode, names


def made_up(random, special):
    def scalar(limit):
        while True:
            character = chr(random.randrange(limit))
            if unicodedata.category(character) not in ("Cs", "Cn", "Co"):
                return character

    pieces = [
        lambda: scalar(0x80), lambda: scalar(0x3000), lambda: scalar(0x10000), lambda: scalar(0x110000),
        lambda: random.choice(" \n\r\t\u00a0\u3000\u0085") * random.randrange(1, 5),
        lambda: random.choice(["'s", "'LL", "\u017f", "ǅ", "ʰ", "e\u0301", "\u0301", "日本", "Д", "1234", "/\n", "👩\u200d💻"]),
        lambda: random.choice(special), lambda: random.choice(special)[:random.randrange(1, 9)],
    ]
    weights = [random.random() for _ in pieces]
    return "".join(random.choices(pieces, weights)[0]() for _ in range(random.randrange(1, 40)))


parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("directory", type=pathlib.Path)
parser.add_argument("texts", type=pathlib.Path, nargs="*")
parser.add_argument("--random", type=int, default=20000)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

model = arguments.directory / "tokenizer.model"
encode, special = llama3(model) if model.exists() else tekken(arguments.directory / "tekken.json")
generator = random.Random(arguments.seed)
cases = [(text.name, text.read_bytes().decode()) for text in arguments.texts]
cases.append(("made up", "".join(made_up(generator, special) for _ in range(arguments.random))))
differs = False
for name, text in cases:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        command = [arguments.program, "tokenize", arguments.directory, "--file", file.name, "--no-special-tokens"]
        output = subprocess.run([*command, "--ids"], check=True, capture_output=True, text=True).stdout
    found, expected = list(map(int, output.split())), encode(text)
    place = next((index for index, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]), None)
    differs |= found != expected
    print(f"{name}: {len(text.encode())} bytes, {len(expected)} ids", "equal" if found == expected else "DIFFERENT")
    if place is not None:
        print(f"  at {place}: {found[place:place + 8]}, expected {expected[place:place + 8]}")
sys.exit(differs)
