#!/usr/bin/env python3
"""llama.cpp on random models of a given shape: writes the GGUF files, measures them, one JSON line a model.

    llamacpp.py types                                              # which types this build knows
    llamacpp.py write --shape llama-7b --types Q1_0,Q4_0 --work DIRECTORY
    llamacpp.py bench --shape llama-7b --types Q1_0,Q4_0 --work DIRECTORY --threads 2 --pp 512 --tg 128
    llamacpp.py bench --shape DIRECTORY/OF/A/LLAMA --types F16 --batch 1,2,4,8 --depth 0,2048

Needs `llama-cpp-python` and `gguf` (run.sh makes such an environment). `bench` writes the files that are missing.

A shape is a name, or a directory with the config.json of a LLaMA: then the file is a random model of that shape.

The models: every linear layer of a block in the type asked for, embedding and output head in F16, norms in F32. Signs,
trits, nibbles and floats are random, one layer's worth of bytes for all layers (each has its own place in the file and in
memory), scales around 0.02, words that were made up. The speed of these products does not depend on the values.

The measuring is llama-bench's: an empty F16 cache before each repetition, random tokens, logits of the last token only;
pp is one llama_decode of the whole prompt (physical batches of 512), tg is one llama_decode per token; one of each
goes before, uncounted. With --batch, a llama_decode takes one token of each sequence, and the tokens of all count; with
--depth, so many tokens are in each sequence's cache before. The names of tests are those of `onebit bench`. The file is memory-mapped; everything else is at its default, so flash attention is chosen by
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
INPUTS = {"Q1_0": "Q8_0", "TQ1_0": "Q8_K", "TQ2_0": "Q8_K", "Q4_0": "Q8_0", "Q8_0": "Q8_0", "F16": "F16"}  # the type that activations are rounded to
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
    tied: bool = False  # the output head is the embedding

    @classmethod
    def named(cls, name):
        """A published one, or that of a directory with the config.json of a LLaMA."""
        if name in SHAPES:
            return SHAPES[name]
        file = pathlib.Path(name) / "config.json"
        if not file.exists():
            sys.exit(f"{name} is neither a directory with a config.json nor one of {', '.join(SHAPES)}")
        entry = json.loads(file.read_text())
        if entry.get("model_type") != "llama":
            sys.exit(f"{file}: its model_type is {entry.get('model_type')}, expected llama")
        heads = entry["num_attention_heads"]
        return cls(
            entry["hidden_size"], entry["intermediate_size"], entry["num_hidden_layers"], heads,
            entry.get("num_key_value_heads", heads), entry["vocab_size"], entry["max_position_embeddings"],
            entry.get("tie_word_embeddings", False),
        )  # fmt: skip

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
    if kind == Type.F16:
        return random_floats(generator, rows, columns)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    row_bytes(columns, kind)
    count = rows * columns // elements
    blocks = generator.integers(0, 256, (count, size), dtype=np.uint8)
    scales = generator.uniform(0.015, 0.025, count).astype(np.float16)
    scales /= {Type.Q4_0: 5, Type.Q8_0: 75}.get(kind, 1)  # nibbles are −8 … 7, bytes −128 … 127
    scale_bytes = scales.view(np.uint8).reshape(count, 2)
    if kind in (Type.Q1_0, Type.Q4_0, Type.Q8_0):  # scale, then bits, nibbles or bytes: any byte will do
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


def add_vocabulary(writer, size):
    """Made-up words, and the special tokens and bytes of LLaMA's vocabulary: llama-server does not start without one."""
    kinds = gguf.TokenType
    special = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    special += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    words = [(f"\u2581w{number}", kinds.NORMAL) for number in range(size - len(special))]
    tokens, types = zip(*special + words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(size)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_model(path, name, shape, kind):
    """Writes a model under a temporary name and renames it."""
    need = shape.linear_bytes(kind) + (1 if shape.tied else 2) * shape.float_bytes()
    free = shutil.disk_usage(path.parent).free
    if need + SPARE > free:
        sys.exit(f"{path.name} takes {need / 1e9:.1f} GB, 2 GiB stay free; {path.parent} has {free / 1e9:.1f} GB")
    begin = time.perf_counter()
    generator = np.random.default_rng(0)
    temporary = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(temporary, "llama")
    writer.add_name(name)
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
    add_vocabulary(writer, shape.vocabulary)

    embedding = random_floats(generator, shape.vocabulary, shape.hidden)
    ones = np.ones(shape.hidden, np.float32)
    linears = {key: random_rows(generator, *size, kind) for key, size in shape.linears().items()}
    tensors = [("token_embd.weight", embedding), ("output_norm.weight", ones)]
    tensors += [] if shape.tied else [("output.weight", embedding)]
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
    return work / f"random-{pathlib.Path(name).resolve().name}-{kind.name}.gguf"


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


@dataclasses.dataclass(frozen=True)
class Test:
    kind: str  # pp or tg
    tokens: int
    sequences: int
    depth: int

    @property
    def name(self):
        batch = f" x{self.sequences}" if self.sequences > 1 else ""
        return f"{self.kind}{self.tokens}{batch}" + (f" @ d{self.depth}" if self.depth else "")


def tests(arguments):
    """Those of `onebit bench` with these options, in its order."""
    found = []
    for depth in arguments.depth:
        found += [Test("pp", arguments.pp, 1, depth)] if arguments.pp else []
        found += [Test("tg", arguments.tg, sequences, depth) for sequences in arguments.batch if arguments.tg]
    return found


class Context:
    """An empty cache with room for one test, and passes over random tokens."""

    def __init__(self, llama, model, path, shape, test, threads):
        self.llama, self.path, self.vocabulary, self.sequences = llama, path, shape.vocabulary, test.sequences
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = (test.depth + test.tokens) * test.sequences
        parameters.n_seq_max = test.sequences
        parameters.n_batch = max(test.depth, test.tokens if test.kind == "pp" else 1, test.sequences)
        parameters.n_ubatch = 512
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = Type.F16.value
        self.context = llama.llama_init_from_model(model, parameters)
        if not self.context:
            sys.exit(f"{path}: llama.cpp makes no context for it")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(parameters.n_batch, 0, 1)
        self.draw = random.Random(0)
        self.positions = [0] * self.sequences

    def fill(self, depth):
        """Empties the cache and reads `depth` tokens of each sequence."""
        self.llama.llama_memory_clear(self.memory, True)
        self.positions = [0] * self.sequences
        for sequence in range(self.sequences):
            self.read([(sequence, depth)])

    def read(self, counts):
        """One pass: for each (sequence, count) the sequence's next tokens, logits of the last of each."""
        batch, index = self.batch, 0
        for sequence, count in counts:
            for place in range(count):
                batch.token[index] = self.draw.randrange(self.vocabulary)
                batch.pos[index] = self.positions[sequence]
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = sequence
                batch.logits[index] = place == count - 1
                self.positions[sequence] += 1
                index += 1
        if index == 0:
            return
        batch.n_tokens = index
        code = self.llama.llama_decode(self.context, batch)
        if code:
            sys.exit(f"{self.path}: llama_decode returned {code}")
        self.llama.llama_synchronize(self.context)

    def work(self, test, tokens):
        if test.kind == "pp":
            self.read([(0, tokens)])
        else:
            for _ in range(tokens):
                self.read([(sequence, 1) for sequence in range(self.sequences)])

    def require_finite(self):
        logits = np.ctypeslib.as_array(self.llama.llama_get_logits_ith(self.context, -1), (self.vocabulary,))
        if not np.isfinite(logits).all() or float(logits.std()) == 0:
            sys.exit(f"{self.path}: the logits are not finite")

    def free(self):
        self.llama.llama_batch_free(self.batch)
        self.llama.llama_free(self.context)


def measure_test(llama, model, path, shape, test, arguments):
    context = Context(llama, model, path, shape, test, arguments.threads)
    context.fill(test.depth)
    context.work(test, test.tokens if test.kind == "pp" else 1)
    context.require_finite()
    samples, processor_seconds = [], []
    for _ in range(arguments.repetitions):
        context.fill(test.depth)
        begin, processor_begin = time.perf_counter(), time.process_time()
        context.work(test, test.tokens)
        samples.append(test.tokens * test.sequences / (time.perf_counter() - begin))
        processor_seconds.append(time.process_time() - processor_begin)
    context.free()
    result = {
        "name": test.name,
        "tokens_per_second": statistics.mean(samples),
        "deviation": statistics.stdev(samples) if len(samples) > 1 else 0.0,
        "samples": samples,
        "tokens_per_processor_second": test.tokens * test.sequences / statistics.mean(processor_seconds),
    }
    return result


def measure(llama, path, shape_name, kind, arguments):
    shape = Shape.named(shape_name)
    loaded = time.perf_counter()
    model_parameters = llama.llama_model_default_params()
    model_parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
    model_parameters.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(str(path).encode(), model_parameters)
    if not model:
        sys.exit(f"{path}: llama.cpp does not load it")
    loaded = time.perf_counter() - loaded
    results = [measure_test(llama, model, path, shape, test, arguments) for test in tests(arguments)]
    for test, result in zip(tests(arguments), results):
        if test.kind == "tg" and test.sequences == 1 and test.depth == 0:
            result["read_bandwidth"] = result["tokens_per_second"] * shape.bytes_per_token(kind)
    llama.llama_model_free(model)
    return {
        "engine": "llama.cpp",
        "version": f"llama-cpp-python {llama.__version__}, ggml commit {commit(llama)}",
        "system": llama.llama_print_system_info().decode().strip(" |"),
        "shape": shape_name,
        "type": kind.name,
        "bits_per_weight": 8 * gguf.GGML_QUANT_SIZES[kind][1] / gguf.GGML_QUANT_SIZES[kind][0],
        "input_bits": 16 if kind == Type.F16 else 8,
        "input_type": INPUTS.get(kind.name),
        "threads": arguments.threads,
        "linear_bytes": shape.linear_bytes(kind),
        "bytes_per_token": shape.bytes_per_token(kind),
        "file_bytes": path.stat().st_size,
        "load_seconds": loaded,
        "results": results,
    }


# -------------------------------------------------------------------------------------------------------- the command


def numbers(text):
    return [int(word) for word in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["types", "write", "bench"])
    parser.add_argument("--shape", default="llama-7b", help=f"{', '.join(SHAPES)}, or a directory (llama-7b)")
    parser.add_argument("--types", default=DEFAULT_TYPES, help=f"types of the linear layers ({DEFAULT_TYPES})")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".build-peers"), help="where the files go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pp", type=int, default=512, help="tokens of the prompt; 0 leaves it out")
    parser.add_argument("--tg", type=int, default=128, help="tokens to generate; 0 leaves it out")
    parser.add_argument("--batch", type=numbers, default=[1], help="sequences side by side, such as 1,2,4,8")
    parser.add_argument("--depth", type=numbers, default=[0], help="tokens in the cache before, such as 0,2048")
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
            write_model(path, path.stem, Shape.named(arguments.shape), kind)
    if arguments.verb == "bench":
        llama.llama_backend_init()
        for kind in kinds:
            path = model_path(arguments.work, arguments.shape, kind)
            print(json.dumps(measure(llama, path, arguments.shape, kind, arguments)), flush=True)


if __name__ == "__main__":
    main()
