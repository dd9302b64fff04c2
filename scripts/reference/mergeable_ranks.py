#!/usr/bin/env python3
"""Encodes and decodes with tiktoken and mistral-common, for TokenizationTests to compare with.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tiktoken==0.14.0 mistral-common==1.13.1 regex
    /tmp/venv/bin/python scripts/reference/mergeable_ranks.py > Tests/TokenizationTests/Reference/mergeable_ranks.json

The vocabulary is trained here, by tiktoken's own trainer, on the text below, with some tokens at its end that no merges give:
only a word that is such a token whole becomes one. `tokens` are its byte strings in base 64, by rank. Every tokenizer made of it
has `cases`, texts and their ids, and `decoded`, ids and their text. In the cases of `tiktoken` special tokens count; mistral-common
finds none in a text.
"""

import base64
import json
import pathlib
import random
import tempfile

import tiktoken
from mistral_common.tokens.tokenizers.tekken import SpecialTokenPolicy, Tekkenizer
from tiktoken._educational import bpe_train

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TRAINING = """\
The tokenizer reads a line, and the line is a token and its rank. Tokens are bytes; the rank says which of them merge first.
There is no list of merges: whatever two neighbors make together, if it is a token, may merge, and the lowest rank goes first.
When a word is a token it is not merged at all. That's all there is to it, and it's what they'll do in 2024, 2025 and 2026.
func encode(_ text: String) -> [Int] {\n    return merge(text.utf8)\n}\nlet theTokenizer = makeTokenizer(ofVocabulary: theVocabulary)
Die Wörter über Bäche und Straßen; größere Wörter, kleinere Bäche. Où est le café? Le café est là, près de l'été.
Слово за слово, слово и слова. 日本語の単語、日本語の言葉。 안녕하세요 👩‍💻👩‍💻 👍🏽👍🏽
"""
UNREACHABLE = ["xyzzy", " unreachable", "\n\n\n\n\n\n", "Zürich", "日本日本"]

TEXTS = [
    "", " ", "a", "The tokenizer's tokens", "there IS no LIST", "it's IT'S they'LL we'Ve a'b ''s", "xyzzy xyzzyx  xyzzy",
    " unreachable unreachable", "\n\n\n\n\n\n", "\n\n\n\n\n\n\n", "Zürich, Zürichs Bäche", "日本日本 日本語日本語", "  two  spaces  ",
    "tab\tand\r\nline\r\n\r\n  end  \n ", "2 20 202 2024 20245 ½ ² Ⅷ ٣٤٥", "camelCaseAndPascalCase XMLHttpRequest aB Ab ABc aBC",
    "ǅungla ǅUNGLA ʰa Aʰ ªº", "e\u0301 E\u0301E \u0301E \u0301\u0301EX .\u0301EX \u0301", "a/b//c /\n/ !/\r\n/x ?/", "مرحبا بالعالم שלום हिन्दी ไทย",
    "👩‍💻 👍🏽 🇩🇪", "\u00a0non\u00a0breaking\u3000wide\u2028line\u0085next\u000bvertical\u000c", "\ufffd\u0000\u0001\ufeff\U0010ffff", "ſ's 'ſ K",
    "the" * 50, "ab" * 60 + " " * 70, "(merge) {rank} [token]; <token> \"line\" -> it's!!!\n\n", "Слово СЛОВО словоСлово",
]
SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<|python_tag|>",
]
SPECIAL_TEXTS = [
    "<|begin_of_text|>", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nThe line<|eot_id|>", "a <|eot_id|> b <|eot_id",
    "<|eot_id|><|eot_id|>|> <|unknown|> <|EOT_ID|>", "é<|end_of_text|>日本\n",
]


def made_up(random):
    alphabet = " \n\t'.,/aAbBeEsStT日é\u0301\u0308ßÉǅʰªСлово2½👩\u200d💻\u00a0<|>"
    return "".join(random.choice(alphabet) for _ in range(random.randrange(1, 40)))


random = random.Random(12)
texts = TEXTS + [made_up(random) for _ in range(60)]
ranks = bpe_train(TRAINING, 256 + 180, TEKKEN, visualise=None)
for token in UNREACHABLE:
    ranks[token.encode()] = len(ranks)
tokens = [token for token, _ in sorted(ranks.items(), key=lambda item: item[1])]
assert tokens[:256] == [bytes([byte]) for byte in range(256)] and len(set(tokens)) == len(tokens)


def decodings(size, decode):
    found = []
    for _ in range(40):
        ids = [random.randrange(size) for _ in range(random.randrange(1, 12))]
        found.append({"ids": ids, "text": decode(ids)})
    return found


def with_tiktoken():
    encoding = tiktoken.Encoding(
        "reference", pat_str=LLAMA3, mergeable_ranks=ranks,
        special_tokens={token: len(ranks) + index for index, token in enumerate(SPECIAL)})
    return {
        "special_tokens": SPECIAL,
        "cases": [{"text": text, "ids": encoding.encode(text, allowed_special="all")} for text in texts + SPECIAL_TEXTS],
        "decoded": decodings(len(ranks) + len(SPECIAL), encoding.decode),
    }


def with_tekken(**members):
    """The file without its vocabulary, which is `tokens`, and what mistral-common makes of the whole."""
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": token.decode(errors="replace")}
        for rank, token in enumerate(tokens)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "tekken.json"
        path.write_text(json.dumps({**members, "vocab": vocabulary}))
        tokenizer = Tekkenizer.from_file(path)
    return {
        "file": json.dumps(members),
        "size": tokenizer.n_words,
        "begin": tokenizer.bos_id,
        "end": tokenizer.eos_id,
        "special_tokens": [tokenizer.id_to_piece(id) for id in range(tokenizer.num_special_tokens)],
        "cases": [{"text": text, "ids": tokenizer.encode(text, bos=False, eos=False)} for text in texts],
        "decoded": decodings(tokenizer.n_words, lambda ids: tokenizer.decode(ids, SpecialTokenPolicy.KEEP)),
    }


def configuration(pattern, version, special, count):
    return {
        "pattern": pattern, "num_vocab_tokens": len(tokens), "default_vocab_size": special + count,
        "default_num_special_tokens": special, "version": version,
    }


listed = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[THINK]", "[/THINK]"]
print(
    json.dumps(
        {
            "tokens": [base64.b64encode(token).decode() for token in tokens],
            "tiktoken": with_tiktoken(),
            "tekken": [
                # Special tokens that are not listed, some without a name, and a vocabulary that is cut off.
                with_tekken(config=configuration(TEKKEN, "v3", 24, len(tokens) - 60)),
                with_tekken(
                    config=configuration(TEKKEN, "v7", 20, len(tokens)), special_tokens=None, image={"image_patch_size": 16, "max_image_size": 1024}),
                # Another expression, and special tokens as later versions list them.
                with_tekken(
                    config=configuration(r"\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}]+", "v13", 9, len(tokens)),
                    special_tokens=[
                        {"rank": rank, "token_str": token, "is_control": rank != 5} for rank, token in enumerate(listed)
                    ]),
            ],
        },
        ensure_ascii=True, separators=(",", ":")))
