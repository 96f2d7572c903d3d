"""The rules of CORS against a second opinion: no origin outside a rule passes.

A program of the pure C files is asked about generated rules and origins, most
of the latter made of the former by what an attacker would try.  The model of
this file answers the same questions in another way: by a regular expression,
Python's own addresses, and tuples.
"""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
from typing import Any, Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from test_unit import (  # noqa: F401
    LIBRARIES, MODULE, SANITIZE, UNIT, WARNINGS, run, sanitizers, toolbox)

Answer = dict[str, Any]

SETTINGS = settings(max_examples=1000, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def ask(toolbox) -> Iterator[Callable[..., Answer]]:  # noqa: F811
    program = toolbox.folder / "rules"
    run(["gcc", *WARNINGS, *SANITIZE, "-D_GNU_SOURCE", *toolbox.includes,
         *(UNIT / f"{name}.c" for name in ("rules", "shim", "support")),
         *sorted(MODULE.glob("ngx_gcs_cors*.c")), MODULE / "ngx_gcs_crypto.c",
         *LIBRARIES, "-o", program])
    process = subprocess.Popen([program], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env=sanitizers())

    def question(**fields: Any) -> Answer:
        process.stdin.write(json.dumps(fields).encode() + b"\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield question
    process.stdin.close()
    assert process.wait(timeout=30) == 0


# the model

DEFAULT = {"http": 80, "https": 443}
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://"
                    r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)"
                    r"(?::([1-9][0-9]{0,4}))?", re.ASCII)


