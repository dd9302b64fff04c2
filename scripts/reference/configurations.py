#!/usr/bin/env python3
"""Writes configurations and what transformers makes of them, for ModelDescriptionTests to read.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install transformers==5.24.0 numpy
    python3 -m venv /tmp/venv4 && /tmp/venv4/bin/pip install transformers==4.46.3 numpy
    /tmp/venv4/bin/python scripts/reference/configurations.py old > /tmp/old.json
    /tmp/venv/bin/python scripts/reference/configurations.py /tmp/old.json \
        > Tests/ModelDescriptionTests/Reference/configurations.json

`old` prints the whole dictionaries that transformers 4 has of each family, which older files hold.
"""

import copy
import json
import sys

import transformers
from huggingface_hub import errors
from transformers import AutoConfig

StrictDataclassFieldValidationError = getattr(errors, "StrictDataclassFieldValidationError", Exception)

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "opt"]
SIZES = {"vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8}


def sizes(family):
    return {"model_type": family} | SIZES | ({"ffn_dim": 96} if family == "opt" else {"intermediate_size": 96})


def old():
    known = [family for family in FAMILIES if family in transformers.CONFIG_MAPPING]
    heads = {family: {} if family == "opt" else {"num_key_value_heads": 8} for family in known}
    return {family: AutoConfig.for_model(**sizes(family) | heads[family]).to_dict() for family in known}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LINEAR = {"type": "linear", "factor": 4.0}
FULL, SLIDING = "full_attention", "sliding_attention"
ROTARY = [
    {"num_key_value_heads": 2}, {"num_key_value_heads": None}, {"num_key_value_heads": 8, "head_dim": 16},
    {"num_key_value_heads": 8, "max_position_embeddings": 512}, {"rms_norm_eps": 1e-5}, {"tie_word_embeddings": True},
    {"rope_theta": 500000.0}, {"rope_scaling": None, "rope_theta": 1e6}, {"rope_scaling": LINEAR},
    {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 256},
    {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 128}, "max_position_embeddings": 1024},
    {"rope_scaling": LLAMA3, "original_max_position_embeddings": 64, "max_position_embeddings": 1024},
    {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 128}, "original_max_position_embeddings": 64},
    {"rope_scaling": LINEAR | {"type": "dynamic", "original_max_position_embeddings": 128}},
    {"rope_scaling": {"rope_type": "default", "factor": 1.0}}, {"rope_scaling": LINEAR | {"finetuned": True}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 250000.0}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 50000.0},
    {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0}},
    {"rope_scaling": {}, "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0}},
    {"bos_token_id": None, "eos_token_id": None}, {"eos_token_id": [2, 5]}, {"bos_token_id": 7, "eos_token_id": 9},
    {"temperature": 0.5, "do_sample": True, "use_cache": False, "pretraining_tp": 2, "torch_dtype": "float16"},
]
WINDOWS = [
    {"sliding_window": 8}, {"sliding_window": None}, {"use_sliding_window": False, "sliding_window": None},
    {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2},
    {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
    {"use_sliding_window": True, "max_window_layers": 1}, {"use_sliding_window": True},
    {"use_sliding_window": True, "sliding_window": 16, "layer_types": [FULL, SLIDING, FULL, SLIDING]},
    {"layer_types": [FULL] * 4}, {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 0},
]
VARIANTS = {
    "llama": ROTARY + [{"attention_bias": True, "mlp_bias": True}],
    "mistral": ROTARY + WINDOWS[:2],
    "qwen2": [{"num_key_value_heads": 8} | variant for variant in ROTARY + WINDOWS[1:]],
    "qwen3": [{"num_key_value_heads": 8} | variant for variant in ROTARY + WINDOWS[1:]],
    "opt": [
        {}, {"do_layer_norm_before": False, "word_embed_proj_dim": 32}, {"enable_bias": False}, {"eos_token_id": 5},
        {"word_embed_proj_dim": None}, {"tie_word_embeddings": False}, {"_remove_final_layer_norm": True},
        {"max_position_embeddings": 128},
    ],
}


def windows(config):
    """The window of each layer as the model's masks are made; None for all positions."""
    window = getattr(config, "sliding_window", None)
    if config.model_type == "mistral":
        return [window] * config.num_hidden_layers
    return [window if kind == SLIDING else None for kind in getattr(config, "layer_types", None) or [FULL] * 4]


def expected(given):
    config = AutoConfig.for_model(**copy.deepcopy(given))
    ends = config.eos_token_id
    result = {
        "heads": getattr(config, "num_key_value_heads", config.num_attention_heads),
        "head_size": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "positions": config.max_position_embeddings,
        "tied": config.tie_word_embeddings,
        "bos": config.bos_token_id,
        "eos": [] if ends is None else ends if isinstance(ends, list) else [ends],
        "windows": windows(config),
    }
    if given["model_type"] != "opt":
        rope = config.rope_parameters
        result["epsilon"] = config.rms_norm_eps
        result["rope"] = {
            "type": rope["rope_type"], "theta": rope["rope_theta"], "factor": rope.get("factor"),
            "original": rope.get("original_max_position_embeddings"),
        }
    return result


def main():
    if sys.argv[1] == "old":
        return old()
    cases = []
    for family in FAMILIES:
        base = sizes(family)
        for index, variant in enumerate(VARIANTS[family]):
            given = base | variant
            try:
                cases.append({"given": given, "expected": expected(given)})
            except StrictDataclassFieldValidationError:
                continue  # null where this version of transformers wants a number
            if index % 3 == 0:  # what transformers writes of it
                written = AutoConfig.for_model(**copy.deepcopy(given)).to_dict()
                cases.append({"given": written, "expected": expected(given)})
    for given in json.load(open(sys.argv[1])).values():
        cases.append({"given": given, "expected": expected(given)})
    return {"transformers": transformers.__version__, "cases": cases}


def dump(result):
    if sys.argv[1] == "old":
        return json.dumps(result)
    lines = [json.dumps(case) for case in result["cases"]]
    return '{"transformers": "%s", "cases": [\n%s\n]}' % (result["transformers"], ",\n".join(lines))


print(dump(main()))
