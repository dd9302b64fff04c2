#!/usr/bin/env python3
"""Writes small GGUF files, and what other people's tools make of them, for the tests to read.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install gguf==0.19.0 torch==2.11.0 transformers==5.23.0 safetensors
    /tmp/venv/bin/python scripts/reference/gguf_files.py Tests
    /tmp/venv/bin/python scripts/reference/gguf_files.py blocks OUTPUT 4096   # random blocks of every type, in any number

* TensorFilesTests/Reference/blocks.gguf: random bytes as blocks of every quantized type, and blocks.safetensors: what
  `gguf.dequantize` makes of them in float32. It does not know Q1_0, which is spelled out here as ggml documents it.
* TensorFilesTests/Reference/values.gguf: metadata of every type; values-2.gguf: the same in version 2 of the format.
* TensorFilesTests/Reference/written.safetensors: what `gguf.quantize` makes of floats.
* OneBitRuntimeTests/Reference/X.gguf: random tiny models of the families, in the order of rows and under the names and keys
  that llama.cpp's convert_hf_to_gguf.py gives them, and X.safetensors: transformers' logits of the same weights, with keys
  and values in half precision, as the runtime's cache keeps them.
"""

import math
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

QUANTIZED = [Type[name] for name in (
    "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K TQ1_0 TQ2_0 Q1_0".split())]
# Offsets of the half-precision scales in a block: random ones would be NaN now and then.
SCALES = {
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "TQ1_0": (52,), "TQ2_0": (64,),
    "Q4_1": (0, 2), "Q5_1": (0, 2),
}


def dequantize(data, kind):
    if kind != Type.Q1_0:
        return gguf.dequantize(data, kind)
    blocks = data.reshape(-1, 18)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
    return np.where(bits == 1, scale, -scale).reshape(data.shape[0], -1)


def blocks(output, rows):
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(output / "blocks.gguf", "test")
    expected = {}
    for kind in QUANTIZED:
        size, width = gguf.GGML_QUANT_SIZES[kind]
        count = 512 // size
        data = random.integers(0, 256, (rows, count, width), dtype=np.uint8)
        for offset in SCALES.get(kind.name, (0,)):
            scale = data[:, :, offset : offset + 2].view(np.float16)
            scale[~np.isfinite(scale)] = 0.125
        data = data.reshape(rows, count * width)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = dequantize(data, kind).astype(np.float32).reshape(rows, 512)
    floats = random.standard_normal((rows, 8)).astype(np.float32)
    for name, values, kind in [
        ("F32", floats, Type.F32), ("F16", floats.astype(np.float16), Type.F16),
        ("BF16", gguf.quantize(floats, Type.BF16), Type.BF16),
    ]:
        writer.add_tensor(name, values, raw_dtype=kind)
        expected[name] = gguf.dequantize(values, kind).astype(np.float32).reshape(rows, 8)
    finish(writer)
    save_file(expected, output / "blocks.safetensors")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values(output):
    writer = gguf.GGUFWriter(output / "values.gguf", "test")
    writer.add_uint8("uint8", 255)
    writer.add_int8("int8", -128)
    writer.add_uint16("uint16", 65535)
    writer.add_int16("int16", -32768)
    writer.add_uint32("uint32", 2**32 - 1)
    writer.add_int32("int32", -(2**31))
    writer.add_uint64("uint64", 2**64 - 1)
    writer.add_int64("int64", -(2**63))
    writer.add_float32("float32", 0.1)
    writer.add_float64("float64", 0.1)
    writer.add_bool("true", True)
    writer.add_bool("false", False)
    writer.add_string("string", "é🙂")
    writer.add_array("strings", ["", "a", "▁b"])
    writer.add_array("integers", [1, -2, 3])
    writer.add_array("floats", [0.5, -1.5])
    writer.add_array("booleans", [True, False])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_custom_alignment(64)
    writer.add_tensor("a", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("b", np.arange(4, dtype=np.float32))
    finish(writer)
    data = (output / "values.gguf").read_bytes()
    (output / "values-2.gguf").write_bytes(data[:4] + (2).to_bytes(4, "little") + data[8:])


def written(output):
    random = np.random.default_rng(1)
    floats = random.standard_normal((4, 256)).astype(np.float32)
    floats[1] *= 1e-4
    floats[2, :32] = 0
    signs = np.where(random.random((4, 256)) < 0.5, -1, 1).astype(np.float32)
    signs *= np.array([0.5, 0.001, 3, 0], dtype=np.float16).astype(np.float32)[:, None]
    bits = np.packbits((signs >= 0).reshape(4, 2, 128), axis=-1, bitorder="little")
    scales = np.abs(signs[:, ::128]).astype(np.float16)[..., None].view(np.uint8)
    save_file({
        "floats": floats, "signs": signs, "F32": floats.view(np.uint8).reshape(-1),
        "F16": floats.astype(np.float16).view(np.uint8).reshape(-1),
        "BF16": gguf.quantize(floats, Type.BF16).view(np.uint8).reshape(-1),
        "Q8_0": gguf.quantize(floats, Type.Q8_0).reshape(-1),
        "Q1_0": np.concatenate([scales, bits], axis=-1).reshape(-1),
    }, output / "written.safetensors")


# Models

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}
# Of architectures with norms on what the sublayers give.
OWN_NAMES = {"post_attention_layernorm": "post_attention_norm"}
WITH_OUTPUT_NORMS = ("olmo2", "gemma2", "gemma3")
INTERLEAVED = ("llama", "granite", "smollm3")
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name, architecture):
    stem, ending = name.rsplit(".", 1)
    if stem in OUTER:
        return f"{OUTER[stem]}.{ending}"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    own = OWN_NAMES if architecture in WITH_OUTPUT_NORMS else {}
    return f"blk.{layer}.{own.get(part, NAMES[part])}.{ending}"


