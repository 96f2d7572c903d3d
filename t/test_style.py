"""nginx's code style, the layers and the names, checked.

A rule is a function from a file's name and text to its faults.  Each rule is
also tested on a planted fault, for a rule that finds nothing proves nothing.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "ngx_gcs_proxy_module"
FILES = sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")])

COPYRIGHT = """
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


"""

Faults = Iterator[str]
RULES: list[Callable[[str, str], Faults]] = []


def rule(check: Callable[[str, str], Faults]) -> Callable[[str, str], Faults]:
    RULES.append(check)
    return check


# reading C

_TOKEN = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
                    re.DOTALL)


def bare(text: str) -> str:
    """The code alone: comments and strings are blanked, lines kept."""
    def blank(match: re.Match[str]) -> str:
        word = match.group()
        if word.startswith("/*"):
            return re.sub(r"[^\n]", " ", word)
        return word[0] + "_" * (len(word) - 2) + word[-1]

    return _TOKEN.sub(blank, text)


def numbered(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.splitlines(), 1)


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line (that of the type) and last line of definitions."""
    lines = bare(text).splitlines()
    for number, line in enumerate(lines):
        if line != "{":
            continue
        name = number - 1
        while name > 0 and lines[name].startswith(" "):
            name -= 1
        match = re.match(r"(\w+)\(", lines[name])
        if match:
            end = lines.index("}", number)
            yield match.group(1), name, end + 1


def includes(text: str) -> list[str]:
    return re.findall(r'^#include ([<"][^>"]+)[>"]', text, re.MULTILINE)


def layer(name: str) -> int:
    """The layer of a file, by its name (architecture, "Layers")."""
    if name.startswith("ngx_http_gcs"):
        return 2
    if re.match(r"ngx_gcs_(fetch|signing|source|token|url_cache|wait)[_.]",
                name):
        return 1
    assert name.startswith("ngx_gcs_"), f"{name}: of no layer"
    return 0


# layout

@rule
def columns(name: str, text: str) -> Faults:
    for number, line in numbered(text):
        if len(line) > 79:
            yield f"{number}: {len(line)} columns"


@rule
def tabs(name: str, text: str) -> Faults:
    for number, line in numbered(text):
        if "\t" in line or "\r" in line:
            yield f"{number}: a tab or a carriage return"


@rule
def trailing_blanks(name: str, text: str) -> Faults:
    for number, line in numbered(text):
        if line != line.rstrip():
            yield f"{number}: trailing blanks"


@rule
def file_end(name: str, text: str) -> Faults:
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield "does not end with one line feed"


@rule
def file_begin(name: str, text: str) -> Faults:
    if not text.startswith(COPYRIGHT):
        yield "1: no empty line and copyright at the beginning"


@rule
def file_length(name: str, text: str) -> Faults:
    count = text.count("\n")
    if count > 700:
        yield f"{count} lines, split it"


@rule
def blank_lines(name: str, text: str) -> Faults:
    if "\n\n\n\n" in text[1:]:
        yield "more than two blank lines"


@rule
def line_comments(name: str, text: str) -> Faults:
    for number, line in numbered(bare(text)):
        if "//" in line:
            yield f"{number}: a // comment"


@rule
def leftovers(name: str, text: str) -> Faults:
    for number, line in numbered(text):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            yield f"{number}: left over"


# statements

@rule
def keyword_space(name: str, text: str) -> Faults:
    for number, line in numbered(bare(text)):
        if re.search(r"\b(if|for|while|switch)\(", line):
            yield f"{number}: no space before ("


@rule
def brace_space(name: str, text: str) -> Faults:
    for number, line in numbered(bare(text)):
        if re.search(r"\)\{|\belse\{|\bdo\{", line):
            yield f"{number}: no space before {{"


