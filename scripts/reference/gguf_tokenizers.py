#!/usr/bin/env python3
"""Holds the tokenizer.json that `onebit init` writes of a GGUF file against Hugging Face's tokenizers.

    pip install gguf==0.19.0 tokenizers transformers==5.23.0 numpy
    gguf_tokenizers.py .build/release/onebit VOCABULARY.gguf TEXT [ORIGINAL]

VOCABULARY.gguf is one of llama.cpp's `models/ggml-vocab-*.gguf`, or any model: its tokenizer is put beside tiny weights, the
student's start is made of that, and transformers loads the result. ORIGINAL is the directory of the tokenizer that the
vocabulary was made of; without it llama.cpp's own `.inp` and `.out` beside the vocabulary are the judge. TEXT is encoded line by
line. Prints how many of how many texts have equal ids.
"""

import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerFast

program, vocabulary, text, *original = sys.argv[1:]
reader = gguf.GGUFReader(vocabulary)


def copy_tokenizer(writer):
    for key, field in reader.fields.items():
        if not key.startswith("tokenizer."):
            continue
        value = field.contents()
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            # An empty array has no type.
            writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, sub_type=field.types[-1])
        else:
            writer.add_key_value(key, value, field.types[0])


with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    writer = gguf.GGUFWriter(scratch / "model.gguf", "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    copy_tokenizer(writer)
    tokens = len(reader.fields["tokenizer.ggml.tokens"].data)
    random = np.random.default_rng(0)
    for name, shape in [("token_embd", (tokens, 8)), ("output_norm", (8,)), ("blk.0.attn_norm", (8,)), ("blk.0.ffn_norm", (8,))] + [
        (f"blk.0.{part}", (8, 8)) for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    ]:
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    subprocess.run([program, "init", scratch / "model.gguf", "--output", scratch / "start"], check=True, capture_output=True)
    found = AutoTokenizer.from_pretrained(scratch / "start")

    cases = []  # (what, text, ids)
    lines = [line for line in pathlib.Path(text).read_text().splitlines(keepends=True) if line.strip()]
    if original:
        expected = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(original[0]) / "tokenizer.json"))
        cases += [(line, expected.encode(line, add_special_tokens=False)) for line in lines]
        cases.append(("".join(lines), expected.encode("".join(lines), add_special_tokens=False)))
    else:
        texts = pathlib.Path(vocabulary + ".inp").read_text().split("\n__ggml_vocab_test__\n")
        ids = pathlib.Path(vocabulary + ".out").read_text().split("\n")
        cases += [(one, [int(token) for token in line.split()]) for one, line in zip(texts, ids)]
    equal = 0
    for one, ids in cases:
        same = found.encode(one, add_special_tokens=False) == ids
        equal += same
        if not same:
            print("differs:", repr(one[:80]))
    print(f"{vocabulary}: {equal} of {len(cases)} texts, {sum(len(ids) for _, ids in cases)} tokens, {type(found).__name__}")
    sys.exit(equal != len(cases))
