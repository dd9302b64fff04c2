#!/usr/bin/env python3
"""Writes Seeds/<target>/: small valid inputs, from which libFuzzer starts. Python's standard library is enough."""

import json
import struct
from pathlib import Path

HERE = Path(__file__).parent
SEPARATOR = b"\x1e"  # FuzzInput.separator


def write(target, name, data):
    directory = HERE / "Seeds" / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)


def text(value):
    return json.dumps(value, ensure_ascii=False).encode()


# safetensors


def safetensors(tensors, metadata=None):
    """tensors: (name, dtype, bytes per element, shape), all zeros."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, width, shape in tensors:
        size = width
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    header = text(header)
    return struct.pack("<Q", len(header)) + header + data


LAYER = "model.layers.0."
SHAPES = [(f"{LAYER}self_attn.{part}_proj.weight", [2, 2]) for part in "qkvo"]
SHAPES += [(f"{LAYER}mlp.{part}_proj.weight", [3, 2]) for part in ("gate", "up")]
SHAPES += [(f"{LAYER}mlp.down_proj.weight", [2, 3]), ("model.embed_tokens.weight", [3, 2]), ("model.norm.weight", [2])]
SHAPES += [(f"{LAYER}input_layernorm.weight", [2]), (f"{LAYER}post_attention_layernorm.weight", [2])]

write("safetensors", "empty", safetensors([]))
write("safetensors", "checkpoint", safetensors([(name, "F16", 2, shape) for name, shape in SHAPES], {"format": "pt"}))
kinds = [("F32", 4), ("F16", 2), ("BF16", 2), ("I8", 1), ("U8", 1), ("I32", 4), ("I64", 8)]
write("safetensors", "types", safetensors([(kind, kind, width, [2, 1]) for kind, width in kinds]))
write("safetensors", "scalar-and-empty", safetensors([("a", "F32", 4, []), ("é", "BF16", 2, [0, 5])], {}))

# model.safetensors.index.json

shard_of = {name: "a" if "attn" in name else "b" for name, _ in SHAPES}
write("shard-index", "two-shards", text({"metadata": {"total_size": 64}, "weight_map": shard_of}))
write("shard-index", "strange-names", text({"weight_map": {"spare": "../a", "x": ".", "y": "a.bin", "z": 1}}))

# pytorch_model.bin: a pickle by hand, for Python's own would need torch; and an archive of it


def pickle_text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def pickle_tensor(storage, shape):
    strides = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    size, stride = (b"(" + b"".join(b"K" + bytes([extent]) for extent in numbers) + b"t" for numbers in (shape, strides))
    identifier = b"(" + pickle_text("storage") + f"ctorch\n{storage[0]}Storage\n".encode()
    identifier += pickle_text("0") + pickle_text("cpu") + b"K" + bytes([64 // storage[1]]) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identifier + b"K\x00" + size + stride + b"\x89" + hooks + b"tR"


def state_dictionary(tensors):
    items = b"".join(pickle_text(name) + tensor for name, tensor in tensors.items())
    metadata = b"}" + pickle_text("_metadata") + b"ccollections\nOrderedDict\n)Rsb"
    return b"\x80\x02ccollections\nOrderedDict\n)Rq\x00(" + items + b"u" + metadata + b"."


storages = {name: (name, width) for name, width in [("Float", 4), ("Half", 2), ("BFloat16", 2), ("Char", 1), ("Long", 8)]}
dictionary = state_dictionary({name: pickle_tensor(storage, [2, 3]) for name, storage in storages.items()})
parameter = b"ctorch._utils\n_rebuild_parameter\n(" + pickle_tensor(storages["Float"], [2]) + b"\x88)tR"
write("pytorch", "pickle", dictionary)
write("pytorch", "parameters", state_dictionary({"a": parameter + b"q\x05", "b": b"h\x05"}))
# STACK_GLOBAL, SHORT_BINUNICODE, MEMOIZE and FRAME of protocol 4
strings = b"".join(b"\x8c" + bytes([len(word)]) + word + b"\x94" for word in (b"collections", b"OrderedDict"))
write("pytorch", "protocol-5", b"\x80\x05\x95" + struct.pack("<Q", len(strings) + 7) + strings + b"\x93\x94)R\x94.")


def zip_archive(entries, wide):
    """As torch.save writes them; wide: with numbers of 64 bits."""
    data, directory = b"", b""
    for name, content in entries.items():
        name, size = name.encode(), len(content)
        numbers = struct.pack("<HHQQQ", 1, 24, size, size, len(data)) if wide else b""
        size, offset = (0xFFFFFFFF, 0xFFFFFFFF) if wide else (size, len(data))
        data += struct.pack("<4s22xHH", b"PK\x03\x04", len(name), 0) + name + content
        directory += struct.pack("<4s16xIIHH10xI", b"PK\x01\x02", size, size, len(name), len(numbers), offset)
        directory += name + numbers
    start, count = len(data), len(entries)
    data += directory
    if wide:
        record = len(data)
        data += struct.pack("<4sQ12xQQQQ", b"PK\x06\x06", 44, count, count, len(directory), start)
        data += struct.pack("<4sIQI", b"PK\x06\x07", 0, record, 1)
    return data + struct.pack("<4s4xHHIIH", b"PK\x05\x06", count, count, len(directory), start, 0)


entries = {"m/data.pkl": dictionary, "m/byteorder": b"little", "m/data/0": bytes(64), "m/version": b"3\n"}
write("pytorch", "archive", zip_archive(entries, wide=False))
write("pytorch", "wide-archive", zip_archive(entries, wide=True))

# config.json

llama = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": 64,
    "intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "attention_bias": False, "torch_dtype": "float32",
}
quantization = {
    "quant_method": "onebit", "bits": 1, "checkpoint_format": "onebit-lsb-v1", "value_dtype": "float16",
    "post_layernorm": True, "layernorm_eps": 1e-05, "modules_to_not_convert": ["lm_head", "embed_tokens"],
    "meta": {"quantizer": ["onebit-swift:0.1.0"]},
}
rope = {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "head_dim": 16}
write("config", "dense", text(llama))
write("config", "packed", text(llama | {"quantization_config": quantization, "eos_token_id": [2, 3]}))
write("config", "rope-and-generation", text(llama | rope) + SEPARATOR + text({"eos_token_id": [2, 4]}))

# model.gguf


def gguf_string(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


def gguf_value(value):
    """Type and value: integers of 32 bits, floats, booleans, strings, lists of one of these."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, gguf_string(value)
    kinds = [gguf_value(element) for element in value]
    return 9, struct.pack("<IQ", kinds[0][0], len(kinds)) + b"".join(element for _, element in kinds)


