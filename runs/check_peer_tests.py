#!/usr/bin/env python3
"""Holds `onebit serve` against the tests of other people's servers: llama.cpp, vLLM and mlx-lm.

    pip install pytest pytest-asyncio pytest-timeout openai requests regex transformers jsonschema
    python runs/check_peer_tests.py --llama-cpp ../llama.cpp --vllm ../vllm --mlx-lm ../mlx-lm \\
        --model stories260K --chat-model smollm2 [--onebit .build/release/onebit] [-k EXPRESSION]

The folders are checkouts of the peers' repositories; their test files are copied to a temporary folder, changed as `SUITES` says, and
run by pytest against servers that the tests start. MODEL is stories260K, llama.cpp's own test model; CHAT_MODEL one with a
chat template (SmolLM2-135M-Instruct has the tokenizer that vLLM's test of /tokenize expects).

Prints what passed and, for each test that did not, why it does not apply to this server. Exit code 1 if a test fails that has no reason.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve()
CHATML = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


@dataclass
class Suite:
    """A peer's tests: which files, what is changed in them, and which do not apply."""

    name: str
    root: str
    files: list[str]
    #: (pattern, replacement, why), over the text of each file.
    edits: list[tuple[str, str, str]]
    #: pattern of `file::test[parameters]` → why it does not apply.
    not_applicable: dict[str, str]
    #: files to write beside the tests.
    support: dict[str, str] = field(default_factory=dict)


# MARK: What every harness here needs

SERVER = '''
import os, re, subprocess, threading


class Server:
    """A running `onebit serve`."""

    def __init__(self, model, *options, environment=None):
        self.process = subprocess.Popen(
            [os.environ["ONEBIT"], "serve", model, "--port", "0", *options], stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})
        for line in self.process.stderr:
            if address := re.search(r"http://127.0.0.1:(\\d+)/v1", line):
                self.port = int(address[1])
                break
        else:
            raise RuntimeError("onebit serve did not come up")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
'''

#: Modules of the peers that are not installed: whatever a test calls in them is no server's.
FAKES = '''
import importlib.abc, importlib.machinery, sys, types
import pytest


class OwnClass(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return OwnClass(name, (Exception,), {})

    def __call__(cls, *arguments, **named):
        pytest.skip("calls the peer's own code, not a server")

    def __add__(cls, other):
        cls()


class OwnModule(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return OwnClass(name, (Exception,), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return OwnModule(spec.name)

    def exec_module(self, module):
        pass
'''

# MARK: llama.cpp

