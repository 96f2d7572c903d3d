"""A line that no test runs wants memory to be out, or has a reason.

./build.sh coverage holds each line against that; here is what it knows, and
that the list and the document speak of the same kinds.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from matrix import uncovered
from matrix.uncovered import Memory, read_list, sort

ROOT = Path(__file__).resolve().parent.parent
FILE = "ngx_http_gcs_made_up.c"


def code(body: str, rest: str = "") -> str:
    """Made-up C: f() with this body, and what else there is."""
    return f"""{rest}

static ngx_int_t
ngx_f(ngx_http_request_t *r, ngx_pool_t *pool)
{{
    u_char     *p, *q;
    ngx_int_t   rc;

{body}
}}
"""


def memory_lines(text: str, is_run: tuple[str, ...] = ()) -> list[str]:
    """The lines that want memory to be out, but for those without words."""
    lines = text.splitlines()
    run = {number for number, line in enumerate(lines, 1)
           if line.strip() in is_run}
    found = Memory({FILE: text}, {FILE: run}).lines(FILE)
    return [lines[number - 1].strip() for number in sorted(found)
            if re.search(r"\w", lines[number - 1])]


# what is derived

@pytest.mark.parametrize("condition", [
    "p == NULL", "!p", "r->main && p == NULL", "p == NULL || q == NULL",
    "NULL != p && NULL == q", "(p == NULL)\n        || !q",
    "ngx_array_init(&r->list, pool, 1, 8)\n        != NGX_OK",
    "EVP_DigestUpdate(r->ctx, p, 1) != 1",
    "EVP_PKEY_sign_init(r->key) <= 0",
])
def test_the_block_after_an_allocation_that_failed_wants_memory_out(
        condition):
    assert memory_lines(code(f"""
    p = ngx_pnalloc(pool, 8);
    q = ngx_pcalloc(pool, 8);
    if ({condition})
    {{
        return NGX_DONE;
    }}

    return NGX_OK;""")) == ["return NGX_DONE;"]


@pytest.mark.parametrize("condition", [
    "p", "p != NULL", "p == NULL || r->main", "r->main == NULL",
    "p == NULL || ngx_other(p) != NGX_OK", "p == q", "q == NULL",
    "!(p == NULL)", "r->main ? p == NULL : r->root",
])
def test_a_condition_that_holds_otherwise_is_none(condition):
    assert memory_lines(code(f"""
    q = ngx_strchr(r->uri, ' ');
    p = ngx_pnalloc(pool, 8);
    if ({condition}) {{
        r->count++;
    }}

    return NGX_OK;""")) == []


@pytest.mark.parametrize("between", [
    "p = r->main;", "ngx_other(&p);", "p++;", "p += 2;",
    "ngx_macro(r, p) { p = r->root; }"])
def test_a_variable_with_another_value_has_not_failed(between):
    assert memory_lines(code(f"""
    p = ngx_pnalloc(pool, 8);
    {between}
    if (p == NULL) {{
        return NGX_DONE;
    }}

    return NGX_OK;""")) == []


def test_a_jump_leads_to_where_memory_is_out():
    body = """
    p = ngx_pnalloc(pool, 8);
    if (p == NULL) {
        goto failed;
    }

    %s
    return NGX_OK;

failed:

    ngx_free(r);

    return NGX_ERROR;"""
    jump = "if (r->main) {\n        goto failed;\n    }\n"
    assert memory_lines(code(body % "")) \
        == ["goto failed;", "failed:", "ngx_free(r);", "return NGX_ERROR;"]
    assert memory_lines(code(body % jump)) == ["goto failed;"]


def test_what_comes_when_the_good_case_has_left_wants_memory_out():
    assert memory_lines(code("""
    p = ngx_pnalloc(pool, 8);
    if (p) {
        return NGX_OK;

    } else {
        r->count++;
    }

    return NGX_ERROR;""")) == ["r->count++;", "return NGX_ERROR;"]


@pytest.mark.parametrize("call", [
    "rc = ngx_g(pool);\n    if (rc != NGX_OK)",
    "if (ngx_g(pool) != NGX_OK)", "if (ngx_g(pool) == NGX_ERROR)",
    "rc = ngx_g(pool);\n    if (rc == NGX_ERROR || rc == NGX_ABORT)",
    "if (r->main && (ngx_h(pool)\n        == NULL))", "if (!ngx_h(pool))",
])
def test_what_passes_the_failure_on_wants_memory_out(call):
    rest = """
static ngx_int_t
ngx_g(ngx_pool_t *pool)
{
    return ngx_h(pool) ? NGX_OK : NGX_ERROR;
}