def gguf(metadata, tensors, version=3):
    """tensors: (name, number of the type, extents with the fastest first, bytes), all zeros."""
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, data = gguf_value(value)
        header += gguf_string(key) + struct.pack("<I", kind) + data
    size = 0
    for name, kind, extents, count in tensors:
        header += gguf_string(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, kind, size)
        size += -(-count // 32) * 32
    return header + bytes(-len(header) % 32) + bytes(size)


def gguf_llama(architecture="llama", tokens=3, kind=0, width=4):
    sizes = {"block_count": 1, "context_length": 8, "embedding_length": 2, "feed_forward_length": 3,
             "attention.head_count": 1, "attention.layer_norm_rms_epsilon": 0.5, "rope.freq_base": 100.0}
    parts = [(f"attn_{part}", [2, 2]) for part in ("q", "k", "v", "output")] + [("attn_norm", [2]), ("ffn_norm", [2])]
    parts += [("ffn_gate", [2, 3]), ("ffn_up", [2, 3]), ("ffn_down", [3, 2])]
    shapes = [("token_embd.weight", [2, tokens]), ("output_norm.weight", [2])]
    shapes += [(f"blk.0.{part}.weight", shape) for part, shape in parts]
    tensors = [(name, kind, shape, width * shape[0] * (shape + [1])[1]) for name, shape in shapes]
    return {"general.architecture": architecture} | {f"{architecture}.{key}": value for key, value in sizes.items()}, tensors


metadata, tensors = gguf_llama()
write("gguf", "llama", gguf(metadata, tensors))
write("gguf", "version-2", gguf(metadata | {"general.alignment": 32}, tensors, version=2))
qwen3 = gguf_llama("qwen3", kind=1, width=2)
norms = [(f"blk.0.attn_{part}_norm.weight", 1, [2], 4) for part in "qk"]
write("gguf", "qwen3", gguf(qwen3[0], qwen3[1] + norms))
blocks = [(2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84), (11, 256, 110), (12, 256, 144),
          (13, 256, 176), (14, 256, 210), (34, 256, 54), (35, 256, 66), (41, 128, 18)]
write("gguf", "blocks", gguf({"general.architecture": "x"}, [(str(kind), kind, [size, 1], count) for kind, size, count in blocks]))
pieces = ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "b", "ab", "\u2581ab", "<x>"]
scored = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": pieces,
          "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 1, 1, 1, 1, 4],
          "tokenizer.ggml.scores": [-float(index) for index in range(10)], "tokenizer.ggml.add_space_prefix": True}
