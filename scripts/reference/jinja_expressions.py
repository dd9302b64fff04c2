#!/usr/bin/env python3
"""Renders small templates with jinja2 in transformers' environment, for JinjaTests to compare with.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install jinja2==3.1.6 transformers==5.23.0
    /tmp/venv/bin/python scripts/reference/jinja_expressions.py > Tests/JinjaTests/Reference/expressions.jsonl

With `--random COUNT --seed SEED` it makes up as many templates instead: `scripts/compare-jinja.sh` holds the interpreter
against them. Each line is a JSON object: `name`, `source`, `context`, and `rendered` or `error` with `kind` and `message`.
"""

import argparse
import datetime
import json
import random
import sys

import jinja2
from jinja2.exceptions import FilterArgumentError, SecurityError, TemplateRuntimeError, TemplateSyntaxError, UndefinedError
from transformers.utils import chat_template_utils


class Noon(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 25, 12)


chat_template_utils.datetime = Noon

KINDS = [
    (UndefinedError, "undefined"), (TemplateSyntaxError, "syntax"), (SyntaxError, "syntax"), (SecurityError, "security"),
    (FilterArgumentError, "argument"), (TemplateRuntimeError, "runtime"), (jinja2.TemplateError, "raise_exception"),
    (TypeError, "type"), (ValueError, "value"), (ZeroDivisionError, "zero_division"), (OverflowError, "overflow"),
    (RecursionError, "recursion"), (Exception, "other"),
]


def compute(name, source, context):
    case = {"name": name, "source": source, "context": context}
    try:
        case["rendered"] = chat_template_utils._cached_compile_jinja_template(source).render(**context)
    except Exception as error:
        kind = next(kind for exception, kind in KINDS if isinstance(error, exception))
        case["error"] = {"kind": kind, "message": str(error)}
    return case


# What templates of models do, and where other interpreters were wrong.
WRITTEN = {
    "items-key": ("{{ d.items is callable }} {{ d['items'] }} {{ d.items()|list }}", {"d": {"items": 1}}),
    "braces-in-text": ("{{ '}}' ~ '%}' }}{{ {'a': {'b': 1}}.a.b }}", {}),
    "strip-set": ("{{ s.strip('x-') }}|{{ s.lstrip('-') }}|{{ s.rstrip('x') }}", {"s": "-x-a-x-"}),
    "integer-keys": ("{{ {1: 'a', 2.0: 'b'}[2] }} {{ {1: 'a'}[true] }}", {}),
    "loop-over-sum": ("{% for x in a + b %}{{ x }}{{ loop.last }}{% endfor %}", {"a": [1], "b": [2, 3]}),
    "neighbors": ("{% for x in a %}{{ loop.previtem|default('-') }}{{ x }}{{ loop.nextitem|default('-') }} {% endfor %}",
                  {"a": [1, 2, 3]}),
    "undefined-length": ("{{ u|length }} {{ u|list }} {{ u is iterable }} [{{ u }}]", {}),
    "negative-range": ("{{ range(5, -5, -3)|list }} {{ range(3)[::-1]|list }} {{ range(0)|list }}", {}),
    "whole-division": ("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 // -2.0 }} {{ -7 % 2.5 }} {{ 2 ** -1 }} {{ -2 ** 2 }}", {}),
    "floats": ("{{ [1e16, 1e15, 1.5e300, 1e-5, 0.0001, 123456789.125, 5e-324, -0.0, 2.0 ** 60] }}", {}),
    "big": ("{{ 2 ** 200 }} {{ 2 ** 200 // 3 ** 50 }} {{ -(2 ** 100) % 97 }} {{ 10 ** 30 - 1 }}", {}),
    "strings": ("{{ [s, s ~ '\"', '\\x00\\u200b\\U0001F600', 'a\\\\b'] }}", {"s": "it's"}),
    "case": ("{{ s|upper }} {{ s|title }} {{ s|capitalize }} {{ s.title() }} {{ s.swapcase() }}",
             {"s": "straße ΑΣ ǆ they're"}),
    "scopes": ("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{% if true %}{% set x = 3 %}{% endif %}"
               "{% with %}{% set x = 4 %}{% endwith %}{{ x }}", {}),
    "macros": ("{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}"
               "{{ m(1, 2, 3, c=4) }}{% call m(5) %}body{% endcall %}", {}),
    "recursive": ("{% for n in t recursive %}{{ n.v }}{{ loop.depth }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% endfor %}",
                  {"t": [{"v": 1, "c": [{"v": 2, "c": [{"v": 3}]}]}, {"v": 4}]}),
    "format": ("{{ '%05.1f|%-6s|%+d|%x|%%|%r' % (3.14159, 'ab', 5, 255, 'q') }} {{ '{:>6}|{:<5}|{:^7}|{:,}'.format('a', 'b',"
               " 'c', 1234567) }} {{ '{0[k]!r:>6}{1:08.3f}'.format({'k': 'v'}, -2.5) }}", {}),
    "json": ("{{ d|tojson }}\n{{ d|tojson(indent=2) }}\n{{ d|tojson(sort_keys=true, separators=(',', ':')) }}",
             {"d": {"é": "\n\"<\u2028", "a": [1.0, None, True, {}, []]}}),
    "generators": ("{% set g = a|map('string') %}{{ g|join }}{{ g|join }} {{ a|select('odd')|first }}", {"a": [1, 2, 3]}),
    "lazy": ("{% set g = a|map('nothing') %}ok {{ [1, 'a']|map('abs')|first }}", {"a": [1]}),
    "sandbox": ("{{ d.update }}|{{ ''.__class__ }}|{{ d.update({}) }}", {"d": {}}),
    "sandbox-list": ("{{ a.append }}|{% set _ = a.append(1) %}", {"a": []}),
    "dates": ("{{ strftime_now('%d %b %Y|%A %j %U %W %V %u|%-d/%-m/%y %I:%M %p|%e|%%|%q') }}", {}),
    "wrapped": ("{{ s|wordwrap(12) }}|{{ s|truncate(20) }}|{{ s|truncate(20, true, '…') }}|{{ s|indent(2, true) }}",
                {"s": "The quick brown fox\njumps over the lazy dog-house"}),
    "groups": ("{% for k, g in a|groupby('r') %}{{ k }}{{ g|map(attribute='c')|list }}{% endfor %} "
               "{{ a|groupby('r')|list }} {{ a|sort(attribute='c', reverse=true)|map(attribute='c')|join }}",
               {"a": [{"r": "u", "c": 1}, {"r": "A", "c": 2}, {"r": "u", "c": 3}]}),
    "escaped": ("{{ '<a>'|e }}{{ ('<'|e) + '>' }}{{ '<'|e ~ '<' }}{% autoescape true %}{{ '<' ~ x }}{{ x|safe }}"
                "{% endautoescape %}", {"x": "<b>"}),
    "chains": ("{{ 1 < 2 < 3 > 2 != 5 }} {{ 1 < 3 < 2 }} {{ 'a' in 'ab' in ['ab'] }} {{ not 1 == 2 }}", {}),
    "refused": ("{{ raise_exception('No ' ~ 1) }}", {}),
    "none-printed": ("{{ none }} {{ [none, true] }} {{ 'x' ~ none }} {{ none|default('d') }} {{ none|string|length }}", {}),
}


