"""Finds the lines that no test runs, and without a reason to be so.

What is run only when memory is out is derived (memory.py).  Any other place
stands in uncovered.txt, under the kind of its reason; docs/development.md
tells about the kinds.  A place is named by its function and its text, so that
it outlives what is written above it:

    == the kind

    ngx_file.c: ngx_function
        if (rc == NGX_BUSY) {
        switch (rc) { ... a text may go on
            in lines that are further in

A text has to occur once in its function; blanks and comments do not count.
If it ends with an opening brace, all the block is meant.  A function without
a text is meant as a whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from memory import (Function, Memory, closing,            # noqa: E402
                    functions_of, tokens_of)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = "ngx_gcs_proxy_module"
LIST = HERE / "uncovered.txt"
MEMORY = "memory is out"

# Where the unit tests make each allocation fail, a line that was run is none
# of those that can be reached in another way.
LAYER0 = re.compile(
    r"ngx_gcs_(?!(?:fetch|signing|source|token|url_cache|wait)[_.])")

# gcov counts what a sanitizer does about some of them
DECLARATION = re.compile(r" +(?!return|goto)(?:const |struct )?[a-z]\w+ +\**\w+"
                         r"(?:\[\w+\])?(?:, \**\w+)*;")


class Fault(Exception):
    """What has to be mended before anything can be said."""


@dataclass
class Entry:
    kind: str
    file: str
    function: str
    text: str                     # "": all of the function
    line: int                     # in the list

    def __str__(self) -> str:
        return f"{self.file}: {self.function}: {self.text or 'all of it'}"


@dataclass
class Report:
    memory: int = 0
    passed_on: int = 0
    listed: Counter[str] = field(default_factory=Counter)
    without: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)


# the list

def read_list(text: str) -> list[Entry]:
    found: list[Entry] = []
    kind = file = function = ""
    open_at = 0                   # a function that has no text so far

    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if line.startswith("== "):
            kind, function = line[3:], ""
        elif not line.startswith(" "):
            match = re.fullmatch(r"(\w+\.[ch]): (\w+)", line)
            if not match or not kind:
                raise Fault(f"{LIST.name}:{number}: not understood: {line}")
            file, function = match.groups()
            found.append(Entry(kind, file, function, "", number))
            open_at = number
        elif not function:
            raise Fault(f"{LIST.name}:{number}: a text of no function")
        elif line.startswith("     "):
            if not found[-1].text:
                raise Fault(f"{LIST.name}:{number}: goes on with nothing")
            found[-1].text += " " + words
        elif open_at:
            found[-1].text, found[-1].line, open_at = words, number, 0
        else:
            found.append(Entry(kind, file, function, words, number))
    return found


def kinds_of(text: str) -> list[str]:
    """The kinds that a list has, in its order."""
    return re.findall(r"^== (.+)$", text, re.MULTILINE)


def place(entry: Entry, functions: list[Function]) -> set[int]:
    """The lines that an entry speaks of."""
    own = [one for one in functions
           if (one.file, one.name) == (entry.file, entry.function)]
    if not own:
        raise Fault(f"{entry}: there is no such function")
    if not entry.text:
        return {line for one in own for line in one.lines}

    wanted = [token.text for token in tokens_of(entry.text)[0]]
    hits = []
    for one in own:
        tokens = one.head + one.body
        texts = [token.text for token in tokens]
        for at in range(len(texts) - len(wanted) + 1):
            if texts[at:at + len(wanted)] == wanted:
                last = at + len(wanted) - 1
                if wanted[-1] == "{":
                    last = closing(tokens, last)
                hits.append(range(tokens[at].line, tokens[last].line + 1))
    if len(hits) != 1:
        raise Fault(f"{entry}: " + ("there are several" if hits
                                    else "there is no such text"))
    return set(hits[0])


# what was counted

def read_counts(data: dict, sources: dict[str, str]) -> dict[str,
                                                             dict[int, int]]:
    """How often each line was run; the data must be that of the sources."""
    found: dict[str, dict[int, int]] = {}
    for file in data["files"]:
        name = Path(file["file"]).name
        lines = sources.get(name, "").split("\n")
        counts = found.setdefault(name, defaultdict(int))
        for line in file["lines"]:
            number = line["line_number"]
            text = lines[number - 1] if number <= len(lines) else ""
            if line.get("gcovr/md5") not in (
                    None, hashlib.md5(text.encode()).hexdigest()):
                raise Fault(f"{name}:{number}: is not what was counted")
            counts[number] += line["count"]
    return found


def sort(sources: dict[str, str], counts: dict[str, dict[int, int]],
         entries: list[Entry]) -> Report:
    report = Report()
    is_run = {file: {line for line, count in lines.items() if count}
              for file, lines in counts.items()}
    not_run = {file: {line for line, count in lines.items() if not count
                      and not DECLARATION.fullmatch(
                          sources[file].split("\n")[line - 1])}
               for file, lines in counts.items()}
    beyond_doubt = {file: lines for file, lines in is_run.items()
                    if not LAYER0.match(file)}
    memory = Memory(sources, beyond_doubt)

    reasons: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in entries:
        try:
            lines = place(entry, memory.functions)
        except Fault as fault:
            report.faults.append(f"{LIST.name}:{entry.line}: {fault}")
            continue
        lines &= not_run.get(entry.file, set())
        if not lines - memory.lines(entry.file):
            report.run.append(f"{LIST.name}:{entry.line}: {entry}")
        for line in lines - memory.lines(entry.file):
            reasons[entry.file].setdefault(line, entry.kind)

    passed_on = Memory(sources, beyond_doubt,
                       {file: set(lines) for file, lines in reasons.items()})

    for file, lines in sorted(not_run.items()):
        texts = sources[file].split("\n")
        for line in sorted(lines):
            if line in memory.lines(file):
                report.memory += 1
            elif line in reasons[file]:
                report.listed[reasons[file][line]] += 1
            elif line in passed_on.lines(file):
                report.passed_on += 1
            else:
                report.without.append(
                    f"{file}:{line}: {texts[line - 1].strip()}")
    return report


# what is said

def tell(report: Report, *, whole: bool) -> int:
    """Prints it; the code is 1 if something has no reason."""
    print(f"{report.memory:6} lines are run only when {MEMORY}")
    print(f"{report.passed_on:6} lines pass on a failure of those below")
    for kind, number in report.listed.most_common():
        print(f"{number:6} lines: {kind}")
    print(f"{len(report.without):6} lines have no reason")

    for fault in report.faults:
        print(f"stale: {fault}")
    if not whole:
        return 0                  # a part of the tests leaves many out
    for text in report.run:
        print(f"is run now, or wants no word: {text}")
    for text in report.without:
        print(f"no reason: {text}")
    return 1 if report.without or report.faults else 0


def read_sources(root: Path) -> dict[str, str]:
    return {path.name: path.read_text()
            for path in sorted((root / FOLDER).glob("*.[ch]"))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="gcovr's JSON")
    parser.add_argument("--part", action="store_true",
                        help="it is of some tests only: count, no more")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--list", type=Path, default=LIST)
    options = parser.parse_args()
    sources = read_sources(options.root)
    try:
        entries = read_list(options.list.read_text())
        counts = read_counts(json.loads(options.data.read_text()), sources)
    except Fault as fault:
        print(f"uncovered.py: {fault}", file=sys.stderr)
        return 1
    return tell(sort(sources, counts, entries), whole=not options.part)


if __name__ == "__main__":
    sys.exit(main())
