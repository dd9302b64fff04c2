#!/usr/bin/env python3
"""A tiny student of every family that leaves as GGUF, in llama.cpp against onebit: runs/check_gguf.py for each.

    check_gguf_families.py STORIES.txt HELD-OUT.txt --tokenizer stories260K --llama-python .build-peers/venv/bin/python

Needs transformers and tokenizers. A teacher of each family is trained for two minutes on STORIES with the tokenizer of a model's
directory (512 tokens), so that its students' texts and perplexities say something; both kinds of input scales are exported,
shared ones as signs and a scale per row where the family lets them fold.
"""

import argparse
import json
import pathlib
import shutil
import subprocess

import tokenizers
import torch
import transformers

SIZES = dict(
    vocab_size=512, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=256, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2)
GEMMA2 = dict(
    SIZES, model_type="gemma2", head_dim=32, query_pre_attn_scalar=24, sliding_window=48, attn_logit_softcapping=4.0,
    final_logit_softcapping=8.0)
FAMILIES = {
    "smollm3": dict(
        SIZES, model_type="smollm3", num_hidden_layers=5, pad_token_id=None, rope_theta=10000.0, tie_word_embeddings=True),
    "olmo2": dict(SIZES, model_type="olmo2"),
    "granite": dict(
        SIZES, model_type="granite", embedding_multiplier=6.0, attention_multiplier=0.1, residual_multiplier=0.5,
        logits_scaling=4.0, tie_word_embeddings=True),
    "phi3": dict(SIZES, model_type="phi3", pad_token_id=None, partial_rotary_factor=0.75),
    "stablelm": dict(SIZES, model_type="stablelm", use_qkv_bias=True, partial_rotary_factor=0.25),
    "gemma2": GEMMA2,
    # Windows and rotations that are not those that llama.cpp takes for granted.
    "gemma3": dict(
        SIZES, model_type="gemma3_text", head_dim=32, query_pre_attn_scalar=40, sliding_window=48,
        layer_types=["sliding_attention", "full_attention"] * 2, rope_local_base_freq=1000.0,
        rope_scaling=dict(rope_type="linear", factor=2.0)),
    # A width that is filled up.
    "gemma2-96": dict(GEMMA2, hidden_size=96, num_hidden_layers=3),
}


def teacher(keys, ids, steps, directory):
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(**json.loads(json.dumps(keys)))
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        starts = torch.randint(0, len(ids) - 129, (12,), generator=generator)
        batch = torch.stack([ids[start : start + 128] for start in starts])
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps) + 1e-4
        optimizer.zero_grad()
        model(batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
    model.save_pretrained(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("held_out", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="directory of a model with tokenizer.json")
    parser.add_argument("--llama-python", default=".build-peers/venv/bin/python")
    parser.add_argument("--onebit", default=".build/release/onebit")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/gguf-families"))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    arguments = parser.parse_args()

    tokenizer = tokenizers.Tokenizer.from_file(str(arguments.tokenizer / "tokenizer.json"))
    ids = torch.tensor(tokenizer.encode(arguments.text.read_text()[:600_000]).ids)

    def onebit(*words):
        subprocess.run([arguments.onebit, *map(str, words), "--overwrite", "--quiet"], check=True)

    failed = []
    for name in arguments.families:
        work = arguments.work / name
        if not (work / "teacher/model.safetensors").exists():
            teacher(FAMILIES[name], ids, arguments.steps, work / "teacher")
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(arguments.tokenizer / file, work / "teacher" / file)
        for scales in ("shared", "own"):
            start, packed, exported = (work / f"{scales}{end}" for end in ("-start", "-packed", ".gguf"))
            onebit("init", work / "teacher", "--output", start, "--input-scales", scales)
            onebit("pack", start, "--output", packed, "--embedding-bits", "float")
            onebit("export", packed, "--format", "gguf", "--output", exported)
            print(f"== {name}, {scales} input scales", flush=True)
            check = [arguments.llama_python, pathlib.Path(__file__).with_name("check_gguf.py"), packed, exported]
            check += ["--text", arguments.held_out, "--onebit", arguments.onebit, "--window", "256", "--windows", "3"]
            if subprocess.run([*map(str, check), "--tokens", "40"]).returncode != 0:
                failed.append(f"{name} ({scales})")
    if failed:
        raise SystemExit("not equal: " + ", ".join(failed))


main()