#: The harness starts a program with llama-server's options; native routes are told in the words of /v1.
LLAMA_CONFTEST = '''
import pytest, requests
import utils
from utils import ServerProcess, ServerResponse, server_instances


@pytest.fixture(autouse=True)
def stop_servers():
    yield
    for server in set(server_instances):
        server.stop()


NATIVE = {"/completion": "/v1/completions", "/completions": "/v1/completions"}
NAMES = {"n_predict": "max_tokens"}


def request(server, data):
    """A request to /completion as one to /v1/completions."""
    body = {NAMES.get(key, key): value for key, value in (data or {}).items()}
    body.setdefault("seed", server.seed)
    body.setdefault("temperature", server.temperature)
    most = server.n_predict if (server.n_predict or -1) > 0 else 512
    if body.setdefault("max_tokens", most) < 0:
        body["max_tokens"] = most
    prompt = body.get("prompt")
    text = lambda part: part["prompt_string"] if isinstance(part, dict) and len(part) == 1 else part
    body["prompt"] = [text(part) for part in prompt] if isinstance(prompt, list) else text(prompt)
    return body


def answer(server, body):
    """An answer of /v1/completions in the form of /completion."""
    if "choices" not in body:
        return body
    def one(choice):
        usage = body.get("usage") or {"prompt_tokens": 0, "completion_tokens": 0}
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
        return {
            "content": choice["text"], "stop": choice["finish_reason"] is not None, "tokens": [],
            "timings": {
                "prompt_n": usage["prompt_tokens"] - cached, "cache_n": cached,
                "predicted_n": usage["completion_tokens"]},
        }
    choices = [one(choice) for choice in body["choices"]]
    return choices[0] if len(choices) == 1 else choices


plain, streamed = ServerProcess.make_request, ServerProcess.make_stream_request


def make_request(self, method, path, data=None, headers=None, timeout=utils.DEFAULT_REQUEST_TIMEOUT, host=None):
    if path in NATIVE and method == "POST":
        result = plain(self, method, NATIVE[path], request(self, data), headers, timeout, host)
        result.body = answer(self, result.body)
        return result
    if path == "/slots" and getattr(self, "server_slots", True):
        running = int(re_running(plain(self, "GET", "/metrics", headers=headers).body))
        result = ServerResponse()
        result.status_code, result.headers = 200, {}
        result.body = [{"is_processing": slot < running} for slot in range(self.n_slots or 1)]
        return result
    if path == "/apply-template":
        tokens = plain(self, "POST", "/tokenize", data)
        if tokens.status_code != 200:
            return tokens
        text = plain(self, "POST", "/detokenize", {"tokens": tokens.body["tokens"]})
        text.body = {"prompt": text.body["prompt"]}
        return text
    if path == "/chat/completions" and isinstance(data, dict):
        # What llama-server is started with; and its answers of known length do not end before.
        data = {"seed": self.seed, "temperature": self.temperature, "ignore_eos": True, **data}
    return plain(self, method, path, data, headers, timeout, host)


def re_running(metrics):
    import re
    return re.search(r"^onebit_texts_running (\\d+)", metrics, re.M)[1]


def make_stream_request(self, method, path, data=None, headers=None, host=None):
    if path not in NATIVE:
        yield from streamed(self, method, path, {"ignore_eos": True, **data}, headers, host)
        return
    body = {**request(self, data), "stream_options": {"include_usage": True}}
    last = None
    for event in streamed(self, method, NATIVE[path], body, headers, host):
        if event["choices"]:
            if last is not None:
                yield answer(self, last)
            last = event
        else:
            last["usage"] = event["usage"]
    if last is not None:
        if answer(self, last)["content"]:
            yield {**answer(self, last), "stop": False}
        yield {**answer(self, last), "content": ""}


ServerProcess.make_request = make_request
ServerProcess.make_stream_request = make_stream_request
'''