def address(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def parse(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin as a browser may send it."""
    if not text.isascii() or len(text) > 320:
        return None
    match = ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match[1], match[2], int(match[3] or 0)
    if host.startswith("["):
        if not address(ipaddress.IPv6Address, host[1:-1]):
            return None
    elif re.fullmatch("[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]) \
            and not address(ipaddress.IPv4Address, host):
        return None
    if len(host) > 253 or port > 65535:
        return None
    return scheme, host, port or DEFAULT.get(scheme, 0)


def valid(pattern: str) -> bool:
    if pattern in ("*", "null"):
        return True
    return parse(pattern.replace("://*.", "://", 1)) is not None \
        and "*" not in pattern.replace("://*.", "://", 1) \
        and len(pattern) <= 320


def passes(pattern: str, text: str) -> bool:
    """Whether the valid pattern lets the Origin pass."""
    if text == "null":
        return pattern in ("*", "null")
    origin = parse(text)
    if origin is None:
        return False
    if pattern == "*":
        return True
    rule = parse(pattern.replace("://*.", "://", 1))
    if rule is None:
        return False
    scheme, host, port = origin
    if "://*." in pattern:
        if "." not in host or host.startswith("["):
            return False
        host = host.split(".", 1)[1]
    return (scheme, host, port) == rule


# rules, and what is sent to get past them

LABEL = st.one_of(
    st.sampled_from(["a", "app", "evil", "xn--mnchen-3ya", "a_b", "example",
                     "com", "co", "localhost", "null", "127"]),
    st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?\Z"))
HOST = st.one_of(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["127.0.0.1", "[::1]", "[2001:db8::1]", "[::ffff:1.2.3.4]",
                     "1.2.3", "256.1.1.1", "0x7f.1", "[::1", "[]"]))
PORT = st.one_of(st.just(""), st.sampled_from(
    [":80", ":443", ":8443", ":3000", ":65535", ":65536", ":0", ":080", ":",
     ":1", ":443443"]))
SCHEME = st.sampled_from(["https", "http", "https", "ftp", "app+x.1-b"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(["*", "null"]))
    wild = "*." if kind in (1, 2, 3) else ""
    return f"{draw(SCHEME)}://{wild}{draw(HOST)}{draw(PORT)}"


def swapped(text: str, at: int) -> str:
    at %= max(len(text), 1)
    return text[:at] + text[at:at + 1].swapcase() + text[at + 1:]


def inserted(text: str, at: int, what: str) -> str:
    at %= len(text) + 1
    return text[:at] + what + text[at:]


TRICKS: list[Callable[[str], str]] = [
    lambda o: o + ".evil.example", lambda o: o + "evil",
    lambda o: o + ".", lambda o: o + "/", lambda o: o + "/.evil.example",
    lambda o: o + "?", lambda o: o + "#", lambda o: o + "\\",
    lambda o: o + "@evil.example", lambda o: o + ":x@evil.example",
    lambda o: o + ":443", lambda o: o + ":80", lambda o: o + ":8443",
    lambda o: o + ":443@evil.example", lambda o: o + "%00.evil.example",
    lambda o: o + " ", lambda o: o + ", https://evil.example",
    lambda o: o + "\0.evil.example", lambda o: o + "\t", lambda o: o + "\n",
    lambda o: o + "\r\nX: y", lambda o: o + "\u3002evil", lambda o: " " + o,
    lambda o: o.replace("://", "://evil"),
    lambda o: o.replace("://", "://evil."),
    lambda o: o.replace("://", "://a.b."),
    lambda o: o.replace("://", "://."),
    lambda o: o.replace("://", "://u@"), lambda o: o.replace("://", "://u:p@"),
    lambda o: o.replace("://", "://evil.example@"),
    lambda o: o.replace("://", "://evil.example/"),
    lambda o: o.replace("://", ":"), lambda o: o.replace("://", ":/"),
    lambda o: o.replace("https", "http"), lambda o: o.replace("http", "https"),
    lambda o: o.replace(".", "x", 1), lambda o: o.replace(".", "..", 1),
    lambda o: o.replace(".", "\uff0e", 1), lambda o: o.replace(".", "%2e", 1),
    lambda o: o.replace("a", "\u0430", 1), lambda o: o.replace("s", "\u017f"),
    lambda o: o.replace("k", "\u212a"), lambda o: o.replace("a", "\uff41", 1),
    lambda o: o.replace("-", "\u2010"), lambda o: o.replace("m", "m\u00ad"),
    lambda o: o[:-1], lambda o: o[1:], lambda o: o * 2, str.upper,
    lambda o: "null", lambda o: "NULL", lambda o: "", lambda o: "*",
    lambda o: "https://" + "a." * 150 + o.partition("://")[2],
]


@st.composite
def attempts(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern, and an Origin that is near to it."""
    pattern = draw(patterns())
    origin = pattern.replace("*.", draw(st.sampled_from(
        ["a.", "evil.", "", ".", "*.", "a.b.", "-.", "[::1].", "a:1."])))
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.integers(0, 3))
        at = draw(st.integers(0, 40))
        if kind == 0:
            origin = swapped(origin, at)
        elif kind == 1:
            origin = inserted(origin, at, draw(st.one_of(
                st.characters(codec="utf-8"),
                st.sampled_from(list(".@/:*-_[]%\\,\0")))))
        else:
            origin = draw(st.sampled_from(TRICKS))(origin)
    return pattern, origin


@SETTINGS
@example(("https://a.example", "https://a.example.evil.example"))
@example(("https://*.a.example", "https://b.c.a.example"))
@example(("https://[::1]", "https://[::1]:443"))
@given(attempts())
def test_a_pattern_lets_pass_exactly_what_the_model_does(ask, attempt):
    pattern, origin = attempt
    answer = ask(pattern=pattern, origin=origin)
    assert answer["valid"] == valid(pattern)
    if answer["valid"]:
        assert answer["match"] == passes(pattern, origin)


@SETTINGS
@given(attempts(), st.text(max_size=40))
def test_what_passes_is_an_origin_of_the_rule_s_own_host(ask, attempt, text):
    """Said without the model: by what no attacker can give himself."""
    pattern, origin = attempt
    for sent in (origin, text, "https://" + text):
        if not ask(pattern=pattern, origin=sent)["match"]:
            continue
        if pattern in ("*", "null"):
            assert pattern == "*" or sent == "null"
            continue
        assert sent.isascii() and sent.isprintable()
        assert not set(sent) & set("@/?#\\ ,*%") - set("/")
        assert sent.count("/") == 2 and not sent.endswith(".")
        want = re.sub(r":(80|443)$", "", pattern.lower().replace("*.", ""))
        have = re.sub(r":(80|443)$", "", sent.lower())
        assert have.partition("://")[0] == want.partition("://")[0]
        have, want = have.partition("://")[2], want.partition("://")[2]
        if "://*." in pattern:
            label, dot, have = have.partition(".")
            assert dot and re.fullmatch(r"[a-z0-9_-]+", label)
        assert have == want


@pytest.mark.parametrize("trick", TRICKS, ids=range(len(TRICKS)))
def test_a_trick_works_only_where_it_changes_nothing(ask, trick):
    for pattern in ("https://app.example.com", "https://*.example.com",
                    "http://app.example.com:8080", "https://localhost",
                    "https://www.kiosk-app.example", "https://[::1]:8443",
                    "https://xn--mnchen-3ya.example"):
        origin = trick(pattern.replace("*", "app"))
        assert ask(pattern=pattern, origin=origin)["match"] \
            == passes(pattern, origin), (pattern, origin)


# the configuration of a bucket

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "*"]
HEADERS = ["Range", "Content-Type", "x-goog-meta-*", "X-Goog-Meta-A", "*", "X"]
ORIGINS = ["*", "null", "https://a.example", "https://b.example:8443",
           "HTTP://C.example:80"]

