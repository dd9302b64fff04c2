#!/usr/bin/env python3
"""llama.cpp on random models of a given shape: writes the GGUF files, measures them, one JSON line a model.

    llamacpp.py types                                              # which types this build knows
    llamacpp.py write --shape llama-7b --types Q1_0,Q4_0 --work DIRECTORY
    llamacpp.py bench --shape llama-7b --types Q1_0,Q4_0 --work DIRECTORY --threads 2 --pp 512 --tg 128

Needs `llama-cpp-python` and `gguf` (run.sh makes such an environment). `bench` writes the files that are missing.

The models: every linear layer of a block in the type asked for, embedding and output head in F16, norms in F32. Signs,
trits and nibbles are random, one layer's worth of bytes for all layers (each has its own place in the file and in
memory), scales around 0.02, no vocabulary. The speed of these products does not depend on the values.

The measuring is llama-bench's: an empty F16 cache before each repetition, random tokens, logits of the last token only;
pp is one llama_decode of the whole prompt (physical batches of 512), tg is one llama_decode per token; one of each
goes before, uncounted. The file is memory-mapped; everything else is at its default, so flash attention is chosen by
llama.cpp and so is the repacking of weights (which needs memory for a second copy: Q4_0 on x86).

`tokens_per_processor_second` is, with one thread, what a machine without other work would give. With more, the threads
spin while they wait for each other and that counts too, unless OMP_WAIT_POLICY=passive is in the environment.
"""

import argparse
import ctypes
import dataclasses
import json
import os
import pathlib
import random
import shutil
import statistics
import sys
import time

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

DEFAULT_TYPES = "Q1_0,TQ1_0,TQ2_0,Q4_0"
INPUTS = {"Q1_0": "Q8_0", "TQ1_0": "Q8_K", "TQ2_0": "Q8_K", "Q4_0": "Q8_0"}  # the type that activations are rounded to
SPARE = 2 << 30  # bytes of disk that stay free


@dataclasses.dataclass(frozen=True)
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int = 4096

    def linears(self):
        """GGUF's name of each linear layer of a block and its [out, in]."""
        kv_width = self.hidden // self.heads * self.kv_heads
        return {
            "attn_q": (self.hidden, self.hidden),
            "attn_k": (kv_width, self.hidden),
            "attn_v": (kv_width, self.hidden),
            "attn_output": (self.hidden, self.hidden),
            "ffn_gate": (self.intermediate, self.hidden),
            "ffn_up": (self.intermediate, self.hidden),
            "ffn_down": (self.hidden, self.intermediate),
        }

    def linear_bytes(self, kind):
        return self.layers * sum(rows * row_bytes(columns, kind) for rows, columns in self.linears().values())

    def float_bytes(self):
        """Embedding or head, either of them."""
        return 2 * self.vocabulary * self.hidden

    def bytes_per_token(self, kind):
        """Weights that generating one token reads: the blocks and the head, of the embedding only a row."""
        return self.linear_bytes(kind) + self.float_bytes()


SHAPES = {
    "tinyllama-1.1b": Shape(2048, 5632, 22, 32, 4, 32000),
    "llama-7b": Shape(4096, 11008, 32, 32, 32, 32000),
    "llama-13b": Shape(5120, 13824, 40, 40, 40, 32000),
    "llama-30b": Shape(6656, 17920, 60, 52, 52, 32000),
}


# ------------------------------------------------------------------------------------------------------------ writing


def row_bytes(columns, kind):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if columns % elements:
        sys.exit(f"{kind.name} packs {elements} columns in a block; {columns} is not a multiple")
    return columns // elements * size


