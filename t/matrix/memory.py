"""Finds the lines of C that are run only when memory is out.

Nobody lists them: they are derived.  Each function is walked through with
what its variables may hold.  A value is a name or a number, and whether only a
lack of memory makes it; such values come from the functions of FAIL.  Where a
condition can hold by such a value alone, memory is out from there on, and what
is returned there is such a value in turn, for those who call.  What is not
understood may be anything: in doubt, a line has nothing to do with memory.

The C is that of nginx's style, which t/test_style.py checks: each body has
braces.  Both sides of an #if are read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Iterator, NamedTuple


class Token(NamedTuple):
    text: str
    line: int


Tokens = list[Token]
Value = frozenset[tuple[str, bool]]

UNKNOWN: Value = frozenset({("?", False)})
OBJECT: Value = frozenset({("object", False)})

NUMBERS = {
    "NULL": 0, "NGX_OK": 0, "NGX_CONF_OK": 0, "NGX_ERROR": -1, "NGX_AGAIN": -2,
    "NGX_BUSY": -3, "NGX_DONE": -4, "NGX_DECLINED": -5, "NGX_ABORT": -6,
    "NGX_CONF_ERROR": -1, "CURLE_OK": 0, "CURLM_OK": 0,
    "CURLE_OUT_OF_MEMORY": 27, "CURLM_OUT_OF_MEMORY": 3, "NGX_HTTP_OK": 200, "NGX_HTTP_SPECIAL_RESPONSE": 300,
    "NGX_HTTP_INTERNAL_SERVER_ERROR": 500,
}

# What fails for want of memory alone, the way we call it: what it returns
# then, and else.  Most need no word.
FAIL: dict[str, tuple[str, str]] = {
    **dict.fromkeys("""
        ngx_alloc ngx_calloc ngx_palloc ngx_pnalloc ngx_pcalloc ngx_pmemalign
        ngx_create_pool ngx_pool_cleanup_add ngx_pstrdup
        ngx_array_create ngx_array_push ngx_array_push_n
        ngx_list_create ngx_list_push
        ngx_alloc_chain_link ngx_alloc_buf ngx_calloc_buf ngx_create_temp_buf
        ngx_chain_get_free_buf ngx_thread_task_alloc
        ngx_slab_alloc ngx_slab_calloc
        ngx_slab_alloc_locked ngx_slab_calloc_locked
        json_object json_array json_integer json_true
        curl_slist_append curl_easy_init curl_multi_init
        BIO_new_mem_buf EVP_MD_CTX_new EVP_MAC_CTX_new EVP_CIPHER_CTX_new
        EVP_PKEY_CTX_new EVP_PKEY_CTX_dup EVP_MD_fetch EVP_MAC_fetch
        """.split(), ("NULL", "object")),

    # what they write is UTF-8, it comes from texts that were looked at or
    # from jansson itself
    **dict.fromkeys("json_pack json_dumps".split(), ("NULL", "object")),
    "json_dumpb": ("0", "object"),

    # a variable without a value is empty; the path is put together
    **dict.fromkeys("""
        ngx_array_init ngx_list_init ngx_http_complex_value
        ngx_conf_full_name ngx_http_upstream_create
        """.split(), ("NGX_ERROR", "NGX_OK")),

    # options that libcurl has, as "config" has checked
    "curl_easy_setopt": ("CURLE_OUT_OF_MEMORY", "CURLE_OK"),
    "curl_multi_setopt": ("CURLM_OUT_OF_MEMORY", "CURLM_OK"),
    "curl_multi_add_handle": ("CURLM_OUT_OF_MEMORY", "CURLM_OK"),

    # algorithms that every OpenSSL has, RSA keys that it has read and checked
    **dict.fromkeys("""
        EVP_Digest EVP_DigestInit_ex2 EVP_DigestUpdate EVP_DigestFinal_ex
        EVP_MAC_init EVP_MAC_update EVP_MAC_final EVP_MAC_CTX_set_params
        EVP_CipherInit_ex EVP_CipherUpdate EVP_CIPHER_CTX_ctrl
        EVP_PKEY_sign_init EVP_PKEY_CTX_set_rsa_padding
        EVP_PKEY_CTX_set_signature_md EVP_PKEY_size i2d_PUBKEY
        SSL_CTX_set_default_verify_paths
        """.split(), ("0", "1")),
    **dict.fromkeys("ngx_ssl_create ngx_ssl_ciphers".split(),
                    ("NGX_ERROR", "NGX_OK")),
}

_TOKEN = re.compile(
    r"""(?P<skip>/\*.*?\*/|\s+)|(?P<line>(?<![^\n])\#(?:\\\n|[^\n])*)
    |"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[A-Za-z_]\w*|\d[\w.]*
    |->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.""",
    re.DOTALL | re.VERBOSE)

_PAIR = {"(": ")", "[": "]", "{": "}"}
_NAME = re.compile(r"[A-Za-z_]\w*$")
_CONSTANT = re.compile(r"(?:[A-Z][A-Z0-9_]+|\d\w*)$")
_PLACE = re.compile(r"\*?[a-z_](?:\w|->|\.|\[\w+\])*$")
_COMPARE = {"==", "!=", "<", ">", "<=", ">="}
_ASSIGN = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
_WORDS = {"if", "for", "while", "switch", "return", "sizeof", "do", "else"}


def tokens_of(text: str) -> tuple[Tokens, list[str]]:
    """The tokens, and the lines for the preprocessor."""
    found, directives, line = [], [], 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "line":
            directives.append(match.group())
        elif match.lastgroup is None:
            found.append(Token(match.group(), line))
        line += match.group().count("\n")
    return found, directives


def closing(tokens: Tokens, at: int) -> int:
    """Where the pair that opens there is closed."""
    depth = 0
    for here in range(at, len(tokens)):
        if tokens[here].text in _PAIR:
            depth += 1
        elif tokens[here].text in _PAIR.values():
            depth -= 1
            if depth == 0:
                return here
    raise ValueError(f"line {tokens[at].line}: no end of {tokens[at].text}")


@dataclass
class Function:
    file: str
    name: str
    static: bool
    head: Tokens                  # from the name to the brace
    body: Tokens                  # with both braces

    @property
    def lines(self) -> range:
        return range(self.head[0].line, self.body[-1].line + 1)


def functions_of(file: str, tokens: Tokens) -> Iterator[Function]:
    start = at = 0
    while at < len(tokens):
        text = tokens[at].text
        if text == ";":
            start = at + 1
        elif text in _PAIR:
            end = closing(tokens, at)
            if text == "(" and at > start and end + 1 < len(tokens) \
                    and tokens[end + 1].text == "{":
                last = closing(tokens, end + 1)
                yield Function(
                    file, tokens[at - 1].text,
                    any(t.text == "static" for t in tokens[start:at]),
                    tokens[at - 1:end + 1], tokens[end + 1:last + 1])
                end, start = last, last + 1
            at = end
        at += 1


# what may be known at a place

@dataclass
class State:
    known: dict[str, Value] = field(default_factory=dict)
    memory: bool = False          # it is out
    alive: bool = True            # somebody can come here

    def copy(self) -> "State":
        return State(dict(self.known), self.memory, self.alive)


def merge(*states: State) -> State:
    states = tuple(state for state in states if state.alive)
    if not states:
        return State(alive=False)
    known = dict(states[0].known)
    for state in states[1:]:
        known = {name: union(value, state.known[name])
                 for name, value in known.items() if name in state.known}
    return State(known, all(state.memory for state in states))


def union(*values: Value) -> Value:
    """What has another cause, too, has not memory for its cause."""
    atoms = frozenset().union(*values)
    return frozenset((name, memory) for name, memory in atoms
                     if not memory or (name, False) not in atoms)


def holds(one: str, sign: str, other: str) -> bool | None:
    """Whether a comparison holds; None: who knows."""
    if "?" in (one, other):
        return None
    if "object" in (one, other):
        return {"==": False, "!=": True}.get(sign) \
            if {one, other} & {"NULL", "0"} else None
    left, right = (NUMBERS.get(name, name) for name in (one, other))
    left, right = (int(side) if isinstance(side, str) and side.isdigit()
                   else side for side in (left, right))
    if isinstance(left, str) or isinstance(right, str):
        return {"==": True, "!=": False}.get(sign) if left == right else None
    return {"==": left == right, "!=": left != right, "<": left < right,
            ">": left > right, "<=": left <= right, ">=": left >= right}[sign]


class Memory:
    """The functions of all files, and which lines want memory to be out."""

    def __init__(self, sources: dict[str, str],
                 is_run: dict[str, set[int]] | None = None,
                 excused: dict[str, set[int]] | None = None) -> None:
        """What is_run names, a file's lines, nobody takes for memory.

        What has an excuse of another kind counts as if memory were out, so
        that what passes its failure on has the same excuse.
        """
        self.is_run, self.excused = is_run or {}, excused or {}
        self.functions: list[Function] = []
        self.named: dict[str, list[Function]] = defaultdict(list)
        self.returns: dict[str, Value | None] = {}
        self.handed: set[str] = set()
        for file, text in sources.items():
            tokens, directives = tokens_of(text)
            self.functions += functions_of(file, tokens)
            for one, two in zip(tokens, tokens[1:] + [Token("", 0)]):
                if two.text != "(":
                    self.handed.add(one.text)
            for line in directives:
                self.handed.update(re.findall(r"\w+", line))
        for function in self.functions:
            self.named[function.name].append(function)

        # who is called where memory is out alone: more with every round
        self.entered: dict[int, bool] = {}
        while self._round():
            pass

    def _round(self) -> bool:
        self.returns, self.calls = {}, defaultdict(list)
        self.marks: dict[str, dict[int, bool]] = defaultdict(dict)
        walked = {}
        for function in self.functions:
            walked[id(function)] = self._walk(function)
        found = {id(function): True for function in self.functions
                 if function.name not in self.handed
                 and self.calls[id(function)]
                 and all(self.calls[id(function)])}
        again = found.keys() != self.entered.keys()
        self.entered = found
        return again

    def _walk(self, function: Function) -> Value:
        key = id(function)
        if key not in self.returns:
            self.returns[key] = UNKNOWN        # for those who call themselves
            self.returns[key] = Walk(self, function).returned
        return self.returns[key]

    def targets(self, name: str, file: str) -> list[Function]:
        found = self.named.get(name, [])
        own = [one for one in found if one.file == file]
        return own or [one for one in found if not one.static]

    def result(self, name: str, file: str) -> Value:
        if name in FAIL:
            bad, good = FAIL[name]
            return frozenset({(bad, True), (good, False)})
        found = self.targets(name, file)
        return union(*map(self._walk, found)) if found else UNKNOWN

    def mark(self, file: str, line: int, memory: bool) -> None:
        marks = self.marks[file]
        marks[line] = memory and marks.get(line, True)

    def lines(self, file: str) -> set[int]:
        return {line for line, memory in self.marks[file].items() if memory}


class Walk:
    """One way through a function, as often as its jumps back need."""

    def __init__(self, memory: Memory, function: Function) -> None:
        self.all, self.function = memory, function
        self.file, self.tokens = function.file, function.body
        self.returned: Value = frozenset()
        self.labels: dict[str, State] = {}
        self.breaks: list[list[State]] = []
        self.continues: list[list[State]] = []
        self.cases: list[tuple[Tokens, State, State]] = []
        self.run = memory.is_run.get(function.file, set())
        self.excused = memory.excused.get(function.file, set())

        start = State(memory=memory.entered.get(id(function), False))
        for _ in range(8):
            before = dict(self.labels)
            self.mark(function.head, start)
            self.block(0, start.copy())
            self.mark([self.tokens[-1]], start)
            if self.labels == before:
                break

    def mark(self, tokens: Tokens, state: State) -> None:
        for token in tokens:
            self.all.mark(self.file, token.line, state.memory and state.alive)

    # statements

    def block(self, at: int, state: State) -> State:
        end = closing(self.tokens, at)
        at += 1
        while at < end:
            at, state = self.statement(at, state)
        return state

    def head(self, at: int) -> tuple[Tokens, int]:
        """What is in the parentheses that open there, and what follows."""
        end = closing(self.tokens, at)
        return self.tokens[at + 1:end], end + 1

    def statement(self, at: int, state: State) -> tuple[int, State]:
        token = self.tokens[at]
        word = token.text

        if state.memory and token.line in self.run and word != "{":
            state.memory = False
        if token.line in self.excused:
            state.memory = True

        if word == "{":
            return closing(self.tokens, at) + 1, self.block(at, state)
        if word in ("if", "switch", "while", "for", "do"):
            return getattr(self, "_" + word)(at, state)
        if word == "case":
            end = self.find(at, ":")
            what, switched, _ = self.cases[-1]
            taken, _ = self.compare(what, "==", self.tokens[at + 1:end],
                                    switched)
            state = merge(state, taken)
            self.mark(self.tokens[at:end + 1], state)
            return end + 1, state
        if word == "default":
            state = merge(state, self.cases[-1][2])
            self.mark([token], state)
            return at + 2, state
        if _NAME.match(word) and self.tokens[at + 1].text == ":":
            state = merge(state, self.labels.get(word, State(alive=False)))
            self.mark([token], state)
            return at + 2, state
        if self.tokens[at + 1].text == "(":
            _, after = self.head(at + 1)
            if self.tokens[after].text == "{":          # a macro that loops
                for one in self.tokens[at + 2:after]:
                    self.forget(one.text, state)
                return self.loop(at + 2, after, state)

        end = self.find(at, ";")
        self.mark(self.tokens[at:end + 1], state)
        rest = self.tokens[at + 1:end]

        if word == "return":
            self.leave(rest, state)
        elif word == "goto":
            name = rest[0].text
            self.labels[name] = merge(
                state, self.labels.get(name, State(alive=False)))
        elif word == "break":
            self.breaks[-1].append(state.copy())
        elif word == "continue":
            self.continues[-1].append(state.copy())
        else:
            self.value(self.tokens[at:end], state)
            return end + 1, state
        return end + 1, State(alive=False)

    def find(self, at: int, text: str) -> int:
        while self.tokens[at].text != text:
            at = closing(self.tokens, at) + 1 \
                if self.tokens[at].text in _PAIR else at + 1
        return at

    def leave(self, rest: Tokens, state: State) -> None:
        value = self.value(rest, state) if rest else UNKNOWN
        if state.alive:
            self.returned = union(self.returned, frozenset(
                (name, memory or state.memory) for name, memory in value))

    def _if(self, at: int, state: State) -> tuple[int, State]:
        condition, after = self.head(at + 1)
        self.mark([self.tokens[at]], state)
        yes, no = self.condition(condition, state)
        after, yes = self.statement(after, yes)
        if self.tokens[after].text == "else":
            after, no = self.statement(after + 1, no)
        return after, merge(yes, no)

    def _switch(self, at: int, state: State) -> tuple[int, State]:
        what, after = self.head(at + 1)
        self.mark(self.tokens[at:after], state)
        end = closing(self.tokens, after)
        rest, default = state, False
        for here in range(after, end):
            if self.tokens[here].text == "case":
                _, rest = self.compare(
                    what, "==",
                    self.tokens[here + 1:self.find(here, ":")], rest)
            default |= self.tokens[here].text == "default"

        self.cases.append((what, state.copy(), rest.copy()))
        self.breaks.append([])
        last = self.block(after, State(alive=False))
        self.cases.pop()
        return end + 1, merge(last, *self.breaks.pop(),
                              *([] if default else [rest]))

    def _while(self, at: int, state: State) -> tuple[int, State]:
        return self.loop(at + 2, self.head(at + 1)[1], state)

    def _for(self, at: int, state: State) -> tuple[int, State]:
        first = self.find(at + 2, ";")
        self.mark(self.tokens[at:first], state)
        self.value(self.tokens[at + 2:first], state)
        return self.loop(first + 1, self.head(at + 1)[1], state)

    def _do(self, at: int, state: State) -> tuple[int, State]:
        end = closing(self.tokens, at + 1)
        _, after = self.loop(end + 3, at + 1, state, first=False)
        return self.find(end, ";") + 1, after

    def loop(self, test: int, body: int, state: State, *,
             first: bool = True) -> tuple[int, State]:
        """Around, until nothing new is learned."""
        end = test
        while self.tokens[end].text not in (";", ")"):
            end = closing(self.tokens, end) + 1 \
                if self.tokens[end].text in _PAIR else end + 1
        condition = self.tokens[test:end]
        step = self.tokens[end + 1:body - 1] \
            if self.tokens[end].text == ";" and first else []

        around, before = state, None
        while around != before:
            before = around.copy()
            self.breaks.append([])
            self.continues.append([])
            yes, no = around.copy(), State(alive=False)
            if first and condition:
                yes, no = self.condition(condition, around.copy())
            last = merge(self.block(body, yes), *self.continues.pop())
            self.mark(step, last)
            self.value(step, last)
            if not first:
                last, no = self.condition(condition, last)
            over = merge(no, *self.breaks.pop())
            around = merge(before, last)
        return closing(self.tokens, body) + 1, over

    # expressions

    def condition(self, tokens: Tokens, state: State) -> tuple[State, State]:
        """What is known if it holds, and if it does not."""
        tokens = bare(tokens)

        for sign in ("||", "&&"):
            at = outer(tokens, {sign})
            if at and outer(tokens, {"?"}) is None:
                yes, no = self.condition(tokens[:at], state)
                if sign == "||":
                    other, no = self.condition(tokens[at + 1:], no)
                    return merge(yes, other), no
                yes, other = self.condition(tokens[at + 1:], yes)
                return yes, merge(no, other)

        if tokens and tokens[0].text == "!" \
                and outer(tokens, _COMPARE) is None:
            no, yes = self.condition(tokens[1:], state)
            return yes, no

        self.mark(tokens, state)
        at = outer(tokens, _COMPARE)
        if at:
            return self.compare(tokens[:at], tokens[at].text, tokens[at + 1:],
                                state)
        return self.compare(tokens, "!=", [Token("0", 0)], state)

    def compare(self, left: Tokens, sign: str, right: Tokens,
                state: State) -> tuple[State, State]:
        one, other = self.value(left, state), self.value(right, state)
        atoms: dict[bool, set[tuple[str, bool]]] = {True: set(), False: set()}
        for name, memory in one:
            for against, also in other:
                is_so = holds(name, sign, against)
                for outcome in (True, False):
                    if is_so in (None, outcome):
                        atoms[outcome].add((name, memory or also))
        found = []
        for outcome in (True, False):
            branch = state.copy()
            branch.alive &= bool(atoms[outcome])
            branch.memory |= bool(atoms[outcome]) and all(
                memory for _, memory in atoms[outcome])
            place = "".join(token.text for token in bare(left))
            if place in branch.known and branch.alive:
                branch.known[place] = frozenset(atoms[outcome])
            elif _PLACE.match(place) and sign in ("==", "!=") \
                    and all(holds(name, "==", "0") for name, _ in other):
                branch.known[place] = OBJECT if outcome == (sign == "!=") \
                    else frozenset({("0", branch.memory)})
            found.append(branch)
        return found[0], found[1]

    def value(self, tokens: Tokens, state: State) -> Value:
        """What an expression may be; what it does is done to the state."""
        tokens = bare(tokens)
        if not tokens:
            return UNKNOWN

        at = outer(tokens, _ASSIGN)
        if at:
            return self.assign(tokens[:at], tokens[at].text, tokens[at + 1:],
                               state)

        at = outer(tokens, {"?"})
        if at:
            yes, no = self.condition(tokens[:at], state)
            colon = at + 1 + (outer(tokens[at + 1:], {":"}) or 0)
            values = []
            for part, branch in ((tokens[at + 1:colon], yes),
                                 (tokens[colon + 1:], no)):
                part_value = self.value(part, branch)
                if branch.alive:
                    values.append(frozenset((name, memory or branch.memory)
                                            for name, memory in part_value))
            return union(*values) if values else UNKNOWN

        if outer(tokens, {"||", "&&"} | _COMPARE) or tokens[0].text == "!":
            yes, no = self.condition(tokens, state)
            return union(*(frozenset({(name, branch.memory)})
                           for name, branch in (("1", yes), ("0", no))
                           if branch.alive))

        self.called(tokens, state)
        return self.single(tokens, state)

    def single(self, tokens: Tokens, state: State) -> Value:
        first = tokens[0].text
        text = "".join(token.text for token in tokens)
        if first == "(":                                  # a cast
            inner = tokens[1:closing(tokens, 0)]
            rest = tokens[len(inner) + 2:]
            if rest and all(t.text == "*" or _NAME.match(t.text)
                            for t in inner) \
                    and (rest[0].text == "(" or _NAME.match(rest[0].text)
                         or rest[0].text[0] == '"'):
                return self.single(rest, state)
            return UNKNOWN
        if text in state.known:
            return state.known[text]
        if _NAME.match(first) and len(tokens) > 1 and tokens[1].text == "(" \
                and closing(tokens, 1) == len(tokens) - 1:
            return self.all.result(first, self.file)
        if first[0] == '"' or (first == "&" and len(tokens) > 1):
            return OBJECT
        if len(tokens) == 1 and _CONSTANT.match(first):
            return frozenset({(first, False)})
        return UNKNOWN

    def called(self, tokens: Tokens, state: State) -> None:
        """Notes who is called, and forgets what the called may change."""
        texts = ["", *(token.text for token in tokens), "", ""]
        for at, token in enumerate(tokens):
            before, after = texts[at], texts[at + 2]
            if after == "(" and _NAME.match(token.text) \
                    and token.text not in _WORDS:
                if state.alive:
                    for one in self.all.targets(token.text, self.file):
                        self.all.calls[id(one)].append(state.memory)
                if token.text not in FAIL:
                    state.known = {
                        name: value for name, value in state.known.items()
                        if _NAME.match(name) and not name.startswith("ngx_")}
            if token.text == "&" and not _NAME.match(before) \
                    and "".join(texts[at + 3:at + 4]) != "->":
                self.forget(after, state)
            if after == "->" and before not in ("->", ".") \
                    and _PLACE.match(token.text):
                state.known[token.text] = frozenset(    # or it would crash
                    one for one in state.known.get(token.text, OBJECT)
                    if not holds(one[0], "==", "0")) or OBJECT
            if token.text in ("++", "--"):
                self.forget(before, state)
                self.forget(after, state)

    def forget(self, name: str, state: State) -> None:
        state.known = {place: value for place, value in state.known.items()
                       if name not in re.findall(r"\w+", place)}

    def assign(self, left: Tokens, sign: str, right: Tokens,
               state: State) -> Value:
        value = self.value(right, state)
        place = "".join(token.text for token in left)
        self.called(left, state)
        for name in [name for name in state.known if name == place
                     or name.startswith((place + "->", place + ".",
                                         place + "[", "*" + place))]:
            del state.known[name]
        if sign != "=":
            return UNKNOWN
        if state.memory:
            value = frozenset((name, True) for name, _ in value)
        if value != UNKNOWN:
            state.known[place] = value
        return value


def bare(tokens: Tokens) -> Tokens:
    """Without the parentheses around all of it."""
    while len(tokens) > 1 and tokens[0].text == "(" \
            and closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def outer(tokens: Tokens, texts: set[str]) -> int | None:
    """Where one of them first stands outside of all parentheses."""
    at = 0
    while at < len(tokens):
        if tokens[at].text in _PAIR:
            at = closing(tokens, at)
        elif tokens[at].text in texts:
            return at
        at += 1
    return None
