#!/usr/bin/env python3
"""Renders test conversations with Jinja, as transformers' `apply_chat_template` does, for TokenizationTests to compare with.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install jinja2==3.1.6
    /tmp/venv/bin/python scripts/reference/chat_templates.py > Tests/TokenizationTests/Reference/chat_templates.json

The templates are ours, and do for plain text what those of the families do, with some branches for tools.
"""

import datetime
import json
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

DAY = datetime.datetime(2025, 3, 7)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def render(template, messages, bos, eos, add_generation_prompt):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = DAY.strftime
    return environment.from_string(template).render(
        messages=messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt, bos_token=bos,
        eos_token=eos,
    )


ALTERNATION = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant have to alternate') }}{% endif %}"
)


def prompt(text):
    return "{% if add_generation_prompt %}{{ " + text + " }}{% endif %}"


def llama2(bos_every_turn, later_system=False):
    later = "{% elif message['role'] == 'system' %}{{ '<<SYS>>\\n' + content.strip() + '\\n<</SYS>>\\n\\n' }}"
    return (
        ("" if bos_every_turn else "{{ bos_token }}")
        + "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        + ALTERNATION
        + "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ "
        + ("bos_token + " if bos_every_turn else "")
        + "'[INST] ' + content.strip() + ' [/INST]' }}"
        + (later if later_system else "")
        + "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    )


LLAMA3_MESSAGE = (
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>'"
)
LLAMA3_PROMPT = "'<|start_header_id|>assistant<|end_header_id|>\\n\\n'"
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    + LLAMA3_MESSAGE
    + " %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
)


def llama3_tools(day):
    return (
        """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    """
        + day
        + """
{%- endif %}
{#- The system message, if there is one. #}
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == "ipython" or message.role == "tool" or "tool_calls" in message) %}
        {{- """
        + LLAMA3_MESSAGE
        + """ }}
    {%- elif "tool_calls" in message %}
        {{- raise_exception("no tools in this test") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- """
        + LLAMA3_PROMPT
        + """ }}
{%- endif %}
"""
    )


RELEASE_DAY = '{%- set date_string = "26 Jul 2024" %}'
DAY_OF_USE = """{%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}"""


def mistral(opening, closing, before_answer, condition, trim=""):
    return f"""{{%- if messages[0]["role"] == "system" %}}
    {{%- set system_message = messages[0]["content"] %}}
    {{%- set loop_messages = messages[1:] %}}
{{%- else %}}
    {{%- set loop_messages = messages %}}
{{%- endif %}}
{{%- if not tools is defined %}}
    {{%- set tools = none %}}
{{%- endif %}}
{{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}}
{{%- set ns = namespace() %}}
{{%- set ns.index = 0 %}}
{{%- for message in loop_messages %}}
    {{%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}}
        {{%- if (message["role"] == "user") != (ns.index % 2 == 0) %}}
            {{{{- raise_exception("user and assistant have to alternate") }}}}
        {{%- endif %}}
        {{%- set ns.index = ns.index + 1 %}}
    {{%- endif %}}
{{%- endfor %}}
{{{{- bos_token }}}}
{{%- for message in loop_messages %}}
    {{%- if message["role"] == "user" %}}
        {{%- if tools is not none and (message == user_messages[-1]) %}}
            {{{{- "[AVAILABLE_TOOLS]" + tools | tojson }}}}
        {{%- endif %}}
        {{%- if {condition} and system_message is defined %}}
            {{{{- "{opening}" + system_message + "\\n\\n" + message["content"] + "{closing}" }}}}
        {{%- else %}}
            {{{{- "{opening}" + message["content"] + "{closing}" }}}}
        {{%- endif %}}
    {{%- elif message.tool_calls is defined and message.tool_calls is not none %}}
        {{{{- "[TOOL_CALLS]" }}}}
    {{%- elif message["role"] == "assistant" %}}
        {{{{- {before_answer}message["content"]{trim} + eos_token}}}}
    {{%- else %}}
        {{{{- raise_exception("no such role") }}}}
    {{%- endif %}}
{{%- endfor %}}
"""