@rule
def braces(name: str, text: str) -> Faults:
    """A body without braces: "if (…)" that ends with ")" or ";"."""
    lines = bare(text).splitlines()
    for number, line in enumerate(lines, 1):
        match = re.match(r" +(?:} )?(?:else )?(?:if|for|while) \(", line)
        if not match:
            if re.match(r" +(} )?else( [^{i].*)?$", line):
                yield f"{number}: else without braces"
            continue
        depth, at, column = 1, number - 1, match.end()
        while depth:
            if column == len(lines[at]):
                at, column = at + 1, 0
                continue
            depth += {"(": 1, ")": -1}.get(lines[at][column], 0)
            column += 1
        rest = lines[at][column:].strip()
        if rest == "" and at + 1 < len(lines):
            rest = lines[at + 1].strip()
        if rest.startswith("{") or line.lstrip().startswith("} while"):
            continue
        yield f"{number}: a body without braces"


@rule
def else_line(name: str, text: str) -> Faults:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r" +} else", line) and lines[number - 1].strip() \
                and not lines[number - 1].startswith("#"):
            yield f"{number + 1}: no blank line before \"}} else\""


@rule
def loop_declarations(name: str, text: str) -> Faults:
    for number, line in numbered(bare(text)):
        if re.search(r"for \((int|size_t|ngx_\w+_t) ", line):
            yield f"{number}: a declaration in for"


@rule
def casts(name: str, text: str) -> Faults:
    for number, line in numbered(bare(text)):
        if re.search(r"\((u_char|char|void|ngx_\w+_t) \*+\)[\w(&]", line):
            yield f"{number}: no space after a cast"


@rule
def pointers(name: str, text: str) -> Faults:
    for number, line in numbered(bare(text)):
        if re.search(r"\b(u_char|char|void|ngx_\w+_t)\*", line):
            yield f"{number}: * belongs to the name"


# functions

@rule
def function_spacing(name: str, text: str) -> Faults:
    """Two blank lines before a function, or before its comment."""
    lines = text.splitlines()
    comment = re.compile(r"(?:^|\n)/\*(?:(?!\*/).)*\*/\n*\Z", re.DOTALL)
    for function, start, _ in functions(text):
        before = "\n".join(lines[:start - 1]) + "\n"
        before = comment.sub("\n", before)
        last = before.rstrip("\n").rpartition("\n")[2]
        if not before.endswith("\n\n\n") and not last.startswith("#"):
            yield f"{start}: no two blank lines before {function}()"


@rule
def function_length(name: str, text: str) -> Faults:
    for function, start, end in functions(text):
        if end - start >= 100:
            yield f"{start}: {function}() has {end - start} lines"


@rule
def function_type_line(name: str, text: str) -> Faults:
    lines = bare(text).splitlines()
    for number, line in enumerate(lines):
        if line.endswith(") {") and not line.startswith((" ", "#")):
            yield f"{number + 1}: \"{{\" of a function on its own line"


@rule
def documented(name: str, text: str) -> Faults:
    """A header tells what each of its functions does, right above it."""
    if not name.endswith(".h"):
        return
    lines, plain = text.splitlines(), bare(text).splitlines()
    for number, line in enumerate(plain):
        match = re.match(r"(?!typedef|#)[a-z][\w *]*?(\w+)\(", line)
        if not match:
            continue
        above = number - 1
        while above > 0 and plain[above].strip() \
                and not plain[above].startswith("#"):
            above -= 1                     # one comment may stand for a group
        if not lines[above].rstrip().endswith("*/"):
            yield f"{number + 1}: no comment above {match.group(1)}()"


@rule
def prefixes(name: str, text: str) -> Faults:
    own = "ngx_http_gcs" if layer(name) == 2 else "ngx_gcs"
    for function, start, _ in functions(text):
        if not function.startswith(own + "_"):
            yield f"{start}: {function}() is not {own}_*"


# layers

@rule
def no_http_below(name: str, text: str) -> Faults:
    if layer(name) < 2 and re.search(r"ngx_http", "".join(includes(text))):
        yield "includes HTTP below layer 2"


