"""Tokens per second with which a teacher writes its corpus: `onebit synthesize` and transformers' `generate` in turn.

    pip install torch==2.11.0 transformers==5.23.0
    python synthesize_transformers.py MODEL --onebit ../../.build/release/onebit --rows 64 --length 256 --rounds 3

Both write `rows` samples at once from BOS, drawn from the full softmax. transformers' rows are all `length` tokens long,
so that none leaves the batch; ours end where the model ends them, and nothing takes their place. Loading is not counted.
Without --onebit, transformers runs alone and prints one line of JSON.

OMP_WAIT_POLICY=passive in the environment keeps PyTorch's threads from spinning against others' work on a busy machine.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def transformers_alone(arguments):
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
    prompt = torch.full((arguments.rows, 1), model.config.bos_token_id)
    begin = time.perf_counter()
    with torch.inference_mode():
        result = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            min_new_tokens=arguments.length,
            max_new_tokens=arguments.length,
            pad_token_id=0,
        )
    seconds = time.perf_counter() - begin
    tokens = (result.shape[1] - 1) * arguments.rows
    engine = f"transformers {transformers.__version__}, torch {torch.__version__}, {arguments.dtype}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"engine": engine, "tokens_per_second": tokens / seconds, "peak_bytes": peak}))


def onebit(arguments):
    with tempfile.TemporaryDirectory() as directory:
        command = [arguments.onebit, "synthesize", arguments.model, "--output", f"{directory}/corpus.jsonl"]
        command += ["--samples", str(arguments.rows), "--synthesis-batch", str(arguments.rows)]
        command += ["--max-length", str(arguments.length), "--threads", str(arguments.threads), "--cache-memory", "8G"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        text = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(text)
        rate = float(re.findall(r"([\d.,]+) tokens/s", text)[-1].replace(",", ""))
        return {"engine": "onebit", "tokens_per_second": rate, "peak_bytes": usage.ru_maxrss * 1024}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--onebit")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    arguments = parser.parse_args()
    if not arguments.onebit:
        transformers_alone(arguments)
        return
    ratios = []
    for number in range(arguments.rounds):
        ours = onebit(arguments)
        own = [sys.executable, __file__, arguments.model, "--rows", str(arguments.rows), "--dtype", arguments.dtype]
        own += ["--length", str(arguments.length), "--threads", str(arguments.threads)]
        peer = json.loads(subprocess.run(own, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        ratios.append(ours["tokens_per_second"] / peer["tokens_per_second"])
        for result in (ours, peer):
            peak = result["peak_bytes"] / 1e9
            print(f"round {number + 1}: {result['engine']}: {result['tokens_per_second']:.1f} tokens/s, peak {peak:.2f} GB")
        print(f"round {number + 1}: ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}")


main()