def interleaved(values, heads):
    """Rotary pairs half a head apart become neighbors."""
    shape = (heads, 2, values.shape[0] // heads // 2) + values.shape[1:]
    return values.reshape(shape).swapaxes(1, 2).reshape(values.shape)


def rounding_attention(module, query, key, value, *arguments, **settings):
    """The family's own attention, over keys and values in half precision."""
    attention = sys.modules[type(module).__module__].eager_attention_forward
    return attention(module, query, key.half().float(), value.half().float(), *arguments, **settings)


def model(output, name, configuration, architecture, kind=np.float32):
    import torch
    import transformers
    from transformers.masking_utils import eager_mask

    transformers.AttentionInterface.register("rounding", rounding_attention)
    transformers.AttentionMaskInterface.register("rounding", eager_mask)
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(configuration).eval()
    network.set_attn_implementation("rounding")
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if "norm" in key and architecture.startswith("gemma"):
                parameter.uniform_(-0.5, 0.5)
            elif "norm" in key or key.endswith("bias"):
                parameter.uniform_(0.5, 1.5)
            parameter.copy_(torch.from_numpy(parameter.numpy().astype(kind).astype(np.float32)))
    ids = torch.randint(0, 64, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = network(ids).logits[0]
    save_file(
        {"input_ids": ids[0].numpy().astype(np.int64), "logits": logits.numpy()}, output / f"{name}.safetensors")

    writer = gguf.GGUFWriter(output / f"{name}.gguf", architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(configuration.num_hidden_layers)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    if architecture == "stablelm":
        writer.add_layer_norm_eps(configuration.layer_norm_eps)
        writer.add_parallel_residual(configuration.use_parallel_residual)
    else:
        writer.add_layer_norm_rms_eps(configuration.rms_norm_eps)
    if architecture == "granite":
        writer.add_embedding_scale(configuration.embedding_multiplier)
        writer.add_residual_scale(configuration.residual_multiplier)
        writer.add_attention_scale(configuration.attention_multiplier)
        writer.add_logit_scale(configuration.logits_scaling)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(configuration.attn_logit_softcapping)
    if getattr(configuration, "final_logit_softcapping", None):
        writer.add_final_logit_softcapping(configuration.final_logit_softcapping)
    rope = configuration.rope_parameters
    if architecture == "gemma3":
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope["rope_theta"])
    head_size = getattr(configuration, "head_dim", None) or 8
    rotated = rope.get("partial_rotary_factor", 1)
    if architecture != "qwen2":
        writer.add_rope_dimension_count(int(head_size * rotated))
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    if getattr(configuration, "sliding_window", None):
        writer.add_sliding_window(configuration.sliding_window)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        factors = []
        for index in range(head_size // 2):
            wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * index / head_size)
            low, high = (rope["original_max_position_embeddings"] / rope[f"{end}_freq_factor"] for end in ("low", "high"))
            if wavelength < high:
                factors.append(1)
            elif wavelength > low:
                factors.append(rope["factor"])
            else:
                smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
                    rope["high_freq_factor"] - rope["low_freq_factor"])
                factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        writer.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    for key, tensor in network.state_dict().items():
        if key == "lm_head.weight" and configuration.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if architecture.startswith("gemma") and "norm" in key:
            values = values + 1
        if architecture in INTERLEAVED and ".q_proj." in key:
            values = interleaved(values, 4)
        if architecture in INTERLEAVED and ".k_proj." in key:
            values = interleaved(values, 2)
        writer.add_tensor(gguf_name(key, architecture), values.astype(kind if values.ndim > 1 else np.float32))
    finish(writer)


def models(output):
    from transformers import (
        Gemma2Config, Gemma3TextConfig, GraniteConfig, LlamaConfig, MistralConfig, Olmo2Config, Phi3Config, Qwen2Config,
        Qwen3Config, SmolLM3Config, StableLmConfig)

    sizes = dict(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
        rms_norm_eps=1e-5)
    rope = {"rope_theta": 10000.0, "rope_type": "default"}
    llama3 = {
        "rope_theta": 1000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}
    model(output, "llama", LlamaConfig(
        **sizes, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}), "llama")
    model(output, "llama3", LlamaConfig(**sizes, tie_word_embeddings=True, rope_parameters=llama3), "llama", np.float16)
    model(output, "mistral", MistralConfig(
        **sizes, tie_word_embeddings=False, sliding_window=8, head_dim=8, rope_parameters=rope), "llama")
    model(output, "qwen2", Qwen2Config(**sizes, tie_word_embeddings=True, rope_parameters=rope), "qwen2")
    model(output, "qwen3", Qwen3Config(**sizes, tie_word_embeddings=False, head_dim=16, rope_parameters=rope), "qwen3")
    half = np.float16
    model(output, "smollm3", SmolLM3Config(
        **sizes | {"num_hidden_layers": 5}, tie_word_embeddings=True, pad_token_id=None, rope_parameters=rope), "smollm3",
        half)
    model(output, "olmo2", Olmo2Config(**sizes, tie_word_embeddings=False, rope_parameters=rope), "olmo2", half)
    model(output, "granite", GraniteConfig(
        **sizes, tie_word_embeddings=True, embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.5,
        logits_scaling=4.0, rope_parameters=rope), "granite", half)
    model(output, "phi3", Phi3Config(
        **sizes, tie_word_embeddings=False, pad_token_id=None, rope_parameters=rope | {"partial_rotary_factor": 0.5}),
        "phi3", half)
    sizes.pop("rms_norm_eps")
    model(output, "stablelm", StableLmConfig(
        **sizes, tie_word_embeddings=False, use_qkv_bias=True, layer_norm_eps=1e-5,
        rope_parameters=rope | {"partial_rotary_factor": 0.5}), "stablelm", half)
    # Scores are scaled as llama.cpp does: by the root of a head's size.
    gemma = dict(sizes, tie_word_embeddings=True, head_dim=16, query_pre_attn_scalar=16, sliding_window=8)
    model(output, "gemma2", Gemma2Config(
        **gemma, attn_logit_softcapping=3.0, final_logit_softcapping=20.0, rope_parameters=rope), "gemma2", half)
    model(output, "gemma3_text", Gemma3TextConfig(
        **gemma | {"num_hidden_layers": 7}, rope_parameters={
            "full_attention": {"rope_theta": 50000.0, "rope_type": "linear", "factor": 2.0},
            "sliding_attention": {"rope_theta": 100.0, "rope_type": "default"}}), "gemma3", half)


if sys.argv[1] == "blocks":
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    blocks(Path(sys.argv[2]), int(sys.argv[3]))
else:
    files, runtime = (Path(sys.argv[1]) / name / "Reference" for name in ("TensorFilesTests", "OneBitRuntimeTests"))
    runtime.mkdir(parents=True, exist_ok=True)
    blocks(files, 2)
    values(files)
    written(files)
    models(runtime)