@rule
def no_events_below(name: str, text: str) -> Faults:
    if layer(name) < 1 and "<ngx_event.h" in includes(text):
        yield "includes ngx_event.h in layer 0"


@rule
def layers(name: str, text: str) -> Faults:
    for header in includes(text):
        if header.startswith('"') and layer(header[1:]) > layer(name):
            yield f"layer {layer(name)} includes {header[1:]}"


@rule
def one_http_header(name: str, text: str) -> Faults:
    if layer(name) == 2 and name.endswith(".c") \
            and [h for h in includes(text) if h.startswith('"')] \
            != ['"ngx_http_gcs.h']:
        yield "includes other headers of ours than ngx_http_gcs.h"


@rule
def no_log_or_clock_below(name: str, text: str) -> Faults:
    if layer(name) == 0:
        for number, line in numbered(bare(text)):
            if re.search(r"\b(ngx_log_\w+|ngx_time|ngx_cached_time|time)\(",
                         line):
                yield f"{number}: a log or a clock in layer 0"


@rule
def include_order(name: str, text: str) -> Faults:
    found = includes(text)
    if not found or found[0] == '"ngx_http_gcs.h':
        return
    if found[:2] != ["<ngx_config.h", "<ngx_core.h"]:
        yield "ngx_config.h and ngx_core.h come first"

    def place(header: str) -> int:
        if header.startswith("<ngx_"):
            return 0
        return 1 if header.startswith("<") else 2

    places = [place(header) for header in found]
    if places != sorted(places):
        yield "order: nginx's, libraries', ours"


@rule
def guards(name: str, text: str) -> Faults:
    if name.endswith(".h"):
        guard = f"_{name[:-2].upper()}_H_INCLUDED_"
        if f"\n#ifndef {guard}\n#define {guard}\n" not in text \
                or not text.endswith(f"\n#endif /* {guard} */\n"):
            yield f"guard is not {guard}"


# the tests

BODY = """
#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_object.h"


ngx_int_t
ngx_gcs_object_one(u_char *p)
{
    if (p == NULL) {
        return NGX_ERROR;

    } else {
        return NGX_OK;
    }
}


/* "if(", "){" and // in a string or a comment are harmless */

ngx_int_t
ngx_gcs_object_two(void)
{
    return ngx_gcs_object_one((u_char *) "if(x){ // ");
}
""".lstrip("\n")
GOOD = COPYRIGHT + BODY
HEADER = COPYRIGHT + """
#ifndef _NGX_GCS_OBJECT_H_INCLUDED_
#define _NGX_GCS_OBJECT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* says one */
ngx_int_t ngx_gcs_object_one(u_char *p);

/* says two, and three */
ngx_int_t ngx_gcs_object_two(void);
char *ngx_gcs_object_three(void);


#endif /* _NGX_GCS_OBJECT_H_INCLUDED_ */
""".lstrip("\n")

C, H = "ngx_gcs_object.c", "ngx_gcs_object.h"