static u_char *
ngx_h(ngx_pool_t *pool)
{
    u_char  *p;

    p = ngx_palloc(pool, 8);
    if (p != NULL) {
        *p = 0;
    }

    return p;
}
"""
    text = code(f"{call} {{\n        return NGX_DONE;\n    }}\n"
                "    return NGX_OK;", rest)
    assert memory_lines(text) == ["return NGX_DONE;"]
    assert memory_lines(text.replace(
        "    p = ngx_palloc",
        "    if (pool->max) {\n        return NULL;\n    }\n\n"
        "    p = ngx_palloc")) == []


def test_a_failure_with_another_name_is_told_from_the_others():
    rest = """
static ngx_int_t
ngx_g(ngx_str_t *text, ngx_pool_t *pool)
{
    if (text->len == 0) {
        return NGX_DECLINED;
    }

    text->data = ngx_palloc(pool, 8);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}
"""
    body = """
    rc = ngx_g(&r->uri, pool);
    if (rc == NGX_DECLINED) {
        return NGX_BUSY;
    }

    if (rc %s) {
        return NGX_DONE;
    }

    return NGX_OK;"""
    assert memory_lines(code(body % "== NGX_ERROR", rest)) \
        == ["return NGX_ERROR;", "return NGX_DONE;"]
    assert memory_lines(code(body % "!= NGX_OK", rest)) \
        == ["return NGX_ERROR;", "return NGX_DONE;"]
    assert memory_lines(code(body.replace("DECLINED", "AGAIN") % "!= NGX_OK",
                             rest)) == ["return NGX_ERROR;"]


def test_a_switch_tells_the_failures_apart():
    assert memory_lines(code("""
    rc = ngx_array_init(&r->list, pool, 1, 8);

    switch (rc) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
    default:
        return NGX_DONE;
    }

    return NGX_OK;""")) == ["default:", "return NGX_DONE;"]


def test_a_function_called_where_memory_is_out_wants_that():
    rest = """
static void
ngx_clean(ngx_http_request_t *r)
{
    r->count--;
}
"""
    body = """
    p = ngx_pnalloc(pool, 8);
    if (p == NULL) {
        ngx_clean(r);
        return NGX_ERROR;
    }

    %s
    return NGX_OK;"""
    inside = ["ngx_clean(ngx_http_request_t *r)", "r->count--;"]
    own = ["ngx_clean(r);", "return NGX_ERROR;"]
    assert memory_lines(code(body % "", rest)) == inside + own
    for use in ("ngx_clean(r);", "r->handler = ngx_clean;"):
        assert memory_lines(code(body % use, rest)) == own


def test_a_loop_is_gone_around_before_anything_is_said():
    assert memory_lines(code("""
    p = NULL;

    for (rc = 0; rc < 8; rc++) {
        if (p) {
            return NGX_BUSY;
        }

        p = ngx_pnalloc(pool, 8);
        if (p == NULL) {
            break;
        }
    }

    return NGX_OK;""")) == ["break;"]


def test_what_was_run_had_memory():
    text = code("""
    p = ngx_slab_alloc(r->pool, 8);
    if (p == NULL) {
        r->full = 1;
        return NGX_ERROR;
    }

    return NGX_OK;""", """