metadata, tensors = gguf_llama(tokens=10)
write("gguf", "sentencepiece", gguf(metadata | scored, tensors))
merged = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe",
          "tokenizer.ggml.tokens": ["<s>", "H", "e", "l", "o", "\u0120", "ll", "\u0120H", "<x>", "[PAD9]"],
          "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1, 1, 1, 4, 5], "tokenizer.ggml.merges": ["l l", "\u0120 H"],
          "tokenizer.ggml.bos_token_id": 0, "tokenizer.chat_template": "{{ bos_token }}"}
write("gguf", "byte-level", gguf(metadata | merged, tensors))

# tokenizer.json

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def vocabulary(tokens):
    return {token: index for index, token in enumerate(tokens)}


def added(index, content, special=True, **flags):
    return {"id": index, "content": content, "special": special} | flags


byte_level_tokens = ["<s>", "</s>", "H", "e", "l", "o", "Ġ", "w", "he", "ll", "Ġw", "ello"]
byte_level = {
    "added_tokens": [added(0, "<s>"), added(1, "</s>", lstrip=True, rstrip=True), added(12, "x y", False)],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    },
    "decoder": {"type": "ByteLevel"},
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
        "ignore_merges": True, "vocab": vocabulary(byte_level_tokens), "merges": ["l l", "Ġ w"],
    },
}
write("tokenizer-json", "byte-level", text(byte_level))
names = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True}
write("tokenizer-json", "byte-level-with-names", SEPARATOR.join([text(byte_level), text(names), "héllo  x y".encode()]))

space = "▁"
pieces = ["<unk>", "<s>", "</s>", "<0x41>", "<0xC3>", "<0xA9>", space, "a", "b", f"{space}a", f"{space}ab"]
metaspace = {
    "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(11, "word", False, single_word=True, normalized=True)],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": space},
            {"type": "Replace", "pattern": {"String": " "}, "content": space},
        ],
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": space}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "model": {
        "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
        "vocab": vocabulary(pieces), "merges": [[space, "a"], [f"{space}a", "b"]],
    },
}
write("tokenizer-json", "metaspace", text(metaspace))

split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
own = {"type": "Split", "pattern": {"Regex": "[a-z]+|\\d{2}"}, "behavior": "MergedWithNext", "invert": True}
byte_level_last = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
sequences = {
    "added_tokens": [],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": True}, {"type": "Lowercase"}]},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [split, {"type": "Digits", "individual_digits": True}, own, byte_level_last],
    },
    "post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}]},
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Metaspace", "replacement": "_"}]},
    "model": {"vocab": vocabulary(["a", "b", "ab"]), "merges": [["a", "b"]]},
}
write("tokenizer-json", "sequences", text(sequences))
older = {"type": "Metaspace", "replacement": space, "prepend_scheme": "first", "split": True}
write("tokenizer-json", "no-decoder", text({"pre_tokenizer": older, "model": sequences["model"]}))

# tokenizer.model: protocol buffers by hand


