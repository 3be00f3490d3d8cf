#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
rooms.py SOURCE_DIRECTORY BUILD_DIRECTORY

Check which file uses which, in the includes of the sources and in the symbols of a build's objects:
* A folder uses only the folders that ALLOWED names for it.
* The modules of a folder form no circle. A module is x.c, x.h and x_internal.h together. It uses
  another module if it includes a header of it, or needs a symbol that its object defines.
* A file that includes one of our inner headers uses something that this header declares.
* A header shows no struct whose members one module alone uses: the definition belongs there.

Prints a line for each violation, or for each arrow of a circle, and exits with 1 if there is one.
Exits with 2 if the build cannot be read. What regular expressions cannot decide counts as a use.
"""
import collections
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

# The tools link with the library: they may use the symbols that a public header declares.
ALLOWED = {
    "tools": {"include"},
    "examples": {"include"},
    "daemon": {"engine", "op", "base", "proto", "include"},
    "client": {"engine", "op", "base", "proto", "include"},
    "engine": {"op", "base", "proto"},
    "op": {"base", "proto"},
    "base": set(),
    "proto": set(),
    "include": set(),
}
PUBLIC = "include"

NOT_CODE = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""", re.S)
WORD = re.compile(r"[A-Za-z_]\w*")
INCLUDE = re.compile(r"""^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+).*$""", re.M)
MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(.*)$", re.M)
DIRECTIVE = re.compile(r"^[ \t]*#.*$", re.M)
AGGREGATE = re.compile(r"\b(struct|union|enum)\b\s*(?:_Alignas\s*\([^)]*\)\s*)?(\w*)\s*\{")
ANNOUNCED = re.compile(r"\b(?:struct|union)\s+(\w+)\s*;")
INDEX = r"(?:\[[^\]]*\]\s*)*"
# A variable, parameter or member whose type is a struct.
TYPED = re.compile(r"\b(?:struct|union)\s+(\w+)\s*(?:const\b\s*)?[*\s]*(\w+)\s*" + INDEX
                   + "(?=[;,=):])")
# The use of a member, with the name before it if there is one.
MEMBER = re.compile(r"(?:\b([A-Za-z_]\w*)\s*" + INDEX + r")?(?:->|\.)\s*([A-Za-z_]\w*)")
# Macros that take the name of a member as an argument.
MEMBER_MACRO = re.compile(r"\b(?:(?:S?LIST|S?TAILQ)_\w+|offsetof|container_of)\s*\(([^;{}]*)")
QUEUE_HEAD = re.compile(r"\b(?:S?LIST|S?TAILQ)_HEAD\s*\(\s*(\w+)")
ENUMERATOR = re.compile(r"(\w+)\s*(?:=[^,]*)?(?:,|$)")
DECLARED = (
    re.compile(r"([A-Za-z_]\w*)\s*\("),
    re.compile(r"\(\s*\*\s*(\w+)\s*\)"),
    re.compile(r"\b(?:typedef|extern)\b[^;]*?\b(\w+)\s*" + INDEX + ";"),
)


