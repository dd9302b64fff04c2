"""Dumps the figures of perplexity_protocols.json: stories260K on the validation stories under each protocol of
`onebit perplexity`, with transformers for the logits and lm-evaluation-harness for its rolling windows.

    python scripts/reference/perplexity_protocols.py ../shared > Tests/ConformanceTests/Reference/perplexity_protocols.json

torch 2.11.0, transformers 5.23.0, lm_eval 0.4.13, Python 3.11; float32 on CPU, losses summed in float64.
"""

import json
import math
import random
import re
import sys

import torch
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import AutoModelForCausalLM, AutoTokenizer

shared = sys.argv[1]
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(f"{shared}/models/stories260K")
model = AutoModelForCausalLM.from_pretrained(f"{shared}/models/stories260K", dtype=torch.float32).eval()
with open(f"{shared}/data/corpus/valid.jsonl") as file:
    texts = [json.loads(line)["text"] for line in file]


@torch.no_grad()
def loss(context, scored):
    """-log P(scored | context), in nats."""
    tokens = context + scored
    log_probabilities = model(torch.tensor([tokens[:-1]])).logits[0].double().log_softmax(-1)
    return -sum(log_probabilities[i - 1, tokens[i]].item() for i in range(len(context), len(tokens)))


def figures(windows):
    """Windows are pairs of context and scored tokens; the standard error is that of the ratio estimator over windows."""
    losses = [loss(context, scored) for context, scored in windows]
    counts = [len(scored) for _, scored in windows]
    mean = sum(losses) / sum(counts)
    squares = sum((x - mean * n) ** 2 for x, n in zip(losses, counts))
    error = math.sqrt(len(losses) / (len(losses) - 1) * squares) / sum(counts)
    return sum(losses), {
        "perplexity": math.exp(mean),
        "standard_error": error * math.exp(mean),
        "windows": len(losses),
        "tokens_scored": sum(counts),
    }


def per_word_and_byte(total, texts):
    """As lm_eval.api.task.PerplexityTask counts and aggregates."""
    words = sum(len(re.split(r"\s+", text)) for text in texts)
    size = sum(len(text.encode("utf-8")) for text in texts)
    return {
        "word_perplexity": math.exp(total / words),
        "byte_perplexity": math.exp(total / size),
        "bits_per_byte": total / size / math.log(2),
    }


def separate(tokens, length):
    return [tokens[i : i + length] for i in range(0, len(tokens) - length + 1, length)]


def strided():
    """transformers' page on perplexity, but that every token counts the same in the mean."""
    tokens = tokenizer("\n\n".join(texts[:20])).input_ids
    windows, scored_before = [], 0
    for begin in range(0, len(tokens), 128):
        end = min(begin + 512, len(tokens))
        first = max(scored_before, begin + 1)
        windows.append((tokens[begin:first], tokens[first:end]))
        scored_before = end
        if end == len(tokens):
            break
    total, result = figures(windows)
    return result | per_word_and_byte(total, ["\n\n".join(texts[:20])])


def rolling():
    windows = []
    for text in texts[:20]:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        windows += map(make_disjoint_window, get_rolling_token_windows(tokens, tokenizer.bos_token_id, 64, 1))
    total, result = figures(windows)
    return result | per_word_and_byte(total, texts[:20])


def second_half():
    """llama.cpp's perplexity tool."""
    windows = []
    for window in separate(tokenizer("\n\n".join(texts[:20])).input_ids, 256):
        window[0] = tokenizer.bos_token_id
        windows.append((window[:129], window[129:]))
    return figures(windows)[1]


def drawn():
    """The C4 of OneBit's evaluation (datautils.get_c4)."""
    random.seed(0)
    windows = []
    for _ in range(16):
        while True:
            tokens = tokenizer(texts[random.randint(0, len(texts) - 1)]).input_ids
            if len(tokens) > 200:
                break
        first = random.randint(0, len(tokens) - 200 - 1)
        windows.append((tokens[first : first + 1], tokens[first + 1 : first + 200]))
    return figures(windows)[1]


json.dump(
    {"strided": strided(), "rolling": rolling(), "second_half": second_half(), "drawn": drawn()}, sys.stdout, indent=2)
print()