def varint(value):
    value &= 2**64 - 1
    output = b""
    while value > 127:
        output += bytes([value & 127 | 128])
        value >>= 7
    return output + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def piece(spelling, score=0.0, kind=1):
    data = block(1, spelling.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return block(1, data + (number(3, kind) if kind != 1 else b""))


def model(pieces, trainer=b"", normalizer=b""):
    return b"".join(pieces) + block(2, number(3, 2) + trainer) + block(3, normalizer)


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
start = [piece("<unk>", 0, UNKNOWN), piece("<s>", 0, CONTROL), piece("</s>", 0, CONTROL)]
letters = [piece(letter, -10.0 - index) for index, letter in enumerate([space, "a", "b", "c", "é"])]
words = [piece("ab", -1.0), piece(f"{space}ab", -2.0), piece("abc", -2.0), piece(f"{space}{space}", -3.0)]
fallback = [piece(f"<0x{byte:02X}>", 0, BYTE) for byte in (0x41, 0xC3, 0xA9, 0xE2)]
write("tokenizer-model", "plain", model(start + letters + words))
write("tokenizer-model", "fallback", model(start + fallback + letters + words, number(35, 1)))
user = start + letters + [piece("hello", 0, USER_DEFINED)]
keep_spaces = number(3, 0) + number(4, 0)  # add_dummy_prefix, remove_extra_whitespaces
write("tokenizer-model", "user-defined", model(user, number(41, -1), block(1, b"identity") + keep_spaces))

write("tokenizer-model", "ranks", b"QQ== 0\nQg== 1\nQUI= 2\n")

# tekken.json: what stands beside `vocab`, and its tokens behind the 256 bytes


def tekken(members, tokens, names=None):
    tail = "".join(f',{{"rank":{256 + rank},"token_bytes":"{token}"}}' for rank, token in enumerate(tokens))
    return SEPARATOR.join([text(members)[1:-1], tail.encode(), text(names or {})])


def tekken_config(pattern, version, special, count):
    return {"pattern": pattern, "num_vocab_tokens": count, "default_vocab_size": special + count,
            "default_num_special_tokens": special, "version": version}


ranks = ["QUI=", "IEE=", "IEFC", "w6k="]  # "AB", " A", " AB", "é"
cased = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
listed = [{"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(["<unk>", "<s>", "</s>"])]
write("tekken", "early", tekken({"config": tekken_config(cased, "v3", 22, 259)}, ranks))
later = {"config": tekken_config(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+", "v13", 4, 260), "special_tokens": listed}
write("tekken", "later", tekken(later, ranks, {"eos_token": "<x>", "add_eos_token": True}))
whole = {"config": tekken_config(cased, "v3", 0, 1), "vocab": [{"rank": 0, "token_bytes": "AA==", "token_str": None}]}
write("tekken", "whole", text(whole))

# vocab.json, merges.txt and what stands beside them

gpt2_tokens = ["<s>", "<pad>", "</s>", "H", "e", "l", "o", "Ġ", "w", "ll", "Ġw", "é"]
special = {"eos_token": {"content": "</s>", "normalized": True}, "pad_token": "<pad>", "unk_token": "</s>"}
opt = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "</s>", "add_prefix_space": False}
decoder = {"added_tokens_decoder": {"12": {"content": "<x>", "lstrip": True}, "1": {"content": "<pad>", "special": True}}}
merges = "#version: 0.2\nl l\nĠ w\n".encode()
write("vocabulary-files", "names", SEPARATOR.join([text(special), text(opt), text({"<x>": 11, "y z": 13})]))
write("vocabulary-files", "list", text(special | {"additional_special_tokens": ["H", {"content": "w", "rstrip": True}]}))
qwen2 = decoder | {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<x>", "add_eos_token": True}
write("vocabulary-files", "everything", SEPARATOR.join([b"", text(qwen2), b"", merges, text(vocabulary(gpt2_tokens))]))

# chat templates: those of the tests

reference = HERE.parent / "Tests" / "TokenizationTests" / "Reference" / "chat_templates.json"
for template in json.loads(reference.read_text(encoding="utf-8"))["templates"]:
    name = template["name"].lower().replace(",", "").replace(" ", "-")
    names = text({"bos_token": template.get("bos"), "eos_token": template["eos"]})
    write("chat-template", name, template["template"].encode() + SEPARATOR + names)
listed = {"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "{{ bos_token }}"}]}
write("chat-template", "in-a-list", SEPARATOR.join([b"", text(listed), text({"bos_token": "<s>"})]))

# Jinja: the goldens of the tests

expressions = HERE.parent / "Tests" / "JinjaTests" / "Reference" / "expressions.jsonl"
for line in expressions.read_text(encoding="utf-8").splitlines():
    case = json.loads(line)
    write("jinja", case["name"], case["source"].encode() + SEPARATOR + text(case["context"]))
