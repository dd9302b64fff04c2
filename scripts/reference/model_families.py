#!/usr/bin/env python3
"""Dumps logits and hidden states of model variants that no tiny model under ../shared has, for ConformanceTests.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch==2.11.0 transformers==5.23.0
    /tmp/venv/bin/python scripts/reference/model_families.py > Tests/ConformanceTests/Reference/model_families.json

Weights come from a formula that the test knows too: element i of the t-th tensor, in the order of their names, is
0.3 * (((7919 i + 104729 t + 13) mod 2003) / 2003 - 0.5), plus 1 for the weights of norms.
"""

import json
import sys

import torch
import transformers
from transformers.masking_utils import eager_mask

SIZES = dict(vocab_size=64, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=32)
ROTARY = dict(SIZES, model_type="llama", intermediate_size=24, num_key_value_heads=2, tie_word_embeddings=False)
OPT = dict(SIZES, model_type="opt", ffn_dim=24, word_embed_proj_dim=16)
VARIANTS = {
    "LLaMA with biases": dict(ROTARY, attention_bias=True, mlp_bias=True),
    "LLaMA, linear scaling": dict(ROTARY, rope_theta=10000.0, rope_scaling=dict(type="linear", factor=2.5)),
    "LLaMA, dynamic scaling": dict(ROTARY, rope_theta=10000.0, rope_scaling=dict(type="dynamic", factor=3.0)),
    "LLaMA, YaRN": dict(
        ROTARY, rope_theta=100.0, head_dim=16, rope_scaling=dict(
            rope_type="yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=8, beta_slow=0.5)),
    "LLaMA, YaRN with a factor of the scores, unrounded": dict(
        ROTARY, rope_theta=100.0, head_dim=16, original_max_position_embeddings=96, rope_scaling=dict(
            rope_type="yarn", factor=8.0, mscale=0.7, mscale_all_dim=1.2, truncate=False)),
    "Qwen2, LongRoPE": dict(
        ROTARY, model_type="qwen2", rope_theta=10000.0, rope_scaling=dict(
            rope_type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 6.0],
            original_max_position_embeddings=24)),
    "Qwen2, LongRoPE beyond the original context": dict(
        ROTARY, model_type="qwen2", rope_theta=10000.0, rope_scaling=dict(
            rope_type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 6.0],
            original_max_position_embeddings=16)),
    "Mistral with a window": dict(ROTARY, model_type="mistral", sliding_window=5),
    "Qwen2, windows from its second layer": dict(
        ROTARY, model_type="qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "Qwen3 with biases and a window": dict(
        ROTARY, model_type="qwen3", head_dim=6, attention_bias=True, use_sliding_window=True, sliding_window=4,
        max_window_layers=2),
    "SmolLM3": dict(
        ROTARY, model_type="smollm3", num_hidden_layers=5, rope_theta=5000000.0, pad_token_id=None),
    "SmolLM3 with windows where positions are not rotated": dict(
        ROTARY, model_type="smollm3", no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=4,
        pad_token_id=None),
    "OLMo 2": dict(ROTARY, model_type="olmo2"),
    "Phi-3 with a window": dict(ROTARY, model_type="phi3", sliding_window=5, pad_token_id=None),
    "Phi-4-mini": dict(
        ROTARY, model_type="phi3", hidden_size=32, partial_rotary_factor=0.5, original_max_position_embeddings=16,
        pad_token_id=None, tie_word_embeddings=True, rope_scaling=dict(
            type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 6.0])),
    "StableLM with biases": dict(
        ROTARY, model_type="stablelm", hidden_size=32, use_qkv_bias=True, partial_rotary_factor=0.25),
    "Gemma 3": dict(
        ROTARY, model_type="gemma3_text", head_dim=8, sliding_window=4, query_pre_attn_scalar=12, rope_theta=50000.0,
        rope_local_base_freq=100.0, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_scaling=dict(rope_type="linear", factor=2.0), bos_token_id=2, eos_token_id=1),
    "Gemma 2": dict(
        ROTARY, model_type="gemma2", head_dim=8, num_hidden_layers=4, sliding_window=4, query_pre_attn_scalar=12,
        attn_logit_softcapping=0.5, final_logit_softcapping=0.7, tie_word_embeddings=True, bos_token_id=2,
        eos_token_id=1),
    "Gemma 2 without caps, windows in its last layers": dict(
        ROTARY, model_type="gemma2", head_dim=8, sliding_window=6, query_pre_attn_scalar=3, attn_logit_softcapping=None,
        final_logit_softcapping=None, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        bos_token_id=2, eos_token_id=1),
    "Gemma 3 with capped logits": dict(
        ROTARY, model_type="gemma3_text", head_dim=8, sliding_window=4, query_pre_attn_scalar=12,
        final_logit_softcapping=0.7, attn_logit_softcapping=0.5, bos_token_id=2, eos_token_id=1),
    "Granite": dict(
        ROTARY, model_type="granite", embedding_multiplier=0.6, attention_multiplier=3.0, residual_multiplier=1.7,
        logits_scaling=0.5),
    "OPT without biases, a wide embedding": dict(OPT, enable_bias=False, word_embed_proj_dim=20),
    "OPT without a final norm": dict(OPT, _remove_final_layer_norm=True),
    "OPT with a head of its own": dict(OPT, tie_word_embeddings=False),
}


def fill(model):
    tied = {id(model.get_input_embeddings().weight)} if model.config.tie_word_embeddings else set()
    parameters = sorted((n, p) for n, p in model.named_parameters() if n != "lm_head.weight" or id(p) not in tied)
    for t, (name, parameter) in enumerate(parameters):
        index = torch.arange(parameter.numel(), dtype=torch.int64)
        values = 0.3 * (((7919 * index + 104729 * t + 13) % 2003).double() / 2003 - 0.5)
        if "norm" in name and name.endswith(".weight"):
            values += 1
        parameter.data = values.float().reshape(parameter.shape)


def rounding_attention(module, query, key, value, *arguments, **settings):
    """The family's own attention, over keys and values in half precision, as a cache of such keeps them."""
    attention = sys.modules[type(module).__module__].eager_attention_forward
    return attention(module, query, key.half().float(), value.half().float(), *arguments, **settings)


transformers.AttentionInterface.register("rounding", rounding_attention)
transformers.AttentionMaskInterface.register("rounding", eager_mask)


def numbers(tensor):
    return [float(f"{x:.8g}") for x in tensor.tolist()]


variants = []
for name, keys in VARIANTS.items():
    keys = dict(keys)
    config = transformers.AutoConfig.for_model(**json.loads(json.dumps(keys)))
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        fill(model)
        # Beyond the first context where the variant stretches it.
        length = 70 if "dynamic" in name else 20
        tokens = [(37 * i + 5) % 64 for i in range(length)]
        output = model(torch.tensor([tokens]), output_hidden_states=True)
        model.set_attn_implementation("rounding")
        rounded = model(torch.tensor([tokens])).logits[0, -1]
    # Of the last token; what enters each block, without what the head reads.
    states = torch.stack(output.hidden_states[:-1])[:, 0, -1]
    variants.append(dict(
        name=name, config=keys, tokens=tokens, logits=numbers(output.logits[0, -1]), states=numbers(states.flatten()),
        logits_of_half_precision_cache=numbers(rounded)))
print(json.dumps(dict(transformers=transformers.__version__, variants=variants), indent=1))
