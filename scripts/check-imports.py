#!/usr/bin/env python3
"""Checks that modules depend on each other as the table in README.md's section "Layout" says, and on nothing else.

A module may import those that its row names, and what those may import in turn. Exceptions: a C module (CZlib, CLibTorch,
…) is imported only where a row names it, and so are other people's packages. The imports in Sources and the dependencies
of Package.swift are both held against the table. Prints what is wrong; exit code 1 if anything is.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Of the toolchain: free to all.
SYSTEM = {"Foundation", "FoundationEssentials", "Dispatch", "Synchronization", "Glibc", "Musl", "Darwin"}
IMPORT = re.compile(
    r"^\s*(?:@\w+(?:\([^)]*\))?\s+|public\s+|package\s+|internal\s+|fileprivate\s+|private\s+)*import\s+"
    r"(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)"
)

problems = []


def read_table():
    """{module: names in its last column}"""
    rows = {}
    layout = (ROOT / "README.md").read_text().split("\n## Layout\n")[1].split("\n## ")[0]
    for line in layout.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        names = re.findall(r"`(\w+)`", cells[0])
        if line.startswith("|") and len(cells) == 3 and names:
            rows[names[0]] = set(re.findall(r"`(\w+)`", cells[2]))
    return rows


def is_explicit(name):
    """Whether a module has to be named by the row that imports it."""
    return name not in table or re.match(r"C[A-Z]", name) is not None


def allowed(module):
    found, waiting = set(), [module]
    while waiting:
        for name in table.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return {name for name in found if not is_explicit(name)} | table[module]


def check_sources(module):
    for path in sorted((ROOT / "Sources" / module).rglob("*.swift")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = IMPORT.match(line)
            if match and match[1] not in SYSTEM | allowed(module):
                problems.append(f"{path.relative_to(ROOT)}:{number}: {module} may not import {match[1]}")


def check_manifest():
    # With training: all targets.
    environment = dict(os.environ, ONEBIT_TRAINING="1")
    environment.pop("ONEBIT_TESTS", None)
    output = subprocess.run(
        ["swift", "package", "dump-package"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout
    for target in json.loads(output)["targets"]:
        if target["name"] not in table:
            continue
        for dependency in target["dependencies"]:
            [kind, value] = next(iter(dependency.items()))
            if value[0] not in allowed(target["name"]):
                problems.append(f"Package.swift: {target['name']} may not depend on {value[0]}")


table = read_table()
modules = {path.name for path in (ROOT / "Sources").iterdir() if path.is_dir()}
problems += [f"README.md: the table of modules lacks {name}" for name in sorted(modules - table.keys())]
problems += [f"README.md: there is no module {name} in Sources" for name in sorted(table.keys() - modules)]
for name in sorted(modules & table.keys()):
    check_sources(name)
check_manifest()
for problem in problems:
    print(problem, file=sys.stderr)
if not problems:
    print(f"{len(table)} modules import what README.md's table lets them.")
sys.exit(1 if problems else 0)