def random_rows(generator, rows, columns, kind):
    """Random blocks of a type as uint8 [rows, bytes]: every one has a sane scale, and digits that a file could hold."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    row_bytes(columns, kind)
    count = rows * columns // elements
    blocks = generator.integers(0, 256, (count, size), dtype=np.uint8)
    scales = generator.uniform(0.015, 0.025, count).astype(np.float16)
    if kind == Type.Q4_0:
        scales /= 5  # nibbles are −8 … 7
    scale_bytes = scales.view(np.uint8).reshape(count, 2)
    if kind in (Type.Q1_0, Type.Q4_0):  # scale, then bits or nibbles: any byte will do
        blocks[:, :2] = scale_bytes
    elif kind == Type.TQ1_0:  # 48 bytes of 5 trits, 4 bytes of 4 trits, scale; a byte is the fraction of 256 rounded up
        digits = np.arange(243, dtype=np.uint16)
        blocks[:, :48] = ((digits * 256 + 242) // 243).astype(np.uint8)[blocks[:, :48] % 243]
        digits = np.arange(0, 243, 3, dtype=np.uint16)
        blocks[:, 48:52] = ((digits * 256 + 242) // 243).astype(np.uint8)[blocks[:, 48:52] % 81]
        blocks[:, 52:] = scale_bytes
    elif kind == Type.TQ2_0:  # 64 bytes of 4 two-bit trits 0, 1, 2, then the scale
        trits = np.arange(81, dtype=np.uint8)
        packed = sum((trits // 3**place % 3) << (2 * place) for place in range(4)).astype(np.uint8)
        blocks[:, :64] = packed[blocks[:, :64] % 81]
        blocks[:, 64:] = scale_bytes
    else:
        sys.exit(f"{kind.name}: the layout of its blocks is not known here")
    return blocks.reshape(rows, -1)


def random_floats(generator, rows, columns):
    """F16 [rows, columns], one normal sample of a million values over and over."""
    sample = generator.normal(0, 0.02, 1 << 20).astype(np.float16)
    return np.resize(sample, (rows, columns))


def write_model(path, name, shape, kind):
    """Writes a model under a temporary name and renames it."""
    need = shape.linear_bytes(kind) + 2 * shape.float_bytes()
    free = shutil.disk_usage(path.parent).free
    if need + SPARE > free:
        sys.exit(f"{path.name} takes {need / 1e9:.1f} GB, 2 GiB stay free; {path.parent} has {free / 1e9:.1f} GB")
    begin = time.perf_counter()
    generator = np.random.default_rng(0)
    temporary = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(temporary, "llama")
    writer.add_name(f"random {name} {kind.name}")
    writer.add_file_type(getattr(gguf.LlamaFileType, f"MOSTLY_{kind.name}"))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("none")

    embedding = random_floats(generator, shape.vocabulary, shape.hidden)
    ones = np.ones(shape.hidden, np.float32)
    linears = {key: random_rows(generator, *size, kind) for key, size in shape.linears().items()}
    tensors = [("token_embd.weight", embedding), ("output.weight", embedding), ("output_norm.weight", ones)]
    for layer in range(shape.layers):
        tensors += [(f"blk.{layer}.{norm}.weight", ones) for norm in ("attn_norm", "ffn_norm")]
        tensors += [(f"blk.{layer}.{key}.weight", data) for key, data in linears.items()]
    for tensor_name, data in tensors:
        raw_type = kind if data.dtype == np.uint8 else None
        writer.add_tensor_info(tensor_name, data.shape, data.dtype, data.nbytes, raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, data in tensors:
        writer.write_tensor_data(data)
    writer.close()
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())  # so that writing back is over before anything is measured
    temporary.rename(path)
    print(f"{path}: {path.stat().st_size:,} bytes in {time.perf_counter() - begin:.1f} s", file=sys.stderr)


def model_path(work, name, kind):
    return work / f"random-{name}-{kind.name}.gguf"


# ---------------------------------------------------------------------------------------------------------- measuring


def load_library():
    import llama_cpp

    return llama_cpp


def base_library(llama):
    """libggml-base, which knows types and its commit."""
    return ctypes.CDLL(str(pathlib.Path(llama.__file__).parent / "lib" / "libggml-base.so"))


def commit(llama):
    base = base_library(llama)
    base.ggml_commit.restype = ctypes.c_char_p
    return base.ggml_commit().decode()


def supported(llama, kind):
    """Whether this build has the type under the number that `gguf` writes."""
    base = base_library(llama)
    base.ggml_type_name.restype = ctypes.c_char_p
    name = base.ggml_type_name(ctypes.c_int(kind.value))
    return name is not None and name.decode().upper() == kind.name.upper()


def known_types(llama, names):
    """Those of `names` that both packages have; says which are left out."""
    kinds = []
    for name in names:
        if name not in Type.__members__:
            print(f"Left out: gguf does not know {name}.", file=sys.stderr)
        elif not supported(llama, Type[name]):
            print(f"Left out: llama.cpp {commit(llama)} has no type {name}.", file=sys.stderr)
        else:
            kinds.append(Type[name])
    return kinds


def measure(llama, path, shape_name, kind, arguments):
    shape = SHAPES[shape_name]
    loaded = time.perf_counter()
    model_parameters = llama.llama_model_default_params()
    model_parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
    model_parameters.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(str(path).encode(), model_parameters)
    if not model:
        sys.exit(f"{path}: llama.cpp does not load it")
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = max(arguments.pp, arguments.tg)
    parameters.n_batch = max(arguments.pp, 1)
    parameters.n_ubatch = 512
    parameters.n_threads = parameters.n_threads_batch = arguments.threads
    parameters.type_k = parameters.type_v = Type.F16.value
    context = llama.llama_init_from_model(model, parameters)
    if not context:
        sys.exit(f"{path}: llama.cpp makes no context for it")
    memory = llama.llama_get_memory(context)
    loaded = time.perf_counter() - loaded
    draw = random.Random(0)

    def feed(count):
        tokens = (llama.llama_token * count)(*(draw.randrange(shape.vocabulary) for _ in range(count)))
        code = llama.llama_decode(context, llama.llama_batch_get_one(tokens, count))
        if code:
            sys.exit(f"{path}: llama_decode returned {code}")
        llama.llama_synchronize(context)

    def prompt():
        feed(arguments.pp)

    def generate(count=arguments.tg):
        for _ in range(count):
            feed(1)

    def finite():
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (shape.vocabulary,))
        return bool(np.isfinite(logits).all()) and float(logits.std()) > 0

    results = []
    for name, tokens, work, warm_up in (
        (f"pp{arguments.pp}", arguments.pp, prompt, prompt),
        (f"tg{arguments.tg}", arguments.tg, generate, lambda: generate(1)),
    ):
        if tokens == 0:
            continue
        llama.llama_memory_clear(memory, True)
        warm_up()
        if not finite():
            sys.exit(f"{path}: the logits are not finite")
        samples, processor_seconds = [], []
        for _ in range(arguments.repetitions):
            llama.llama_memory_clear(memory, True)
            begin, processor_begin = time.perf_counter(), time.process_time()
            work()
            samples.append(tokens / (time.perf_counter() - begin))
            processor_seconds.append(time.process_time() - processor_begin)
        result = {
            "name": name,
            "tokens_per_second": statistics.mean(samples),
            "deviation": statistics.stdev(samples) if len(samples) > 1 else 0.0,
            "samples": samples,
            "tokens_per_processor_second": tokens / statistics.mean(processor_seconds),
        }
        if name.startswith("tg"):
            result["read_bandwidth"] = result["tokens_per_second"] * shape.bytes_per_token(kind)
        results.append(result)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return {
        "engine": "llama.cpp",
        "version": f"llama-cpp-python {llama.__version__}, ggml commit {commit(llama)}",
        "system": llama.llama_print_system_info().decode().strip(" |"),
        "shape": shape_name,
        "type": kind.name,
        "bits_per_weight": 8 * gguf.GGML_QUANT_SIZES[kind][1] / gguf.GGML_QUANT_SIZES[kind][0],
        "input_bits": 8,
        "input_type": INPUTS.get(kind.name),
        "threads": arguments.threads,
        "linear_bytes": shape.linear_bytes(kind),
        "bytes_per_token": shape.bytes_per_token(kind),
        "file_bytes": path.stat().st_size,
        "load_seconds": loaded,
        "results": results,
    }


# -------------------------------------------------------------------------------------------------------- the command


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["types", "write", "bench"])
    parser.add_argument("--shape", choices=SHAPES, default="llama-7b")
    parser.add_argument("--types", default=DEFAULT_TYPES, help=f"types of the linear layers ({DEFAULT_TYPES})")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".build-peers"), help="where the files go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pp", type=int, default=512, help="tokens of the prompt; 0 leaves it out")
    parser.add_argument("--tg", type=int, default=128, help="tokens to generate; 0 leaves it out")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--verbose", action="store_true", help="let llama.cpp log to standard error")
    arguments = parser.parse_args()

    llama = load_library()
    silent = llama.llama_log_callback(lambda level, text, data: None)
    if not arguments.verbose:
        llama.llama_log_set(silent, ctypes.c_void_p(0))
    kinds = known_types(llama, arguments.types.split(","))
    if arguments.verb == "types":
        print(json.dumps({"types": [kind.name for kind in kinds], "commit": commit(llama)}))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        path = model_path(arguments.work, arguments.shape, kind)
        if not path.exists():
            write_model(path, arguments.shape, SHAPES[arguments.shape], kind)
    if arguments.verb == "bench":
        llama.llama_backend_init()
        for kind in kinds:
            path = model_path(arguments.work, arguments.shape, kind)
            print(json.dumps(measure(llama, path, arguments.shape, kind, arguments)), flush=True)


if __name__ == "__main__":
    main()
