#!/usr/bin/env python3
"""Writes small PyTorch checkpoints, good and hostile, for TensorFilesTests and ModelDescriptionTests to read.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch==2.11.0 numpy
    /tmp/venv/bin/python scripts/reference/pytorch_checkpoints.py Tests

Values count up from -1 in steps of 1/64, which every float type holds exactly, as `TinyModel.values` has them.
"""

import json
import os
import sys
from collections import OrderedDict
from pathlib import Path

import torch

OUTPUT = Path(sys.argv[1]) / "TensorFilesTests/Reference"  # single files
CHECKPOINTS = Path(sys.argv[1]) / "ModelDescriptionTests/Reference"  # directories


def values(*shape, dtype=torch.float32):
    count = 1
    for extent in shape:
        count *= extent
    return ((torch.arange(count) % 129) / 64 - 1).reshape(shape).to(dtype)


def save(name, contents, **options):
    path = (CHECKPOINTS if "/" in name else OUTPUT) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(contents, path, **options)
    print(f"{path.stat().st_size:6} {path}")


# What a reader has to read

integers = torch.tensor([[1, -2], [3, -4]])
types = OrderedDict(
    float32=values(2, 3), float16=values(4, dtype=torch.float16), bfloat16=values(3, dtype=torch.bfloat16),
    int8=integers.to(torch.int8), uint8=torch.tensor([0, 128, 255], dtype=torch.uint8),
    int32=integers.to(torch.int32), int64=torch.tensor(-(2**40)), empty=torch.zeros(0, 4),
)
types._metadata = OrderedDict({"": {"version": 1}})
save("types.bin", types)
save("protocol-5.bin", types, pickle_protocol=5)

# Tied weights, a view from the second row on, one element of it, and a column whose stride says nothing.
matrix = values(3, 4)
save("views.bin", {
    "matrix": matrix, "tied": matrix, "rows": matrix[1:], "element": matrix[2, 1], "column": values(5, 1).T.T,
})

linear = torch.nn.Linear(3, 2)
with torch.no_grad():
    linear.weight.copy_(values(2, 3))
    linear.bias.copy_(values(2))
save("parameters.bin", linear.state_dict(keep_vars=True))

# What it has to refuse


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


save("attack-system.bin", {"weight": values(2), "x": Attack(os.system, "touch /tmp/onebit-was-attacked")})
save("attack-eval.bin", {"weight": Attack(eval, "1")}, pickle_protocol=4)
save("module.bin", linear)
save("training-state.bin", {"model": {"weight": values(2)}, "epoch": 3})
save("transposed.bin", {"weight": values(2, 3).T})
save("expanded.bin", {"weight": values(3).expand(2, 3)})
save("float64.bin", {"weight": values(2, dtype=torch.float64)})
save("uint16.bin", {"weight": torch.zeros(2, dtype=torch.uint16)})
save("conjugate.bin", {"weight": torch.zeros(2, dtype=torch.complex64).conj().imag})
# Its storages are named by their addresses: the one file that differs from run to run.
save("legacy.bin", {"weight": values(2)}, _use_new_zipfile_serialization=False)

# Checkpoints of TinyModel: bfloat16 in two shards

HIDDEN, INTERMEDIATE, VOCABULARY, LAYERS, KEY_VALUES = 8, 10, 12, 2, 4


def linears(intermediate):
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        yield prefix + "self_attn.q_proj", HIDDEN, HIDDEN
        yield prefix + "self_attn.k_proj", KEY_VALUES, HIDDEN
        yield prefix + "self_attn.v_proj", KEY_VALUES, HIDDEN
        yield prefix + "self_attn.o_proj", HIDDEN, HIDDEN
        yield prefix + "mlp.gate_proj", intermediate, HIDDEN
        yield prefix + "mlp.up_proj", intermediate, HIDDEN
        yield prefix + "mlp.down_proj", HIDDEN, intermediate


def floats():
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        yield f"model.layers.{layer}.input_layernorm.weight", (HIDDEN,)
        yield f"model.layers.{layer}.post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


dense = {name: values(*shape, dtype=torch.bfloat16) for name, shape in floats()}
dense |= {f"{name}.weight": values(rows, columns, dtype=torch.bfloat16) for name, rows, columns in linears(INTERMEDIATE)}
halves = {f"pytorch_model-0000{number}-of-00002.bin": {} for number in (1, 2)}
weight_map = {}
for index, (name, tensor) in enumerate(dense.items()):
    shard = list(halves)[index % 2]
    halves[shard][name] = tensor
    weight_map[name] = shard
for shard, tensors in halves.items():
    save(f"sharded/{shard}", tensors)
total_size = sum(tensor.nbytes for tensor in dense.values())
index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
(CHECKPOINTS / "sharded/pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")

# The form of the checkpoints that the paper's authors released: float latent weights, and the same packed. Bit j of byte
# k is column 8k+j, 1 means -1, and a latent 0 packs as +1.

INTERMEDIATE = 16
LAYERS = 1
release = {
    "_name_or_path": "/home/xyz/scripts/onebit_tiny_trainckpt", "architectures": ["BitLlamaForCausalLM"],
    "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": HIDDEN,
    "initializer_range": 0.02, "intermediate_size": INTERMEDIATE, "max_position_embeddings": 32,
    "model_type": "bitllama", "num_attention_heads": 2, "num_hidden_layers": LAYERS, "num_key_value_heads": 1,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
    "tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.35.0.dev0", "use_cache": True,
    "vocab_size": VOCABULARY,
}
student = OrderedDict((name, values(*shape)) for name, shape in floats())
packed = OrderedDict(student)
for name, rows, columns in linears(INTERMEDIATE):
    latent = values(rows, columns)
    bits = (latent.view(rows, columns // 8, 8) < 0).to(torch.int32)
    student[f"{name}.weight"] = latent
    packed[f"{name}.weight"] = (bits << torch.arange(8)).sum(2).to(torch.uint8).view(torch.int8)
    for checkpoint in (student, packed):
        # Not exact in half precision.
        checkpoint[f"{name}.weight_scale"] = torch.linspace(0.1, 1, rows)
        checkpoint[f"{name}.input_factor"] = torch.linspace(1, 0.1, columns)
for form, checkpoint, architecture in (
    ("float", student, "BitLlamaForCausalLM"), ("packed", packed, "BitLlamaForCausalLMInf"),
):
    save(f"release-{form}/pytorch_model.bin", checkpoint)
    config = json.dumps(release | {"architectures": [architecture]}, indent=2, sort_keys=True)
    (CHECKPOINTS / f"release-{form}/config.json").write_text(config + "\n")