# Random templates.

class Grammar:
    def __init__(self, seed):
        self.r = random.Random(seed)

    CONTEXT = {
        "i": 7, "n": -3, "f": 2.5, "s": "Hello, wörld", "t": " a\tb\n", "e": "", "l": [3, 1, 2], "m": ["b", "A", "c", "a"],
        "d": {"k": 1, "items": "x", "é": [1]}, "z": None, "b": True,
        "o": [{"r": "u", "c": "hi", "n": 2}, {"r": "a", "c": "Yo", "n": 1}, {"r": "u", "c": None}],
    }
    NAMES = list(CONTEXT) + ["u"]
    FILTERS = [
        "abs", "attr(%s)", "batch(2)|list", "batch(%s)|list", "capitalize", "center(%i)", "count", "d(%e)", "default(%e, true)",
        "dictsort", "dictsort(by='value')", "e", "filesizeformat", "first", "float", "float(%e)", "forceescape",
        "groupby('r')|list", "groupby('r', default='q')|list", "indent", "indent(%i, true)", "int", "int(%e)", "items|list", "join",
        "join(%s)", "join(', ', attribute='r')", "last", "length", "list", "lower", "map('upper')|list", "map(attribute='r')|list",
        "map(attribute='n', default=0)|list", "map('int')|list", "max", "min", "max(attribute='n')", "pprint", "reject('odd')|list",
        "reject|list", "rejectattr('n')|list", "replace(%s, %s)", "replace(%s, %s, 1)", "reverse|list", "round", "round(%i)",
        "round(1, 'floor')", "safe", "select|list", "select('string')|list", "selectattr('r', 'equalto', 'u')|list",
        "slice(2)|list", "slice(%i)|list", "sort", "sort(reverse=true)", "sort(attribute='r')", "sort(case_sensitive=true)",
        "string", "striptags", "sum", "sum(start=%e)", "title", "tojson", "tojson(indent=%i)", "tojson(sort_keys=true)", "trim",
        "trim(%s)", "truncate(%i, true)", "truncate(5, false, '..', 0)", "unique|list", "upper", "urlencode", "wordcount",
        "wordwrap(%i)", "xmlattr", "format(%e)", "list|last", "reverse",
    ]
    TESTS = [
        "boolean", "callable", "defined", "divisibleby(%e)", "divisibleby 3", "eq(%e)", "equalto %e", "escaped", "even", "false",
        "filter", "float", "ge(%e)", "gt(%e)", "in(%e)", "integer", "iterable", "le(%e)", "lower", "lt(%e)", "mapping", "ne(%e)",
        "none", "not none", "number", "odd", "sequence", "string", "true", "undefined", "upper",
    ]
    METHODS = [
        "capitalize()", "center(%i)", "count(%s)", "count(%e)", "endswith(%s)", "expandtabs(%i)", "find(%s)", "find(%s, %i)",
        "format(%e, %e)", "get(%s)", "get(%e, %e)", "index(%e)", "isalnum()", "isalpha()", "isdigit()", "islower()", "isspace()",
        "istitle()", "isupper()", "items()", "join(%e)", "keys()", "ljust(%i)", "ljust(%i, '.')", "lower()", "lstrip(%s)",
        "partition(%s)", "removeprefix(%s)", "replace(%s, %s)", "replace(%s, %s, %i)", "rfind(%s)", "rindex(%s)", "rjust(%i)",
        "rpartition(%s)", "rsplit(%s)", "rsplit(%s, %i)", "rsplit()", "rstrip()", "split()", "split(%s)", "split(%s, %i)",
        "splitlines()", "splitlines(true)", "startswith(%s)", "startswith(%e)", "strip()", "strip(%s)", "swapcase()", "title()",
        "upper()", "values()|list", "zfill(%i)", "copy()", "update(%e)", "append(%e)", "bit_length()", "is_integer()", "k", "c",
        "nothing",
    ]
    FORMATS = ["%s", "%5d", "%-6s|", "%05.1f", "%x", "%r", "%+.2e", "%g", "%c", "%%", "%(k)s", "%s %s", "%.2s", "%o", "%#x", "% d"]
    SPECIFICATIONS = ["{}", "{:>6}", "{:^7}|", "{:05d}", "{:.2f}", "{:+}", "{:,}", "{:x}", "{:e}", "{:%%}", "{0!r}", "{:*<8}", "{{}}",
                      "{:.3}", "{:08.2f}", "{:#b}", "{:_}", "{0[0]}", "{0.k}", "{:g}", "{:s}"]

    def fill(self, pattern):
        out = ""
        k = 0
        while k < len(pattern):
            two = pattern[k:k + 2]
            if two == "%e":
                out += self.expression(1)
            elif two == "%s":
                out += self.string()
            elif two == "%i":
                out += str(self.r.choice([0, 1, 2, 3, 5, 9, -1, 12]))
            else:
                out += pattern[k]
                k -= 1
            k += 2
        return out

    def string(self):
        return self.r.choice(["''", "'l'", "'a'", "', '", "'lo'", "' '", "'é'", "'\\n'", "'ö'", "'k'", "'r'", "'-'", "'AB'", "'12'",
                              "'x' * 3", "s", "t", "'<b>&'", "'1.5'", "'a-b c'", "'ǆ'", "'Σ'"])

    def number(self):
        return self.r.choice(["0", "1", "2", "3", "-1", "7", "2.5", "0.0", "-0.5", "1e3", "10", "true", "i", "n", "f", "12345678901234567890",
                              "0.1", "1e16", "100", "1.005", "255"])

    def atom(self):
        k = self.r.random()
        if k < 0.35:
            return self.r.choice(self.NAMES)
        if k < 0.55:
            return self.number()
        if k < 0.75:
            return self.string()
        return self.r.choice(["[]", "[1, 2, 3]", "['a', 'B']", "{}", "{'a': 1, 'b': [2]}", "(1, 'x')", "none", "false", "range(4)", "()",
                              "[none, 1]", "[[1, 2], [0]]", "{1: 'q'}", "d.k", "o[0]", "l[0]", "[1, 2.0, true]", "dict(a=i)"])

    def expression(self, depth):
        if depth <= 0 or self.r.random() < 0.12:
            return self.atom()
        sub = lambda: self.expression(depth - 1)
        k = self.r.randrange(14)
        if k == 0:
            return f"{sub()} {self.r.choice(['+', '-', '*', '/', '//', '%', '~', '+', '~'])} {sub()}"
        if k == 1:
            return f"({sub()} {self.r.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in', 'and', 'or'])} {sub()})"
        if k in (2, 3, 4, 5):
            return f"({sub()})|{self.fill(self.r.choice(self.FILTERS))}"
        if k == 6:
            return f"(({sub()}) is {self.fill(self.r.choice(self.TESTS))})"
        if k in (7, 8):
            return f"({sub()}).{self.fill(self.r.choice(self.METHODS))}"
        if k == 9:
            a, b, c = (self.r.choice(["", "0", "1", "-1", "2", "-2", "9", "-9", "i", "none"]) for _ in range(3))
            # Of constants jinja2 folds slices by other rules than it evaluates them by.
            return f"(u or {self.r.choice(self.NAMES)})[{a}:{b}{':' + c if self.r.random() < 0.4 else ''}]"
        if k == 10:
            return f"({sub()})[{self.r.choice(['0', '-1', '1', repr('k'), repr('r'), '9', 'i', self.atom()])}]"
        if k == 11:
            return f"({sub()} if {sub()} else {sub()})" if self.r.random() < 0.8 else f"({sub()} if {sub()})"
        if k == 12:
            if self.r.random() < 0.5:
                return f"('{self.r.choice(self.FORMATS)}' % ({sub()}{self.r.choice([',', '', ', ' + self.atom()])}))"
            return f"'{self.r.choice(self.SPECIFICATIONS)}'.format({sub()}, {sub()})"
        return self.r.choice([f"(-({sub()}))", f"(not {sub()})", f"[{sub()}, {sub()}]", f"{{'a': {sub()}}}", f"({sub()},)",
                              f"(+({sub()}))", f"({sub()} ** {self.r.choice(['0', '1', '2', '-1', '3'])})"])

    def template(self):
        k = self.r.randrange(8)
        e = lambda depth=3: self.expression(depth)
        space = lambda: self.r.choice(["", "", " ", "\n", "  \n ", "\t"])
        sign = lambda: self.r.choice(["", "", "", "-", "+"])
        if k < 4:
            return "{{ " + e(4) + " }}"
        if k == 4:
            return (f"{space()}{{%{sign()} for x in {e(2)}{self.r.choice(['', '', ' if x', ' if loop is defined'])} {sign()}%}}{space()}"
                    f"{{{{ x }}}}{{{{ loop.{self.r.choice(['index', 'last', 'first', 'revindex0', 'length', 'previtem', 'nextitem'])} }}}}{space()}"
                    f"{self.r.choice(['', '{% if loop.index == 2 %}{% break %}{% endif %}', '{% else %}none'])}{{%{sign()} endfor {sign()}%}}{space()}.")
        if k == 5:
            return (f"{{% set x = {e(2)} %}}{space()}{{%{sign()} if {e(2)} {sign()}%}}{space()}{{% set x = {e(2)} %}}{{%{sign()} else %}}{space()}"
                    f"{{{{ x }}}}{{%{sign()} endif {sign()}%}}{space()}{{{{ x }}}}")
        if k == 6:
            return f"{{% set a, b = {e(2)} %}}{{{{ a }}}}{{{{ b }}}}{{% set y | upper %}}{{{{ {e(2)} }}}}{{% endset %}}{{{{ y }}}}"
        return (f"{{% macro m(a, b={e(1)}) %}}{{{{ a }}}}-{{{{ b }}}}{{% endmacro %}}{{{{ m({e(2)}) }}}}{{% set ns = namespace(v={e(1)}) %}}"
                f"{{% for q in l %}}{{% set ns.v = ns.v ~ q %}}{{% endfor %}}{{{{ ns.v }}}}")


def is_comparable(case):
    """Whether Python's own limits, addresses and wording leave anything to compare."""
    text = case.get("rendered", "")
    message = case.get("error", {}).get("message", "")
    return not (
        " at 0x" in text or "<built-in" in text or "<bound" in text or "<class" in text or "<function" in text
        or "complex" in message or "complex" in text or "j)" in text or "Exceeds the limit" in message
        or any(ord(c) in range(0xD800, 0xE000) for c in text)
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.random == 0:
        cases = [compute(name, source, context) for name, (source, context) in WRITTEN.items()]
    else:
        grammar = Grammar(arguments.seed)
        cases = (compute(f"{arguments.seed}-{k}", grammar.template(), Grammar.CONTEXT) for k in range(arguments.random))
        cases = (case for case in cases if is_comparable(case))
    for case in cases:
        json.dump(case, sys.stdout)
        print()


main()