def die(sentence):
    print("rooms.py: " + sentence, file=sys.stderr)
    sys.exit(2)


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def in_braces(text, opening):
    """What stands between the brace at `opening` and its partner."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[opening + 1:place]
    return text[opening + 1:]


def outside_braces(text):
    kept, depth = [], 0
    for part in re.split("([{}])", text):
        depth += {"{": 1, "}": -1}.get(part, 0)
        if depth == 0:
            kept.append(part)
    return "".join(kept)


class Struct:
    def __init__(self, tag, text, line):
        self.tag, self.text, self.line = tag, text, line
        self.members = set(re.findall(r"(\w+)\s*" + INDEX + "[;,:]", text))
        self.members |= set(re.findall(r"\(\s*\*\s*(\w+)\s*\)", text))


class File:
    """A source file, and what can be told of it without a compiler."""

    def __init__(self, root, path):
        self.name = path.relative_to(root).as_posix()
        self.path = path
        self.room = self.name.split("/")[0]
        self.module = re.sub(r"(_internal)?(\.h\.in|\.\w+)$", "", self.name)
        self.is_header = ".h" in path.name

        text = NOT_CODE.sub(lambda match: match[0] if match[0][0] in "\"'" else blank(match),
                            path.read_text())
        self.quoted = [(match[1], text.count("\n", 0, match.start()) + 1)
                       for match in INCLUDE.finditer(text)]
        self.code = NOT_CODE.sub(blank, INCLUDE.sub(blank, text))
        self.words = set(WORD.findall(self.code))
        self.macros = {match[1]: set(WORD.findall(match[2]))
                       for match in MACRO.finditer(self.code.replace("\\\n", " "))}
        self.includes = {}  # file: line

        plain = DIRECTIVE.sub(blank, self.code)
        self.typed = TYPED.findall(plain)
        self.structs = []
        self.outside = self.code  # inline functions, macros and declarations, without structs
        self.tags = set(QUEUE_HEAD.findall(plain))
        self.declared = set(self.macros) | set(ANNOUNCED.findall(plain))
        for match in AGGREGATE.finditer(plain):
            inside = in_braces(plain, match.end() - 1)
            self.tags.add(match[2])
            if match[1] == "enum":
                self.declared |= set(ENUMERATOR.findall(inside.strip()))
                continue
            line = plain.count("\n", 0, match.start()) + 1
            self.structs.append(Struct(match[2], inside, line))
            end = match.end() + len(inside)
            self.outside = (self.outside[:match.start()] + " " * (end - match.start())
                            + self.outside[end:])
        flat = outside_braces(plain)
        self.declared |= (self.tags - {""}).union(*(one.findall(flat) for one in DECLARED))


def needs_size(tag, text):
    """Whether the struct is used otherwise than by a pointer to it, or announced."""
    return re.search(rf"\b(?:struct|union)\s+{tag}\b(?!\s*(?:const\s*)?\*)(?!\s*;)", text)


class Tree:
    def __init__(self, root):
        self.files = {}
        for room in ALLOWED:
            for suffix in ("c", "cc", "h", "h.in"):
                for path in sorted((root / room).rglob("*." + suffix)):
                    file = File(root, path)
                    self.files[file.name] = file
        if not self.files:
            die(f"{root} has none of our folders")
        for file in self.files.values():
            for quoted, line in file.quoted:
                for folder in (file.path.parent, root, root / PUBLIC):
                    name = (folder / quoted).resolve().as_posix().removeprefix(f"{root}/")
                    other = self.files.get(name) or self.files.get(name + ".in")
                    if other:
                        file.includes.setdefault(other, line)
                        break
        self.macros = collections.defaultdict(set)
        for file in self.files.values():
            for macro, words in file.macros.items():
                self.macros[macro] |= words
        self.seen = {file: self.sees(file) for file in self.files.values()}
        self.uses = {file: self.users_of_members(file, file.code) for file in self.files.values()}
        self.problems = []

    def report(self, place, sentence):
        self.problems.append(f"{place}: {sentence}")

    def sees(self, file):
        """All headers that the file includes, or that they include."""
        seen, todo = set(), [file]
        while todo:
            new = todo.pop().includes.keys() - seen
            seen |= new
            todo += new
        return seen

    def expanded(self, file):
        """The words of a file, and those of the macros that it uses."""
        words, new = set(), set(file.words)
        while new:
            words |= new
            new = set().union(*(self.macros[word] for word in new if word in self.macros)) - words
        return words

    def users_of_members(self, file, text):
        """A function of a struct: whether this text of the file may use a member of it."""
        types = collections.defaultdict(set)  # name: tags
        for other in self.seen[file] | {file}:
            for tag, name in other.typed:
                types[name].add(tag)
        used = collections.defaultdict(set)  # member: tags, or None for any
        for name, member in MEMBER.findall(text):
            used[member] |= types.get(name, {None})
        for arguments in MEMBER_MACRO.findall(text):
            for word in WORD.findall(arguments):
                used[word].add(None)
        return lambda struct: any(used[member] & {None, struct.tag}
                                  for member in struct.members & used.keys())

    def check_arrows(self, symbols):
        """symbols: (file that needs it, symbol, files that define it)"""
        self.arrows = collections.defaultdict(dict)  # module: {module: what shows it}
        for file in self.files.values():
            for other, line in file.includes.items():
                shown = f"{file.name}:{line}: includes {other.name}"
                if other.room == file.room:
                    self.add_arrow(file, other, shown)
                elif other.room not in ALLOWED[file.room]:
                    self.problems.append(f"{shown}: {file.room}/ may not use {other.room}/")
        public = set().union(*(file.words for file in self.files.values() if file.room == PUBLIC))
        for file, symbol, definers in symbols:
            near = [other for other in definers if other.room == file.room]
            other = (near or definers)[0]
            shown = f"{file.name}: uses {symbol} of {other.name}"
            allowed = ALLOWED[file.room]
            if near:
                self.add_arrow(file, other, shown)
            elif not (any(other.room in allowed for other in definers)
                      or PUBLIC in allowed and symbol in public):
                self.problems.append(f"{shown}: {file.room}/ may not use {other.room}/")

    def add_arrow(self, file, other, shown):
        if file.module != other.module:
            self.arrows[file.module].setdefault(other.module, shown)

    def check_circles(self):
        reach = {}
        for module in self.arrows:
            seen, todo = set(), [module]
            while todo:
                new = self.arrows.get(todo.pop(), {}).keys() - seen
                seen |= new
                todo += new
            reach[module] = seen
        told = set()
        for start in sorted(self.arrows):
            circle = sorted(one for one in reach[start] if start in reach.get(one, ()))
            if not circle or start in told:
                continue
            told.update(circle)
            room = start.split("/")[0] + "/"
            names = [module.removeprefix(room) for module in circle]
            self.report(room, "a circle of " + ", ".join(names))
            for module in circle:
                for other, shown in sorted(self.arrows[module].items()):
                    if other in circle:
                        self.problems.append("  " + shown)

    def check_includes(self):
        for file in self.files.values():
            words = self.expanded(file)
            for header, line in file.includes.items():
                if PUBLIC in (file.room, header.room) or header.module == file.module:
                    continue
                if header.declared and not header.declared & words \
                        and not any(map(self.uses[file], header.structs)):
                    self.report(f"{file.name}:{line}",
                                f"includes {header.name} and uses nothing of it")

    def check_structs(self):
        sources = {file.module for file in self.files.values() if not file.is_header}
        for header in self.files.values():
            if not header.is_header or header.room == PUBLIC:
                continue
            viewers = [file for file in self.files.values() if header in self.seen[file]]
            inline = self.users_of_members(header, header.outside)
            users = {}  # struct: the modules that use it
            for struct in header.structs:
                if not struct.tag:
                    continue
                users[struct] = {file.module for file in viewers
                                 if self.uses[file](struct) or needs_size(struct.tag, file.code)}
                # What an inline function needs, its callers need.
                if inline(struct) or needs_size(struct.tag, header.outside):
                    users[struct] |= {file.module for file in viewers}
            # A struct inside another one is needed with it.
            for _ in users:
                for outer in users:
                    for inner in users:
                        if inner is not outer and needs_size(inner.tag, outer.text):
                            users[inner] |= users[outer]
            for struct, modules in users.items():
                # The header's own module counts, if it has a source: it made the struct.
                owners = modules | ({header.module} & sources)
                strangers = [file.name for file in viewers
                             if not file.is_header and file.module not in owners]
                if len(owners) == 1 and strangers:
                    self.report(f"{header.name}:{struct.line}",
                                f"{owners.pop()} alone uses the members of struct {struct.tag}, "
                                "which is shown to " + ", ".join(strangers))


def find_objects(tree, root, build):
    """The objects of a build that are of our files: {path: file}."""
    try:
        commands = json.loads((build / "compile_commands.json").read_text())
    except OSError:
        die(f"{build} has no compile_commands.json: build there first")
    objects = {}
    for command in commands:
        source = pathlib.Path(command["directory"], command["file"]).resolve()
        file = tree.files.get(source.as_posix().removeprefix(f"{root}/"))
        words = shlex.split(command["command"])
        if not file or "-o" not in words:
            continue
        item = pathlib.Path(command["directory"], words[words.index("-o") + 1])
        if not item.exists() or item.stat().st_mtime < source.stat().st_mtime:
            die(f"{item} is missing or older than {file.name}: build first")
        objects[item.as_posix()] = file
    for file in tree.files.values():
        if file.path.suffix == ".c" and file not in objects.values():
            die(f"{build} has no object of {file.name}: build it, with the tests")
    return objects


def read_symbols(objects, build):
    """(file that needs it, symbol, files that define it) for every symbol of the objects."""
    # Objects for link-time optimization need the compiler's own nm, which lies beside its ar.
    path = build / "CMakeCache.txt"
    cache = path.read_text() if path.exists() else ""
    ar = re.search(r"^CMAKE_C_COMPILER_AR:\w+=(.*)$", cache, re.M)
    own = re.sub("ar(-[0-9]+)?$", r"nm\1", ar[1]) if ar else ""
    nm = shutil.which(own) or shutil.which("gcc-nm") or shutil.which("nm")
    if not nm:
        die("there is no nm: install binutils")
    run = subprocess.run([nm, "-A", "-g", *objects], capture_output=True, text=True)
    if run.returncode or "plugin" in run.stderr:
        die(f"{nm} cannot read the objects of {build}: {run.stderr.strip()}")
    defined, needed = collections.defaultdict(set), collections.defaultdict(set)
    for line in run.stdout.splitlines():
        item, _, rest = line.partition(":")
        kind, symbol = rest.split()[-2:]
        (needed if kind in "Uvw" else defined)[symbol].add(objects[item])
    if not defined:
        die(f"the objects of {build} define no symbol")

    def by_name(files):
        return sorted(files, key=lambda file: file.name)

    return [(file, symbol, by_name(defined[symbol])) for symbol, files in sorted(needed.items())
            if symbol in defined for file in by_name(files - defined[symbol])]


def main():
    if len(sys.argv) != 3:
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    root, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    tree = Tree(root)
    tree.check_arrows(read_symbols(find_objects(tree, root, build), build))
    tree.check_circles()
    tree.check_includes()
    tree.check_structs()
    for problem in tree.problems:
        print(problem)
    sys.exit(tree.problems != [])


main()
