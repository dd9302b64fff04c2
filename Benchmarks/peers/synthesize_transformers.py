"""Tokens per second with which transformers' `generate` writes samples, for comparison with `onebit synthesize`.

    synthesize_transformers.py MODEL [--rows 64] [--length 256] [--threads 2] [--dtype bfloat16]

One batch of `rows` samples from BOS, sampled from the full softmax, each exactly `length` tokens long: end-of-sequence
does not end a row, so that all of them stay in the batch to the end. Prints one line of JSON.
"""

import argparse
import json
import resource
import time

import torch
import transformers

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--rows", type=int, default=64)
parser.add_argument("--length", type=int, default=256)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
arguments = parser.parse_args()

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

print(
    json.dumps(
        {
            "engine": f"transformers {transformers.__version__}, torch {torch.__version__}, {arguments.dtype}",
            "rows": arguments.rows,
            "length": arguments.length,
            "tokens": tokens,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
