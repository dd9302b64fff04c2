#!/usr/bin/env python3
"""Writes Sources/OneBitServer/Page/ChatPage.swift from index.html beside it: the page as a string of the binary, its
Content-Security-Policy with the hashes of its script and style, and its entity tag.

A string literal of 85 kB compiles in one to two seconds; what `.embedInCode` writes, an array literal, takes 27 to 37.
With --check nothing is written, and the exit code is 1 if the file does not hold the page as it is.
"""

import base64
import hashlib
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "Sources/OneBitServer/Page"


def hash_source(html, tag):
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    if len(contents) != 1:
        sys.exit(f"index.html has {len(contents)} <{tag}> elements; the policy allows exactly one.")
    return "'sha256-" + base64.b64encode(hashlib.sha256(contents[0].encode()).digest()).decode() + "'"


def swift_source(html):
    if '"""##' in html or "\\##" in html:
        sys.exit('index.html contains """## or \\##, which would end the string literal or start an escape in it.')
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {hash_source(html, 'script')}",
            f"style-src {hash_source(html, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return f'''\
// swift-format-ignore-file
// Made from index.html by scripts/embed-chat-page.py; change that file and run the script.

/// The chat page that the server sends at `/`.
enum ChatPage {{
    /// The value of the page's `Content-Security-Policy` header. It names the page's script and style by their hashes.
    static let contentSecurityPolicy = "{policy}"

    /// The value of the page's `ETag` header.
    static let entityTag = "\\"{hashlib.sha256(html.encode()).hexdigest()[:32]}\\""

    static let html = ##"""
{html}"""##
}}
'''


def main():
    html = (FOLDER / "index.html").read_text().rstrip("\n") + "\n"
    source, path = swift_source(html), FOLDER / "ChatPage.swift"
    if sys.argv[1:] == ["--check"]:
        if not path.exists() or path.read_text() != source:
            sys.exit(f"{path} is not made from the index.html beside it: run scripts/embed-chat-page.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        path.write_text(source)


main()
