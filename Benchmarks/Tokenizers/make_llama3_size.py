"""Writes a tokenizer.json as large as LLaMA 3's: 128,000 tokens, every merge that leads to one of them, 256 special tokens.

    python3 make_llama3_size.py SOURCE OUTPUT [--merges strings|pairs] [--tokens 128000]

SOURCE is the tokenizer.json (or .json.gz) of a byte-level BPE model with at least as many tokens, Qwen2's for example.
LLaMA 3 came from ranked tokens without merges, so its converter took as merges all the ways to cut a token in two tokens, in
order of the token's rank: 280,147 of them. This does the same. `--merges` says how they are written: "a b", as files were
written until 2024 (9 MB), or ["a", "b"], as since (17 MB). The result lies in OUTPUT/tokenizer.json, indented as such files are.
"""
import argparse
import gzip
import json
import pathlib

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def merges_of(vocabulary):
    """All (left, right) whose product is a token, by the product's id, then left's, then right's."""
    merges = []
    for token, rank in vocabulary.items():
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        known = [cut for cut in cuts if cut[0] in vocabulary and cut[1] in vocabulary]
        merges += [(rank, vocabulary[left], vocabulary[right], left, right) for left, right in known]
    return [(left, right) for _, _, _, left, right in sorted(merges)]


parser = argparse.ArgumentParser()
parser.add_argument("source", type=pathlib.Path)
parser.add_argument("output", type=pathlib.Path)
parser.add_argument("--merges", choices=["strings", "pairs"], default="pairs")
parser.add_argument("--tokens", type=int, default=128_000)
arguments = parser.parse_args()

opened = gzip.open if arguments.source.suffix == ".gz" else open
with opened(arguments.source, "rt", encoding="utf-8") as file:
    ids = json.load(file)["model"]["vocab"]
vocabulary = {token: id for token, id in sorted(ids.items(), key=lambda entry: entry[1]) if id < arguments.tokens}
merges = merges_of(vocabulary)

names = ["<|begin_of_text|>", "<|end_of_text|>"] + [f"<|reserved_special_token_{index}|>" for index in range(254)]
flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
begin = {"id": names[0], "ids": [arguments.tokens], "tokens": [names[0]]}
template = [{"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
tokenizer = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{"id": arguments.tokens + index, "content": name, **flags} for index, name in enumerate(names)],
    "normalizer": None,
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False},
            byte_level,
        ],
    },
    "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template,
                       "special_tokens": {names[0]: begin}},
    "decoder": byte_level,
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
        "vocab": vocabulary,
        "merges": [" ".join(merge) for merge in merges] if arguments.merges == "strings" else merges,
    },
}
arguments.output.mkdir(parents=True, exist_ok=True)
target = arguments.output / "tokenizer.json"
target.write_text(json.dumps(tokenizer, indent=2, ensure_ascii=False), encoding="utf-8")
print(f"{target}: {len(vocabulary):,} tokens, {len(merges):,} merges, {target.stat().st_size:,} bytes")