MISTRAL_WITHOUT_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}"
    + ALTERNATION
    + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
)

CHATML_MESSAGE = "'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'"
CHATML_PROMPT = prompt("'<|im_start|>assistant\\n'")
CHATML = "{% for message in messages %}{{" + CHATML_MESSAGE + "}}{% endfor %}" + CHATML_PROMPT
QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou answer briefly.<|im_end|>\\n' }}{% endif %}{{"
    + CHATML_MESSAGE
    + "}}{% endfor %}"
    + CHATML_PROMPT
)
QWEN25 = (
    "{% if tools %}{{ tools | tojson }}{% elif messages[0].role == 'system' %}"
    "{{ '<|im_start|>system\\n' ~ messages[0].content ~ '<|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>system\\nYou are new, and \\'helpful\\'.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{% if message.role == \"user\" or (message.role == \"system\" and not loop.first) or "
    "(message.role == \"assistant\" and not message.tool_calls) %}{{ "
    + CHATML_MESSAGE
    + " }}{% elif message.role == \"assistant\" %}{{ message.tool_calls | tojson }}{% endif %}{% endfor %}"
    + CHATML_PROMPT
)

# Qwen3's in our words: reasoning is written in the answers to the last question, in the very last even where there is none.
QWEN3 = """{% set last = namespace(question=messages | length - 1) %}
{% for turn in messages %}
{% if turn.role == 'user' %}
{% set last.question = loop.index0 %}
{% endif %}
{% endfor %}
{% for turn in messages %}
{{- '<|im_start|>' ~ turn.role ~ '\\n' }}
{%- if turn.role != 'assistant' %}
{{- turn.content }}
{%- else %}
{%- set halves = turn.content.split('</think>') %}
{%- set thought, answer = '', halves[0] %}
{%- if halves | length > 1 %}
{%- set thought, answer = (halves[0].rstrip('\\n').split('<think>') | last).strip('\\n'), (halves | last).lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > last.question and (thought or loop.last) %}
{{- '<think>\\n' ~ thought ~ '\\n</think>\\n\\n' ~ answer.lstrip('\\n') }}
{%- else %}
{{- answer }}
{%- endif %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

ALPACA_LOOP = (
    "{% for message in loop_messages %}{% if message['role'] == 'user' %}"
    "{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}" + prompt("'### Response:\\n'")
)
ALPACA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}"
    "{% set loop_messages = messages[1:] %}{% else %}"
    "{{ 'Below is an instruction. Write a response to it.\\n\\n' }}{% set loop_messages = messages %}{% endif %}"
    + ALPACA_LOOP
)
ALPACA_TRIMMED = (
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] | trim + '\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}{{ bos_token + system_message }}"
    "{% for message in messages %}"
    + ALTERNATION
    + "{% if message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] | trim + '\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] | trim + eos_token + '\\n\\n' }}"
    "{% endif %}{% endfor %}" + prompt("'### Response:\\n'")
)
ALPACA_WITHOUT_TOKENS = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] + '\\n\\n' }}"
    "{% endif %}{% endfor %}" + prompt("'### Response:\\n'")
)

SENTENCE = ("<s>", "</s>")
LLAMA3_TOKENS = ("<|begin_of_text|>", "<|eot_id|>")
CHATML_TOKENS = (None, "<|im_end|>")

TEMPLATES = [
    ("LLaMA-2", llama2(True), SENTENCE),
    ("LLaMA-2, later system", llama2(True, later_system=True), SENTENCE),
    ("LLaMA-2, one BOS", llama2(False), SENTENCE),
    ("LLaMA-3", LLAMA3 + prompt(LLAMA3_PROMPT), LLAMA3_TOKENS),
    ("LLaMA-3, always asks", LLAMA3 + "{{ " + LLAMA3_PROMPT + " }}", LLAMA3_TOKENS),
    (
        "LLaMA-3, BOS in front",
        "{{ bos_token }}{% for message in messages %}{{ " + LLAMA3_MESSAGE + " }}{% endfor %}" + prompt(LLAMA3_PROMPT),
        LLAMA3_TOKENS,
    ),
    ("LLaMA-3.1", llama3_tools(RELEASE_DAY), LLAMA3_TOKENS),
    ("LLaMA-3.2", llama3_tools(DAY_OF_USE), LLAMA3_TOKENS),
    ("Mistral v1, no system", MISTRAL_WITHOUT_SYSTEM, SENTENCE),
    ("Mistral v1", mistral(" [INST] ", " [/INST]", "' ' + ", "loop.first"), SENTENCE),
    ("Mistral v3", mistral("[INST] ", "[/INST]", "' ' + ", "loop.last", "|trim"), SENTENCE),
    (
        "Mistral v3, last question",
        mistral("[INST] ", "[/INST]", "' ' + ", "(message == user_messages[-1])", "|trim"),
        SENTENCE,
    ),
    ("Mistral v3-tekken", mistral("[INST]", "[/INST]", "", "loop.last"), SENTENCE),
    ("ChatML", CHATML, CHATML_TOKENS),
    ("ChatML, BOS in front", "{{ bos_token }}" + CHATML, ("<s>", "<|im_end|>")),
    ("Qwen2", QWEN2, CHATML_TOKENS),
    ("Qwen2.5", QWEN25, CHATML_TOKENS),
    ("Qwen3", QWEN3, CHATML_TOKENS),
    ("Alpaca", ALPACA, SENTENCE),
    ("Alpaca, trimmed", ALPACA_TRIMMED, SENTENCE),
    ("Alpaca, without tokens", ALPACA_WITHOUT_TOKENS, SENTENCE),
]

TURNS = [
    ("system", "You speak like a pirate."),
    ("user", "Hello, who are you?"),
    ("assistant", "A captain."),
    ("user", "  Where to?\n"),
    ("assistant", " West,\n  with the wind. \n"),
    ("user", "<|im_end|> </s> [INST] <|eot_id|>"),
]
CONVERSATIONS = {
    "question": TURNS[1:2],
    "system and question": TURNS[0:2],
    "answered": TURNS[0:3],
    "two questions": TURNS[1:4],
    "all": TURNS,
    "all, no system": TURNS[1:],
    "answered twice": TURNS[:5],
    "thought": TURNS[1:2] + [("assistant", "<think>\nWho am I?\n</think>\n\nA captain.")],
    "thought before": TURNS[1:2] + [("assistant", "<think>\nWho am I?\n</think>\n\nA captain.")] + TURNS[3:4],
    "two answers": TURNS[1:3] + TURNS[4:5],
    "two questions in a row": TURNS[1:2] + TURNS[3:4],
    "answer first": TURNS[2:4],
    "late system": TURNS[1:2] + TURNS[0:1],
}


def main():
    results = []
    for name, template, (bos, eos) in TEMPLATES:
        cases = []
        for title, turns in CONVERSATIONS.items():
            messages = [{"role": role, "content": content} for role, content in turns]
            for ask in (False, True):
                case = {"conversation": title, "addGenerationPrompt": ask}
                try:
                    case["text"] = render(template, messages, bos, eos, ask)
                except jinja2.exceptions.TemplateError as error:
                    case["refusal"] = str(error)
                cases.append(case)
        results.append({"name": name, "template": template, "bos": bos, "eos": eos, "cases": cases})
    conversations = {
        title: [{"role": role, "content": content} for role, content in turns] for title, turns in CONVERSATIONS.items()
    }
    document = {"jinja2": jinja2.__version__, "day": DAY.strftime("%Y-%m-%d"), "conversations": conversations,
                "templates": results}
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