static ngx_int_t
ngx_g(ngx_http_request_t *r)
{
    if (ngx_f(r, r->pool) != NGX_OK) {
        return NGX_DONE;
    }

    return NGX_OK;
}
""")
    assert memory_lines(text) \
        == ["return NGX_DONE;", "r->full = 1;", "return NGX_ERROR;"]
    assert memory_lines(text, ("r->full = 1;",)) == []


# what is listed

SOURCE = code("""
    if (r->ill) {
        r->count++;
        return NGX_ERROR;
    }

    rc = ngx_other(r);
    if (rc != NGX_OK) {
        return rc;
    }

    p = ngx_pnalloc(pool, 8);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_more(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return NGX_OK;""")

LIST = f"""# a word

== the machine is ill

{FILE}: ngx_f
    if (r->ill) {{

== the others

{FILE}: ngx_f
    rc = ngx_other(r);
        if (rc != NGX_OK) {{
    rc = ngx_more(r); if (rc != NGX_OK) {{
"""


def counted(text: str, *not_run: str) -> dict:
    """What gcovr writes, if these lines were not run."""
    return {"files": [{"file": "ngx_gcs_proxy_module/" + FILE, "lines": [
        {"line_number": number, "count": int(line.strip() not in not_run),
         "gcovr/md5": hashlib.md5(line.encode()).hexdigest()}
        for number, line in enumerate(text.split("\n"), 1)
        if line.endswith(";")]}]}


def report(entries: str = LIST, *, source: str = SOURCE,
           not_run: tuple[str, ...] = ("r->count++;", "return NGX_ERROR;",
                                       "return rc;")) -> uncovered.Report:
    counts = uncovered.read_counts(counted(source, *not_run), {FILE: source})
    return sort({FILE: source}, counts, read_list(entries))


def test_each_line_has_memory_or_a_kind_for_its_reason():
    found = report()
    assert (found.memory, found.without, found.faults, found.run) \
        == (1, [], [], [])
    assert found.listed == {"the machine is ill": 2, "the others": 2}


def test_a_line_without_a_reason_is_named():
    found = report(LIST.partition("== the others")[0])
    numbers = [number for number, line in enumerate(SOURCE.split("\n"), 1)
               if line.strip() == "return rc;"]
    assert found.without == [f"{FILE}:{number}: return rc;"
                             for number in numbers]


def test_a_function_is_listed_as_a_whole():
    found = report(f"== all\n\n{FILE}: ngx_f\n")
    assert (found.memory, found.listed, found.without) == (1, {"all": 4}, [])


@pytest.mark.parametrize("change, fault", [
    (("if (r->ill) {", "if (r->dead) {"), "there is no such text"),
    (("ngx_f\n    if", "ngx_g\n    if"), "there is no such function"),
    (("rc = ngx_more(r); if", "if"), "there are several"),
])
def test_an_entry_without_its_place_is_a_fault(change, fault):
    found = report(LIST.replace(*change))
    assert [fault in line for line in found.faults] == [True]
    assert found.without


def test_an_entry_outlives_other_lines_and_blanks():
    source = SOURCE.replace("if (r->ill)", "r->x = 1;\n\n    /* why */\n"
                            "    if ( r->ill  )")
    assert (report(source=source).faults, report().faults) == ([], [])


def test_an_entry_whose_line_is_run_is_told():
    found = report(not_run=("return rc;",))
    assert [line.rpartition(": ")[2] for line in found.run] \
        == ["if (r->ill) {"]
    entries = LIST + "    p = ngx_pnalloc(pool, 8); if (p == NULL) {\n"
    assert len(report(entries).run) == 1


@pytest.mark.parametrize("text", [
    "no kind\n", "== kind\nngx_f\n", "== kind\n    a text;\n",
    f"== kind\n{FILE}: ngx_f\n\n== other\n    a text;\n"])
def test_a_list_that_cannot_be_read_is_refused(text):
    with pytest.raises(uncovered.Fault):
        read_list(text)


def test_counts_of_other_sources_are_refused():
    with pytest.raises(uncovered.Fault, match="is not what was counted"):
        uncovered.read_counts(counted(SOURCE),
                              {FILE: SOURCE.replace("r->count++", "r->x++")})


def run(tmp_path: Path, entries: str, *options: str
        ) -> subprocess.CompletedProcess[str]:
    folder = tmp_path / uncovered.FOLDER
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(SOURCE)
    (tmp_path / "list").write_text(entries)
    (tmp_path / "data").write_text(json.dumps(counted(SOURCE, "return rc;")))
    return subprocess.run(
        [sys.executable, uncovered.__file__, "--root", tmp_path, "--list",
         tmp_path / "list", *options, tmp_path / "data"],
        capture_output=True, text=True)


@pytest.mark.parametrize("entries, code, said", [
    (LIST, 0, "is run now"), ("", 1, "no reason: " + FILE),
    (LIST + "    r->none = 1;\n", 1, "stale: ")])
def test_a_whole_run_fails_if_something_has_no_reason(tmp_path, entries, code,
                                                      said):
    done = run(tmp_path, entries)
    assert done.returncode == code and said in done.stdout, done.stderr


def test_a_run_of_some_tests_only_counts(tmp_path):
    done = run(tmp_path, "", "--part")
    assert done.returncode == 0 and "2 lines have no reason" in done.stdout
    assert FILE not in done.stdout


# the list of the module

@pytest.fixture(scope="module")
def functions() -> list:
    return [function for file, text in uncovered.read_sources(ROOT).items()
            for function in uncovered.functions_of(
                file, uncovered.tokens_of(text)[0])]


def test_every_function_of_the_module_is_seen(functions):
    seen = {(function.file, function.name) for function in functions}
    for file, text in uncovered.read_sources(ROOT).items():
        for name in re.findall(r"^(ngx_\w+)\([^;{]*\)\n\{\n", text, re.M):
            assert (file, name) in seen


def test_each_entry_of_the_list_has_a_place(functions):
    for entry in read_list(uncovered.LIST.read_text()):
        uncovered.place(entry, functions)


def test_the_list_and_the_document_have_the_same_kinds():
    text = (ROOT / "docs" / "development.md").read_text() \
        .partition("\n## What no test runs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", text, re.M)
    assert rows[0] == "where"
    assert uncovered.kinds_of(uncovered.LIST.read_text()) == rows[1:]