# a rule, a file, what is replaced in the good file, and by what
PLANTED = [
    (columns, C, "p == NULL", "p == NULL" + " || p == NULL" * 6),
    (tabs, C, "    return", "\treturn"),
    (trailing_blanks, C, "return NGX_OK;", "return NGX_OK; "),
    (file_end, C, '"if(x){ // ");\n}\n', '"if(x){ // ");\n}\n\n'),
    (file_begin, C, "\n/*\n * Copy", "/*\n * Copy"),
    (file_length, C, "    return", "\n" * 700 + "    return"),
    (blank_lines, C, "}\n\n\n/*", "}\n\n\n\n/*"),
    (line_comments, C, "return NGX_OK;", "return NGX_OK;  // yes"),
    (leftovers, C, "/* \"if", "/* TODO \"if"),
    (keyword_space, C, "if (p", "if(p"),
    (brace_space, C, "NULL) {", "NULL){"),
    (braces, C, "NULL) {\n        return NGX_ERROR;",
     "NULL)\n        return NGX_ERROR;"),
    (braces, C, "NULL) {", "NULL) p++; {"),
    (else_line, C, "ERROR;\n\n", "ERROR;\n"),
    (loop_declarations, C, "if (p", "for (int i = 0;;) {}\n    if (p"),
    (casts, C, '(u_char *) "if(x){ // "', "(u_char *)p"),
    (pointers, C, "u_char *p", "u_char* p"),
    (function_spacing, C, "}\n\n\n/*", "}\n\n/*"),
    (function_length, C, "return NGX_OK;", "return NGX_OK;" + "\n" * 100),
    (function_type_line, C, "two(void)\n{", "two(void) {"),
    (documented, H, "/* says one */\n", ""),
    (documented, H, "/* says two, and three */\n", "\n"),
    (prefixes, C, "ngx_gcs_object_two(void)", "object_two(void)"),
    (no_http_below, C, "core.h>\n", "core.h>\n#include <ngx_http.h>\n"),
    (no_events_below, C, "core.h>\n", "core.h>\n#include <ngx_event.h>\n"),
    (layers, C, "gcs_object.h", "gcs_token.h"),
    (layers, C, "gcs_object.h", "http_gcs.h"),
    (one_http_header, "ngx_http_gcs_pass.c", "gcs_object.h", "gcs_token.h"),
    (no_log_or_clock_below, C, "if (p", "x = ngx_time();\n    if (p"),
    (include_order, C, "<ngx_config.h>", "<ngx_core.h>"),
    (include_order, C, "_object.h\"\n",
     "_object.h\"\n#include <curl/curl.h>\n"),
    (guards, H, "#endif /* _NGX_GCS", "#endif /* NGX_GCS"),
]


def test_there_are_sources():
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_source_follows_every_rule(path):
    text = path.read_text()
    faults = [f"{path.name}:{fault} [{check.__name__}]"
              for check in RULES for fault in check(path.name, text)]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("name, text", [(C, GOOD), (H, HEADER)],
                         ids=["source", "header"])
def test_good_code_has_no_faults(name, text):
    assert [fault for check in RULES for fault in check(name, text)] == []


@pytest.mark.parametrize("check, name, old, new", PLANTED,
                         ids=lambda value: getattr(value, "__name__", ""))
def test_rule_sees_a_planted_fault(check, name, old, new):
    text = HEADER if name.endswith(".h") else GOOD
    assert old in text
    assert list(check(name, text.replace(old, new, 1)))


def test_every_rule_has_a_planted_fault():
    assert {planted[0] for planted in PLANTED} == set(RULES)


def test_config_lists_every_source_and_header():
    listed = re.findall(r"\$ngx_gcs_dir/(\S+\.[ch])\b",
                        (ROOT / "config").read_text())
    assert sorted(listed) == sorted(path.name for path in FILES)


def foreign(symbols: str) -> list[str]:
    """Names of nm's output that a module has no right to."""
    names = [line.split()[-1] for line in symbols.splitlines() if line]
    return [name for name in names
            if not re.match(r"ngx_gcs_|ngx_http_gcs_|_", name)
            and name not in ("ngx_modules", "ngx_module_names",
                             "ngx_module_order")]


def test_module_defines_no_foreign_name(module):
    symbols = subprocess.run(
        ["nm", "--extern-only", "--defined-only", module],
        capture_output=True, text=True, check=True).stdout
    assert "ngx_http_gcs_proxy_module" in symbols
    assert foreign(symbols) == []


def test_a_foreign_name_is_seen():
    assert foreign("0001 T helper\n0002 T ngx_gcs_object_check\n"
                   "0003 D ngx_modules\n0004 D ngx_http_mine") \
        == ["helper", "ngx_http_mine"]
