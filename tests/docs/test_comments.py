#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""test_comments.py SOURCE_DIRECTORY: what a comment names, a function() or a file.c, exists."""
import pathlib
import re
import sys

FOLDERS = ["proto", "base", "op", "engine", "daemon", "client", "include", "tools", "examples", "tests"]
# Of the kernel, which comments cite.
ELSEWHERE = {"array_index_nospec", "shmem_fault", "mm/shmem.c", "mm/userfaultfd.c"}

TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
NAMED = re.compile(r"\b([a-z_]\w*)\(\)|((?:[\w.]+/)*\w+\.[ch])\b")

root = pathlib.Path(sys.argv[1])
files = [path for folder in FOLDERS for suffix in ("c", "h", "cc", "h.in")
         for path in sorted((root / folder).rglob("*." + suffix))]
names = {str(path.relative_to(root)) for path in files} | {"libvdm/version.h"}
comments, words = [], set()
for path in files:
    text = path.read_text()

    def split(match):
        if match[0].startswith("/"):
            comments.append((path.relative_to(root), text.count("\n", 0, match.start()) + 1, match[0]))
        return " "

    names |= set(re.findall(r"#include <([\w./]+)>", text))  # the system's
    words |= set(re.findall(r"[a-z_]\w*", TOKEN.sub(split, text)))

wrong = 0
for path, line, comment in comments:
    for match in NAMED.finditer(comment):
        function, file = match[1], match[2]
        if function in ELSEWHERE or file in ELSEWHERE or function in words:
            continue
        if file and any(name == file or name.endswith("/" + file) for name in names):
            continue
        print(f"{path}:{line + comment.count(chr(10), 0, match.start())}: there is no {match[0]}")
        wrong += 1
assert comments, "no comment was found"
sys.exit(wrong > 0)