LLAMA_CPP = Suite(
    name="llama.cpp", root="tools/server/tests",
    files=[
        "utils.py", "unit/test_chat_completion.py", "unit/test_completion.py", "unit/test_security.py",
        "unit/test_tokenize.py", "unit/test_basic.py", "unit/test_ctx_shift.py", "unit/test_template.py",
        "unit/test_tool_call.py", "unit/test_metrics.py", "unit/test_ignore_eos.py",
    ],
    edits=[
        (r"^import wget$", "", "nothing is downloaded"),
        (r"^ *assert .*system_fingerprint.*\n", "", "llama.cpp's build number"),
        (r"^( *)assert match_regex\(.*\n", r"\1pass\n", "what llama.cpp's sampler draws"),
        (r"^ *assert .*(has_new_line|truncated|generation_settings|stop_type|adaptive_).*\n", "", "fields of /completion alone"),
        (r"^( *)assert (len\(|all\(type\(tok\) == int for tok in )(data|res\.body)\[\"tokens\"\].*\n", r"\1pass\n", "fields of /completion alone"),
        (r"\[1, 2, 3, 4, 5, 6, prompt_str, 7, 8, 9, 10, prompt_str\]", "[1, 2, 3, 4, 5, 6]", "tokens and texts in one prompt"),
        (r"exceeds the available context size", "more than the context", "our words"),
        (r"<!doctype html>", "<!DOCTYPE html>", "the same in capitals"),
        (r"^( *)assert \"timings\" not in data.*\n", "", "llama.cpp's timings"),
    ],
    not_applicable={
        "*test_basic::test_server_multiple_addresses": "one address; run two, or listen on all",
        "*test_basic::test_server_props": "/props is llama.cpp's own",
        "*test_basic::test_server_slots": "there are no slots: any number of texts share a batch",
        "*test_basic::test_load_split_model": "downloads a model",
        "*test_basic::test_no_ui": "the page cannot be switched off",
        "*test_basic::test_server_model_aliases_and_tags": "one alias, no tags",
        "*test_chat_completion::test_chat_completion[[]*This is not a chat template*": "a template that leaves system messages out is refused",
        "*test_chat_completion::test_chat_template": "templates that are built into llama.cpp; ours come with the model",
        "*test_chat_completion::test_apply_chat_template": "templates that are built into llama.cpp; ours come with the model",
        "*test_chat_completion::test_chat_template_assistant_prefill*": "an answer is continued where continue_final_message asks for it",
        "*test_chat_completion::test_chat_template_continue_final_message_vllm_compat": "__verbose is llama.cpp's own; vLLM's test of the same runs",
        "*test_chat_completion::test_verbose_debug": "__verbose is llama.cpp's own",
        "*test_chat_completion::test_completion_with_response_format[[]response_format[0123]*": "no grammars: refused",
        "*test_chat_completion::test_completion_with_json_schema*": "no grammars: refused",
        "*test_chat_completion::test_completion_with_grammar*": "no grammars: refused",
        "*test_chat_completion::test_invalid_chat_completion_req[[]messages7]": "two answers in a row are the template's business",
        "*test_chat_completion::test_chat_completion_with_timings_per_token": "llama.cpp's timings; ours are tokens per second",
        "*test_chat_completion::test_return_progress*": "prompt_progress is llama.cpp's own",
        "*test_chat_completion::test_chat_completions_token_count": "/tokenize takes messages too, as vLLM's",
        "*test_completion::test_completion_stream_with_openai_library_stops": "downloads a model",
        "*test_completion::test_cache_vs_nocache_prompt": "left out by llama.cpp itself; ours: Tests/OneBitServerTests, sameSeed",
        "*test_completion::test_json_prompt_mtm_error_when_not_supported": "no pictures",
        "*test_completion::test_completion_response_fields*": "response_fields is llama.cpp's own",
        "*test_completion::test_n_probs*": "n_probs is llama.cpp's own; vLLM's tests of logprobs run",
        "*test_completion::test_logit_bias[[]False*": "biases of texts; OpenAI's are of token ids",
        "*test_ctx_shift::test_ctx_shift_enabled": "contexts do not shift",
        "*test_ctx_shift::test_ctx_shift_disabled_short_prompt[[]-1*": "the last token needs no place in the context: one more",
        "*test_template::test_reasoning*": "--reasoning is llama.cpp's own; chat_template_kwargs has enable_thinking",
        "*test_template::test_date_inside_prompt*": "variables that llama.cpp sets and transformers does not",
        "*test_tool_call::test_completion_without_tool_call_fast[[]meta-llama-Llama-3.3-70B-Instruct-128-tools1*": "a prompt of 728 tokens; the model's context has 512",
        "*test_tool_call::test_completion_with_required_tool*": "tool_choice: required needs grammars: refused",
        "*test_tool_call::test_completion_without_tool_call_slow*": "needs models of billions of parameters",
        "*test_tool_call::test_weather*": "needs models of billions of parameters",
        "*test_tool_call::test_calc_result*": "needs models of billions of parameters",
        "*test_tool_call::test_thoughts*": "needs models of billions of parameters",
        "*test_tool_call::test_hello_world*": "needs models of billions of parameters",
        "*test_metrics::*": "llama.cpp's names; ours begin with onebit_",
        "*test_ignore_eos::*": "tells of it in generation_settings; ours: Tests/OneBitServerTests, ignoreEnd",
        "*test_security::test_access_static_assets*": "the page is one file",
        "*test_security::test_cors_options*": "no origin is let in unless listed, and none with credentials",
        "*test_security::test_cors_origins*": "origins are listed one by one, and refused with 403",
        "*test_security::test_cors_proxy*": "no proxy",
        "*test_security::test_local_media_file*": "no pictures",
    },
    support={"conftest.py": LLAMA_CONFTEST, "wget.py": ""})


