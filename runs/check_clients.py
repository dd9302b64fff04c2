#!/usr/bin/env python3
"""Talks to `onebit serve` by other people's clients: openai-python, LangChain and LlamaIndex.

    .venv/bin/pip install openai langchain-openai llama-index-llms-openai-like
    .venv/bin/python runs/check_clients.py MODEL [--onebit .build/release/onebit]

MODEL needs a chat template. Prints what was checked; exit code 1 if anything fails.
"""

import argparse
import re
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--onebit", default=".build/release/onebit")
arguments = parser.parse_args()

server = subprocess.Popen([arguments.onebit, "serve", arguments.model, "--port", "0"], stderr=subprocess.PIPE, text=True)
for line in server.stderr:
    if address := re.search(r"http://\S+/v1", line):
        break
else:
    sys.exit("onebit serve did not come up")

failures = []


def check(what, condition):
    print(("ok      " if condition else "FAILED  ") + what)
    if not condition:
        failures.append(what)


question = [{"role": "user", "content": "Name a color."}]
weather = {
    "type": "function",
    "function": {
        "name": "weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
try:
    import openai

    client = openai.OpenAI(base_url=address[0], api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    chat = client.chat.completions.create(model=model, messages=question, max_tokens=12, seed=7)
    check("openai: a chat", chat.choices[0].message.content and chat.usage.completion_tokens <= 12)
    again = client.chat.completions.create(model=model, messages=question, max_tokens=12, seed=7)
    check("openai: the same seed, the same text", again.choices[0].message.content == chat.choices[0].message.content)
    pieces = list(
        client.chat.completions.create(
            model=model, messages=question, max_tokens=12, seed=7, stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    check("openai: the same text streamed", text == chat.choices[0].message.content)
    check("openai: usage at the end of a stream", pieces[-1].usage.total_tokens == chat.usage.total_tokens)
    logs = client.chat.completions.create(
        model=model, messages=question, max_tokens=8, seed=7, logprobs=True, top_logprobs=4).choices[0]
    check(
        "openai: log probabilities spell the text",
        "".join(token.token for token in logs.logprobs.content) == logs.message.content
        and all(len(token.top_logprobs) == 4 for token in logs.logprobs.content))
    texts = client.completions.create(model=model, prompt=["Once", "Twice"], max_tokens=6, n=2, seed=1, logprobs=2)
    check("openai: completions of two prompts, two each", len(texts.choices) == 4)
    tools = client.chat.completions.create(
        model=model, messages=question, tools=[weather], max_tokens=24, seed=1)
    check("openai: a chat with tools", tools.choices[0].finish_reason in ("stop", "length", "tool_calls"))
    try:
        client.chat.completions.create(model=model, messages=question, temperature=-1)
        check("openai: a bad temperature is refused", False)
    except openai.BadRequestError as error:
        check("openai: a bad temperature is refused", error.param == "temperature" and "0" in error.message)
    stream = client.chat.completions.create(model=model, messages=question, max_tokens=2000, stream=True)
    next(iter(stream))
    stream.close()
    time.sleep(1.0)
    import httpx

    metrics = httpx.get(address[0].replace("/v1", "/metrics")).text
    check("openai: a stream that is closed ends its text", "onebit_texts_in_flight 0" in metrics)

    from langchain_openai import ChatOpenAI

    langchain = ChatOpenAI(base_url=address[0], api_key="none", model=model, max_tokens=12, seed=7)
    check("LangChain: a chat", langchain.invoke("Name a color.").content == chat.choices[0].message.content)
    check(
        "LangChain: streamed",
        "".join(piece.content for piece in langchain.stream("Name a color.")) == chat.choices[0].message.content)
    check("LangChain: with a tool", langchain.bind_tools([weather["function"]]).invoke("Hello") is not None)

    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    llama = OpenAILike(
        api_base=address[0], api_key="none", model=model, is_chat_model=True, max_tokens=12,
        additional_kwargs={"seed": 7}, temperature=1.0)
    answer = llama.chat([ChatMessage(role="user", content="Name a color.")])
    check("LlamaIndex: a chat", answer.message.content == chat.choices[0].message.content)
    plain = OpenAILike(api_base=address[0], api_key="none", model=model, is_chat_model=False, max_tokens=12)
    check("LlamaIndex: a completion", bool(plain.complete("Once upon a time").text))
finally:
    server.terminate()
    check("SIGTERM ends the server", server.wait(timeout=40) == 0)

sys.exit(1 if failures else 0)