RULES = st.lists(st.fixed_dictionaries({
    "origin": st.lists(st.sampled_from(ORIGINS), min_size=1, max_size=2),
    "method": st.lists(st.sampled_from(METHODS), min_size=1, max_size=2),
}, optional={
    "responseHeader": st.lists(st.sampled_from(HEADERS), max_size=3),
    "maxAgeSeconds": st.integers(0, 10 ** 9),
}), max_size=4)
ASKED = st.one_of(st.none(), st.lists(st.sampled_from(
    ["range", "content-type", "x-goog-meta-a", "x-goog-meta-", "x", "y",
     "a b", "", "*", "\"", "RANGE "]), max_size=3).map(",".join))
TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


def allows(rule: Answer, name: str) -> bool:
    for allowed in rule.get("responseHeader", []):
        allowed = allowed.lower()
        if allowed == name or (allowed.endswith("*")
                               and name.startswith(allowed[:-1])):
            return True
    return False


def decide(rules: list[Answer], origin: str | None, method: str,
           headers: str | None) -> tuple[int, bool, bool]:
    """The first rule that fits, whether for all, and whether it varies."""
    names = [name.strip(" \t").lower() for name in (headers or "").split(",")]
    names = [name for name in names if name]
    varies = False
    for index, rule in enumerate(rules):
        if method not in rule["method"] and "*" not in rule["method"]:
            continue
        everybody = "*" in rule["origin"]
        varies |= not everybody
        if not everybody and not any(
                passes(pattern, origin or "") for pattern in rule["origin"]):
            continue
        if all(TOKEN.fullmatch(name) and allows(rule, name)
               for name in names):
            return index, everybody, varies
    return -1, False, varies


@SETTINGS
@given(RULES, st.one_of(st.none(), st.sampled_from(
    [*ORIGINS[1:], "https://a.example.evil", "https://b.example",
     "https://a.example:443", "http://c.example", "garbage", ""])),
    st.sampled_from([*METHODS[:-1], "get", "Put"]), ASKED, st.booleans())
def test_a_file_is_evaluated_as_the_model_does(ask, rules, origin, method,
                                               headers, wrapped):
    file = json.dumps({"cors": rules} if wrapped else rules)
    answer = ask(file=file, origin=origin, method=method, headers=headers)
    rule, everybody, varies = decide(rules, origin, method, headers)
    assert answer["rule"] == rule, answer
    assert (answer["any"], answer["varies"]) == (everybody, varies)
    assert (answer["refusal"] == 0) == (rule >= 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from(ORIGINS + METHODS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["origin", "method", "responseHeader", "cors",
                         "maxAgeSeconds", "Origin", "x"]), inner, max_size=4),
    max_leaves=12)


@SETTINGS
@given(JSON)
def test_a_file_that_is_no_configuration_is_refused(ask, document):
    answer = ask(file=json.dumps(document), origin="https://a.example",
                 method="GET")
    rules = document
    if isinstance(rules, dict) and list(rules) == ["cors"]:
        rules = rules["cors"]
    good = isinstance(rules, list) and all(
        isinstance(rule, dict)
        and set(rule) <= {"origin", "method", "responseHeader",
                          "maxAgeSeconds"}
        and all(isinstance(rule.get(name), list) and rule[name]
                and all(isinstance(item, str) for item in rule[name])
                for name in ("origin", "method"))
        and all(item in METHODS for item in rule["method"])
        and all(item == "*" or valid(item) and "*" not in item
                for item in rule["origin"])
        and isinstance(rule.get("responseHeader", []), list)
        and all(isinstance(item, str) and TOKEN.fullmatch(item)
                for item in rule.get("responseHeader", []))
        and type(rule.get("maxAgeSeconds", 0)) is int
        and 0 <= rule.get("maxAgeSeconds", 0) <= 3153600000
        for rule in rules)
    assert ("error" not in answer) == good, answer