def llama_server(model, arguments):
    """Runs `onebit serve` for llama-server's options."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--kv-unified", action="store_true")
    for name in ["port", "host", "alias", "ctx-size", "parallel", "n-predict", "api-key", "chat-template", "chat-template-file"]:
        parser.add_argument("--" + name)
    options, _ = parser.parse_known_args(arguments)
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ["PEER_FOLDER"]))
    for file in pathlib.Path(model).iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file.resolve())
    template = CHATML
    if options.chat_template_file:
        template = pathlib.Path(options.chat_template_file).read_text()
    elif options.chat_template and options.chat_template != "chatml":
        template = options.chat_template
    (folder / "chat_template.jinja").write_text(template)
    parallel = int(options.parallel or 1)
    command = [os.environ["ONEBIT"], "serve", str(folder), "--port", options.port, "--host", options.host, "--parallel", str(parallel)]
    if options.alias:
        command += ["--alias", options.alias]
    if options.ctx_size:
        command += ["--context", str(min(512, int(options.ctx_size) // (1 if options.kv_unified else parallel)))]
    if options.n_predict and int(options.n_predict) > 0:
        command += ["--max-tokens", options.n_predict]
    if options.api_key:
        os.environ["ONEBIT_API_KEY"] = options.api_key
    os.execv(command[0], command)


# MARK: vLLM

VLLM_UTILS = SERVER + '''

class RemoteOpenAIServer:
    def __init__(self, model, arguments, **named):
        import openai
        # vLLM lets any number wait.
        options = ["--parallel", "16", "--queue", "512"]
        if "--max-model-len" in arguments:
            options += ["--context", str(min(8192, int(arguments[arguments.index("--max-model-len") + 1])))]
        self.server = Server(os.environ["CHAT_MODEL"], *options)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.server.stop()

    def url_for(self, *parts):
        return f"http://127.0.0.1:{self.server.port}/" + "/".join(parts)

    def get_async_client(self, **named):
        import openai
        named.setdefault("timeout", 600)
        return openai.AsyncOpenAI(base_url=self.url_for("v1"), api_key="none", max_retries=0, **named)
'''

VLLM_CONFTEST = FAKES + '''
sys.meta_path.insert(0, Finder({"vllm", "torch", "fastapi", "starlette", "pybase64", "prometheus_client"}))

import os
import torch, vllm.tokenizers, vllm.config
from types import SimpleNamespace


class Integers:
    def __init__(self, *ignored):
        self.min, self.max = -2**63, 2**63 - 1


torch.iinfo = Integers


def get_tokenizer(tokenizer_name):
    import transformers
    return transformers.AutoTokenizer.from_pretrained(os.environ["CHAT_MODEL"])


class Configuration:
    def __init__(self, **ignored):
        pass

    def get_vocab_size(self):
        import json
        return json.load(open(os.environ["CHAT_MODEL"] + "/config.json"))["vocab_size"]


vllm.tokenizers.get_tokenizer = get_tokenizer
vllm.config.ModelConfig = Configuration


@pytest.fixture
def sample_structured_outputs_choices():
    return ["Python", "Java"]


@pytest.fixture
def sample_json_schema():
    return {"type": "object"}


@pytest.fixture
def sample_regex():
    return "a+"


@pytest.fixture(scope="session")
def qwen3_lora_files():
    return ""
'''

VLLM = Suite(
    name="vLLM", root="tests",
    files=[
        "entrypoints/openai/completion/test_completion.py", "entrypoints/openai/completion/test_prompt_validation.py",
        "entrypoints/openai/completion/test_completion_text_offset.py", "entrypoints/openai/chat_completion/test_chat.py",
        "entrypoints/openai/chat_completion/test_chat_logit_bias_validation.py",
        "entrypoints/openai/chat_completion/test_non_object_body_validation.py",
        "entrypoints/serve/instrumentator/test_basic.py", "entrypoints/serve/tokenize/test_tokenization.py",
        "entrypoints/serve/exception_handling/test_error_sanitization.py",
        "entrypoints/serve/exception_handling/test_validation_exception_handler.py",
        "entrypoints/serve/middleware/test_authentication_middleware.py",
        "entrypoints/serve/middleware/test_cors_middleware.py",
    ],
    edits=[
        (r"hf_api\(\)\.snapshot_download\(.*\)", '""', "no LoRA files"),
        (r"^( *)assert completion\.choices\[0\]\.prompt_logprobs is None\n", r"\1pass\n", "prompt_logprobs is vLLM's own"),
        (r"^ *assert chat_completion\.usage == openai\.types\.CompletionUsage\(\n.*\n *\)\n", "", "counts of another model"),
        (r"^ *assert completion\.usage\.(prompt|total)_tokens == .*\n", "", "counts of another model"),
        (r"^ *assert delta\.content\n", "", "the last chunk has the reason alone, as OpenAI's and llama.cpp's"),
        (r"^ *assert chunk_len <= max_tokens, \(\n.*\n *\)\n", "", "the last chunk has the reason alone"),
        (r"^ *assert batch\.choices\[0\]\.text != batch\.choices\[1\]\.text, \(\n.*\n *\)\n", "", "no beam search: two greedy choices are one"),
        (r"^    assert content == \"2\"\n", "", "what another model says"),
        (r"prompt = \"What is an LLM\?\"", 'prompt = "Once upon a time there was"', "this model's answer to that ends at once"),
        (r"^ *assert \(\n *\"greater_than_equal\" in .*\n.*\n *\)\n", "", "pydantic's words"),
        (r", match=re\.compile\(\"\.\*out of vocabulary\.\*\"\)\.pattern", ', match="there is no token 999999"', "our words"),
        (r"match=\"Either prompt or prompt_embeds must be provided and non-empty.\"", 'match="prompt: expected"', "our words"),
        (r"^    # Test stream=True, stream_options=\n    #     \{\"include_usage\": True, \"continuous_usage_stats\": True\}\n(.*\n)*?(?=    # Test stream=False)", "", "continuous_usage_stats is vLLM's own"),
        (r"^    # Test stream=True, stream_options=\{\"include_usage\": True,\n    # *\"continuous_usage_stats\": True\}\n(.*\n)*?(?=\n\n@pytest)", "", "continuous_usage_stats is vLLM's own"),
        (r"assert response\.json\(\) == \{\"prompt\": prompt\}", 'assert response.json()["prompt"] == prompt', "llama.cpp's content stands beside it"),
    ],
    not_applicable={
        "*test_chat::test_prompt_logprobs_chat*": "prompt_logprobs is vLLM's own; echo tells them",
        "*test_chat::test_more_than_one_prompt_logprobs_chat*": "prompt_logprobs is vLLM's own; echo tells them",
        "*test_completion::test_prompt_logprobs_completion*": "prompt_logprobs is vLLM's own; echo tells them",
        "*test_chat::test_structured_outputs_[!t]*": "no grammars: refused",
        "*test_chat::test_response_format_json*": "no grammars: refused",
        "*test_chat::test_custom_role": "a role is one of five: one that is misspelled is refused",
        "*test_chat::test_invocations": "/invocations is SageMaker's",
        "*test_completion::test_completion_truncation_side*": "truncate_prompt_tokens is vLLM's own",
        "*test_completion::test_logprob_token_ids*": "logprob_token_ids is vLLM's own",
        "*test_completion_text_offset::*": "calls the peer's own code, not a server; ours: Tests/OneBitServerTests, heldBack",
        "*test_prompt_validation::test_load_prompt_embeds*": "calls the peer's own code, not a server",
        "*TestAffectedModulesUseSanitize*": "calls the peer's own code, not a server",
        "*test_basic::test_show_version": "/version is vLLM's own",
        "*test_basic::test_server_load*": "/load is vLLM's own; /metrics tells it",
        "*test_tokenization::test_tokenizer_info_basic*": "tokenizer_class is transformers' own",
    },
    support={"utils.py": VLLM_UTILS, "conftest.py": VLLM_CONFTEST, "__init__.py": ""})

# MARK: mlx-lm

MLX_OURS = '''

class Ours:
    @classmethod
    def setUpClass(cls):
        cls.server = Server(os.environ["CHAT_MODEL"])
        cls.port = cls.server.port

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
'''

MLX_LM = Suite(
    name="mlx-lm", root="tests", files=["test_server.py"],
    edits=[
        (r"(?m)^    @classmethod\n    def (setUpClass|tearDownClass)\(cls\):\n(        .*\n|\n)*", "", "our server, not theirs"),
        (r"^class (TestServer|TestServerWithDraftModel)\(unittest\.TestCase\):", r"class \1(peer.Ours, unittest.TestCase):", "our server, not theirs"),
        (r"^import unittest$", "import unittest\n\nimport peer", "our server, not theirs"),
    ],
    not_applicable={
        "*test_make_state_machine_empty_tool_call_end": "calls the peer's own code, not a server",
    },
    support={
        "peer.py": SERVER + MLX_OURS,
        "conftest.py": FAKES + '\nsys.meta_path.insert(0, Finder({"mlx", "mlx_lm"}))\n',
    })

#: What does not apply is not run.
COLLECTION = '''

def pytest_collection_modifyitems(items):
    import fnmatch, json, os, pytest
    reasons = json.loads(os.environ["NOT_APPLICABLE"])
    for item in items:
        module = item.module.__name__.removeprefix("tests.")
        name = "::".join([module + (f".{item.cls.__name__}" if item.cls else ""), item.name])
        for pattern, why in reasons.items():
            if fnmatch.fnmatchcase(name, pattern):
                item.add_marker(pytest.mark.skip(reason=why))
                break
'''


# MARK: Running them

def lay_out(suite, checkout, folder):
    """The suite's files in a folder of its own, changed."""
    tests = folder / "tests"
    for name in suite.files:
        source, target = checkout / suite.root / name, tests / name
        if not source.exists():
            sys.exit(f"{source}: there is none; another commit may have moved it")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        for pattern, replacement, _ in suite.edits:
            text = re.sub(pattern, replacement, text, flags=re.M)
        target.write_text(text)
        for parent in target.parents:
            if parent == tests:
                break
            (parent / "__init__.py").touch()
    for name, text in suite.support.items():
        (tests / name).write_text(text + (COLLECTION if name == "conftest.py" else ""))
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = strict\nmarkers =\n    slow\n    serial\n")
    return tests


def run(suite, checkout, options):
    """Runs a suite; (test, outcome, message) of each test."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        tests = lay_out(suite, checkout, folder)
        wrapper = folder / "llama-server"
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}" --as-llama-server "{options.model}" "$@"\n')
        wrapper.chmod(0o755)
        environment = {
            **os.environ, "ONEBIT": options.onebit, "CHAT_MODEL": options.chat_model or "", "PEER_FOLDER": temporary,
            "NOT_APPLICABLE": json.dumps({} if options.all else suite.not_applicable),
            "LLAMA_SERVER_BIN_PATH": str(wrapper), "PORT": "18080",
            "PYTHONPATH": os.pathsep.join([str(folder), str(tests)]),
        }
        command = [
            sys.executable, "-m", "pytest", str(tests), "-q", "-c", str(folder / "pytest.ini"), "--rootdir", str(folder),
            "--timeout", "120", "--continue-on-collection-errors", "--junitxml", str(folder / "results.xml"), "-p", "no:cacheprovider"]
        if options.k:
            command += ["-k", options.k]
        log = subprocess.run(
            command, cwd=checkout / suite.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if options.log:
            (pathlib.Path(options.log) / f"{suite.name}.log").write_text(log.stdout)
        if not (folder / "results.xml").exists():
            sys.exit(log.stdout)
        results = []
        for case in xml.etree.ElementTree.parse(folder / "results.xml").iter("testcase"):
            module = case.get("classname", "").removeprefix("tests.")
            name = f"{module}::{case.get('name')}"
            problem = next((node for node in case if node.tag in ("failure", "error", "skipped")), None)
            outcome = "passed" if problem is None else "skipped" if problem.tag == "skipped" else "failed"
            results.append((name, outcome, "" if problem is None else problem.get("message", "")))
        return results


def main():
    if sys.argv[1:2] == ["--as-llama-server"]:
        llama_server(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser()
    parser.add_argument("--llama-cpp", type=pathlib.Path)
    parser.add_argument("--vllm", type=pathlib.Path)
    parser.add_argument("--mlx-lm", type=pathlib.Path)
    parser.add_argument("--model", type=os.path.abspath)
    parser.add_argument("--chat-model", type=os.path.abspath)
    parser.add_argument("--onebit", default=".build/release/onebit")
    parser.add_argument("-k", help="only tests of these names, as for pytest")
    parser.add_argument("--all", action="store_true", help="also what does not apply: passes are counted")
    parser.add_argument("--log", help="a folder for pytest's output")
    options = parser.parse_args()
    options.onebit = str(pathlib.Path(options.onebit).resolve())
    checkouts = [(LLAMA_CPP, options.llama_cpp), (VLLM, options.vllm), (MLX_LM, options.mlx_lm)]
    is_good = True
    for suite, checkout in checkouts:
        if checkout is None:
            continue
        passed, applies_not, surprises = 0, {}, []
        for name, outcome, message in run(suite, checkout.resolve(), options):
            reason = next(
                (why for pattern, why in suite.not_applicable.items() if fnmatch.fnmatchcase(name, pattern)), None)
            if outcome == "passed":
                passed += 1
            elif reason or outcome == "skipped":
                applies_not.setdefault(reason or message.removeprefix("Skipped: "), []).append(name)
            else:
                surprises.append(f"{name}: {message[:300]}")
        count = sum(map(len, applies_not.values()))
        print(f"{suite.name}: {passed} passed, {count} not applicable, {len(surprises)} unexplained")
        for reason, names in sorted(applies_not.items(), key=lambda item: -len(item[1])):
            print(f"  {len(names):3} {reason}")
        for surprise in surprises:
            print(f"  UNEXPLAINED {surprise}")
        is_good = is_good and not surprises
    sys.exit(0 if is_good else 1)


main()
