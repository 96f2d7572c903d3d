"""Signed URLs made in C, byte for byte those of Google's Python and Node clients.

A program of the pure C files signs thousands of generated URLs with a key and
at a time that it is given; the clients sign the same with the same key, at the
same time.  RSA signatures of this kind are deterministic, so that whole URLs
are compared, and the texts that were signed, so that a difference can be read.

Neither client signs URLs with an HMAC key: those are compared with the few
lines of this file that state the rule once more, and with the signature that
botocore's engine finds for the request that such a URL makes.

Where a client differs from the documented rule, DIFFERENCES says how and why,
and a test sees that it is still so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from google.auth import crypt
from google.cloud import storage
from google.cloud.storage import _signing
from google.oauth2 import service_account

from emulator import signing_key
from test_signatures import Goog4Auth, clock, stamp, word
from test_unit import SANITIZE, UNIT, WARNINGS, sanitizers, toolbox  # noqa: F401

TESTS = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("BUILD_DIR", TESTS.parent / "build"))

# this many with each client
CASES = 10_500
DAYS = 7 * 86400

Case = dict[str, Any]
Pairs = list[tuple[str, str]]


# what signs

@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.touch(0o600)
    path.write_text(signing_key().private_pem)
    return path


class Lines:
    """A program that answers each line of JSON with one."""

    def __init__(self, *command: Any, cases: list[Case], **kw: Any) -> None:
        self.count = len(cases)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8", **kw)
        self.input = "".join(json.dumps(case) + "\n" for case in cases)

    def results(self) -> list[dict[str, Any]]:
        output, errors = self.process.communicate(self.input, timeout=280)
        assert self.process.returncode == 0, errors
        results = [json.loads(line) for line in output.splitlines()]
        assert len(results) == self.count, errors
        return results


@pytest.fixture(scope="module")
def sign(toolbox, key):  # noqa: F811
    """Signs cases with the C code; a refusal is {"rc": -5}."""
    program = toolbox.program(
        "gcc", "gcc", WARNINGS + SANITIZE, [UNIT / "signer.c"], [])

    def start(cases: list[Case]) -> Lines:
        return Lines(program, key, cases=cases, env=sanitizers())

    return start


class Python:
    """google-cloud-storage, at the time of the case."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: Path) -> None:
        self.signer = crypt.RSASigner.from_string(key.read_text(), "k")
        self.clients: dict[tuple[str, str], storage.Client] = {}
        self.signed = b""
        self.now = 0
        monkeypatch.setattr(_signing, "_NOW", lambda tz: clock(self.now))
        for name in ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE"):
            monkeypatch.delenv(name, raising=False)

    def client(self, account: str, universe: str) -> storage.Client:
        if (account, universe) not in self.clients:
            credentials = service_account.Credentials(
                self, account, "https://oauth2.googleapis.com/token",
                universe_domain=universe)
            self.clients[account, universe] = storage.Client(
                "p", credentials,
                client_options={"universe_domain": universe})
        return self.clients[account, universe]

    # the signer of the credentials, which tells what it has been signing

    key_id = "k"

    def sign(self, message: bytes) -> bytes:
        self.signed = message
        return self.signer.sign(message)

    def url(self, case: Case) -> dict[str, str]:
        self.now = case["now"]
        bucket = self.client(case["account"], case["universe"]) \
            .bucket(case["bucket"])
        options: dict[str, Any] = {
            "version": "v4", "method": case["method"],
            "expiration": case["expires"],
            "headers": dict(case["headers"]),
            "query_parameters": dict(case["params"]),
        }
        if case["style"] == "bound":
            options |= {"bucket_bound_hostname": case["host"],
                        "scheme": case["scheme"]}
        else:
            options["virtual_hosted_style"] = case["style"] == "virtual"
            if case["endpoint"]:
                options["api_access_endpoint"] = case["endpoint"]

        item = bucket
        if case["name"] is not None:
            item = bucket.blob(case["name"])
            options |= case["options"]
        try:
            url = item.generate_signed_url(**options)
        except Exception as error:
            return {"error": str(error)}
        return {"url": url, "signed": self.signed.decode()}


@pytest.fixture
def python(monkeypatch, key) -> Python:
    return Python(monkeypatch, key)


def no_node(reason: str) -> None:
    """Says plainly that nothing was compared."""
    reason = f"signed URLs are not compared with those of Node: {reason}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The packages of t/node/package.json, kept from one run to the next."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        no_node("node or npm is missing: install Node.js")

    source, folder = TESTS / "node" / "package.json", BUILD / "node"
    if (folder / "node_modules").is_dir() \
            and (folder / "stamp").exists() \
            and (folder / "stamp").read_bytes() == source.read_bytes():
        return folder

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / "package.json")
    try:
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts",
             "--no-package-lock", "--no-update-notifier"],
            cwd=folder, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        no_node("npm install takes too long")
    if done.returncode:
        no_node(f"npm cannot install them:\n{done.stderr[-2000:]}")
    shutil.copyfile(source, folder / "stamp")
    return folder


@pytest.fixture
def node(node_packages, key):
    """@google-cloud/storage, at the time of the case."""
    def start(cases: list[Case]) -> Lines:
        plain = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
        return Lines("node", TESTS / "node" / "sign_urls.js", node_packages,
                     key, cases=[for_node(case) for case in cases], env=plain)

    return start


# cases, as the clients would be asked for them

ACCOUNTS = ["reader@p.iam.gserviceaccount.com",
            "a-b_c@my-project-1.iam.gserviceaccount.com",
            "12-compute@developer.gserviceaccount.com",
            "odd+name!#$%&'*=?^`{|}~@example.com", "x"]
UNIVERSES = ["googleapis.com"] * 5 + ["apis-tpczero.goog"]
ENDPOINTS = ["http://localhost:8080", "http://127.0.0.1:9000", "http://[::1]:1",
             "https://gcs.example.com", "https://restricted.googleapis.com",
             "https://storage.europe-west3.rep.googleapis.com",
             "https://private.example.com:8443"]
BOUND = ["cdn.example.com", "media.example.org", "xn--mnchen-3ya.example",
         "static_files.example.com", "localhost:3000", "10.0.0.7:65535"]
BUCKETS = ["b-1", "test-bucket", "my_bucket_0", "a.b.example.com", "x" * 63]
PIECES = ["/", "/", "//", ".", "-", "_", "~", "%", "%20", "%2F", "%25", " ",
          "+", "&", "=", "?", "#", ";", ":", "@", ",", "!", "'", "(", ")", "*",
          "\"", "<", ">", "\\", "^", "`", "{", "|", "}", "[", "]", "$",
          "\x01", "\t", "\x7f", "é", "e\u0301", "ß", "雪", "\u202e", "\xa0",
          "\u2028", "\U0001f40d", "\ufffd", "\U0010ffff", "a", "Z", "0",
          "photo", "2026", ".jpg", ".well-known", "..a", "a..", "..."]
HEADERS = ["Content-Type", "content-md5", "Range", "If-Match", "x-custom",
           "X-Goog-Meta-A", "X-Goog-Meta-A-B", "x-goog-meta-ab",
           "X-GOOG-IF-GENERATION-MATCH", "x-goog-user-project", "accept",
           "x-goog-encryption-algorithm", "x-goog-encryption-key",
           "Content-Length", "x-goog-acl", "a", "zz-9"]
PARAMS = ["generation", "userProject", "response-content-type", "prefix",
          "response-content-disposition", "response-cache-control", "uploads",
          "marker", "delimiter", "max-keys", "partNumber", "x-goog-user-project",
          "y", "zeta_1~", "x y", "z/é", "z&=?#"]
EARLY = ["X-Goog-Meta-Foo", "ACL", "soufflé", "Z", "X-Goog-A", "X-Goog-Z"]
ASCII = "".join(map(chr, range(0x21, 0x7f)))
RESPONSE = [("response_type", "response-content-type"),
            ("response_disposition", "response-content-disposition")]
DISPOSITION = "attachment; filename=\"{0}\"; filename*=UTF-8''{1}"


def object_name(rng: random.Random) -> str:
    """Never with a dot segment; those are in DIFFERENCES."""
    while True:
        name = "".join(rng.choices(PIECES, k=rng.randint(1, 12)))
        if not {".", ".."} & set(name.split("/")):
            return name


def header_value(rng: random.Random, blanks: list[str]) -> str:
    words = [word(rng, ASCII, 1, 8) for _ in range(rng.randint(0, 4))]
    return rng.choice(["", *blanks]) + "".join(
        part + rng.choice(blanks) for part in words)


def param_value(rng: random.Random) -> str:
    return rng.choice([
        "", "0", "start", "17000000000000001", "text/html; charset=utf-8",
        DISPOSITION.format("x.txt", "na%C3%AFve.txt"),
        "".join(rng.choices(["a", "~", "/", " ", "+", "%", "=", "&", "é", "雪",
                             "\U0001f40d", "'", "\"", "-", "_", "."], k=9))])


def make_case(rng: random.Random, params: list[str],
              blanks: list[str]) -> Case:
    """With headers of names that are different in lower case, too."""
    style = rng.choice(["path", "path", "virtual", "bound"])
    method = rng.choice(["GET", "GET", "HEAD", "PUT", "DELETE", "POST",
                         "RESUMABLE"])
    name = object_name(rng)
    if rng.random() < 0.05:
        name, method = None, "GET"
    options = {}
    if name is not None and rng.random() < 0.2:
        options = {rng.choice(["response_type", "response_disposition"]):
                   rng.choice(["audio/mpeg", "attachment; filename=\"é /\""])}
    if method == "PUT" and rng.random() < 0.4:
        options["content_type"] = "text/plain; charset=UTF-8"
    headers = [(header, header_value(rng, blanks)) for header in
               rng.sample(HEADERS, rng.choice([0, 0, 1, 2, 3, 5, 9]))]
    if rng.random() < 0.1:
        headers.append(("X-Goog-Content-SHA256", word(rng, "0123456789abcdefAF",
                                                      40, 64)))
    if "content_type" in options:
        headers = [h for h in headers if h[0] != "Content-Type"]
    if "response_type" in options or "response_disposition" in options:
        params = [p for p in params if not p.startswith("response-content")]

    case = {
        "bucket": rng.choice(BUCKETS), "name": name, "style": style,
        "scheme": rng.choice(["http", "https"]),
        "universe": rng.choice(UNIVERSES), "endpoint": "",
        "host": rng.choice(BOUND), "method": method, "headers": headers,
        "params": sorted((param, param_value(rng)) for param in
                         rng.sample(params, rng.choice([0, 0, 1, 2, 4, 7]))),
        "options": options, "account": rng.choice(ACCOUNTS),
        "now": rng.choice([rng.randint(0, 4102444800),
                           86400 * rng.randint(1, 40000) - rng.randint(0, 1)]),
        "expires": rng.choice([1, 10, 900, 3600, 43200, DAYS - 1, DAYS,
                               rng.randint(1, DAYS)]),
    }
    if style == "path" and rng.random() < 0.4:
        case["endpoint"] = rng.choice(ENDPOINTS)
    return case


def for_node(case: Case) -> Case:
    """The same question in Node's words; headers may be lists there."""
    options = {{"response_type": "responseType",
                "response_disposition": "responseDisposition",
                "content_type": "contentType"}[name]: value
               for name, value in case["options"].items()}
    headers, params = dict(case["headers"]), dict(case["params"])
    if case["method"] in ("HEAD", "POST"):
        # no action stands for them, so that its signer is asked, to whom a
        # file has told both in these words
        headers = {name.lower(): value for name, value in headers.items()}
        for option, name in RESPONSE:
            if option in case["options"]:
                params[name] = case["options"][option]
    return {**case, "headers": headers, "params": params, "options": options,
            "cname": f"{case['scheme']}://{case['host']}"
                     if case["style"] == "bound" else ""}


def for_us(case: Case, port: bool) -> Case:
    """The same question in ours.  port: whether that is signed, see 6.6."""
    headers, params = list(case["headers"]), list(case["params"])
    method = case["method"]
    if method == "RESUMABLE":
        method = "POST"
        headers.append(("x-goog-resumable", "start"))
    for option, name in RESPONSE:
        if option in case["options"]:
            params.append((name, case["options"][option]))
    if "content_type" in case["options"]:
        headers.append(("content-type", case["options"]["content_type"]))

    endpoint = urlsplit(case["endpoint"]
                        or f"https://storage.{case['universe']}")
    scheme, host = endpoint.scheme, endpoint.netloc
    if case["style"] == "virtual":
        host = f"{case['bucket']}.{host}"
    elif case["style"] == "bound":
        scheme, host = case["scheme"], case["host"]

    path = f"/{case['bucket']}" if case["style"] == "path" else ""
    if case["name"] is not None or not path:
        path += "/"

    return {
        "op": "url", "scheme": scheme, "host": host,
        "signed_host": host if port else re.sub(r":\d+$", "", host),
        "path": path, "name": case["name"] or "", "method": method,
        "headers": [(name, one) for name, value in headers
                    for one in ([value] if isinstance(value, str) else value)],
        "params": params, "account": case["account"],
        "now": case["now"], "expires": case["expires"],
    }


def by_name(pairs: Pairs) -> Pairs:
    return sorted((quote(name, safe="~"), quote(value, safe="~"))
                  for name, value in pairs)


# RSA: Google's clients

@pytest.mark.timeout(300)
def test_a_url_is_byte_for_byte_that_of_google_s_python_client(sign, python):
    rng = random.Random(65)
    cases = []
    while len(cases) < CASES:
        case = make_case(rng, PARAMS + EARLY, [" ", "  ", "\t", " \t "])
        if rng.random() < 0.1:
            # a dictionary may hold a header in several cases of letters
            case["headers"] += [("X-Twice", " 1 "), ("x-TWICE", "2  2"),
                                ("x-twice", "")]
        strings = ["=".join(pair) for pair in by_name(case["params"])]
        if strings == sorted(strings):
            cases.append(case)

    program = sign([for_us(case, port=True) for case in cases])
    theirs = [python.url(case) for case in cases]

    for case, ours, their in zip(cases, program.results(), theirs):
        assert ours.get("signed") == their.get("signed"), (case, ours, their)
        assert ours["text"] == their["url"], case


def reordered(url: str) -> str:
    head, _, rest = url.partition("?")
    query, signature = rest.split("&X-Goog-Signature=")
    pairs = sorted(pair.split("=") for pair in query.split("&"))
    return (f"{head}?{'&'.join(map('='.join, pairs))}"
            f"&X-Goog-Signature={signature}")


@pytest.mark.timeout(300)
def test_a_url_is_byte_for_byte_that_of_google_s_node_client(sign, node):
    """The order of parameters aside, where Node does not sort them."""
    rng = random.Random(66)
    cases = []
    while len(cases) < CASES:
        early = rng.random() < 0.1
        # a lone tab is in DIFFERENCES
        case = make_case(rng, PARAMS + (EARLY if early else []),
                         [" ", "  ", " \t ", "\t\t"])
        case["params"].sort(key=lambda pair: quote(pair[0], safe="~"))
        if rng.random() < 0.1:
            case["headers"] += [("x-twice", ["1", "2 2", ""])]
        if case["name"] is None:
            # two of DIFFERENCES
            case["headers"] = [(name.lower(), value)
                               for name, value in case["headers"]]
            if case["style"] == "virtual":
                continue
        cases.append(case)

    program = sign([for_us(case, port=False) for case in cases])
    theirs = node(cases).results()
    equal = 0

    for case, ours, their in zip(cases, program.results(), theirs):
        assert ours.get("signed") == their.get("signed"), (case, ours, their)
        equal += ours["text"] == their["url"]
        assert ours["text"] == reordered(their["url"]), case

    assert equal > 0.8 * CASES


# the rule, stated once more

def canonical_request(one: Case) -> tuple[str, str]:
    """Of one in our words: the request that is signed, and its query."""
    grouped: dict[str, list[str]] = {"host": [one["signed_host"].lower()]}
    for name, value in one["headers"]:
        grouped.setdefault(name.lower(), []).append(
            re.sub(r"[ \t\r\n]+", " ", value).strip(" "))
    names = ";".join(sorted(grouped))
    lines = {name: ",".join(grouped[name]) for name in sorted(grouped)}

    date = stamp(one["now"])
    kind = "HMAC" if one.get("secret") else "RSA"
    query = "&".join("=".join(pair) for pair in by_name([
        *one["params"],
        ("X-Goog-Algorithm", f"GOOG4-{kind}-SHA256"),
        ("X-Goog-Credential", f"{one['account']}/{scope(one)}"),
        ("X-Goog-Date", date),
        ("X-Goog-Expires", str(one["expires"])),
        ("X-Goog-SignedHeaders", names)]))

    return "\n".join(
        [one["method"], one["path"] + quote(one["name"], safe="/~"), query]
        + [f"{name}:{value}" for name, value in lines.items()]
        + ["", names, lines.get("x-goog-content-sha256",
                                "UNSIGNED-PAYLOAD")]), query


def scope(one: Case) -> str:
    location = one.get("location") or "auto"
    return f"{stamp(one['now'])[:8]}/{location}/storage/goog4_request"


def text_of(one: Case, canonical: str) -> str:
    return "\n".join([
        "GOOG4-HMAC-SHA256" if one.get("secret") else "GOOG4-RSA-SHA256",
        stamp(one["now"]), scope(one),
        hashlib.sha256(canonical.encode()).hexdigest()])


def unsigned_url(one: Case, query: str) -> str:
    return (f"{one['scheme']}://{one['host'].lower()}{one['path']}"
            f"{quote(one['name'], safe='/~')}?{query}")


# where a client is not our judge

@dataclasses.dataclass(frozen=True)
class Difference:
    """What a client does, why it is not the rule, and how that is seen.

    canonical and url: what in ours is replaced by what in the client's.
    error: the client signs nothing.  refused: we sign nothing.
    """

    client: str
    why: str
    change: Case
    canonical: Pairs = dataclasses.field(default_factory=list)
    url: Pairs = dataclasses.field(default_factory=list)
    error: str = ""
    refused: bool = False


SIMPLE: Case = {
    "bucket": "b", "name": "o", "style": "path", "universe": "googleapis.com",
    "endpoint": "", "scheme": "https", "host": "cdn.example.com",
    "method": "GET", "headers": [], "params": [], "options": {},
    "account": "a@b.iam.gserviceaccount.com", "now": 1767323045, "expires": 60,
}
HASH = hashlib.sha256().hexdigest()
SWAPPED = [("a=1&a-b=2", "a-b=2&a=1")]

DIFFERENCES = [
    Difference(
        "python", "the documented order is by name; Python sorts name=value, "
        "and a hyphen is less than the equals sign",
        {"params": [("a", "1"), ("a-b", "2")]}, SWAPPED, SWAPPED),
    Difference(
        "python", "a browser writes a host in lower case into its request",
        {"endpoint": "https://GCS.example.com"},
        [("host:gcs.", "host:GCS.")], [("//gcs.", "//GCS.")]),
    Difference(
        "python", "text is UTF-8 in HTTP, too; Python takes ASCII alone",
        {"headers": [("x-a", "é")]}, error="ascii"),
    Difference(
        "python", "a caller's parameter of the algorithm is an error; Python "
        "replaces it", {"params": [("X-Goog-Expires", "5")]},
        [("X-Goog-Expires=5&", "")], [("X-Goog-Expires=5&", "")],
        refused=True),
    Difference(
        "node", "the same; Node replaces the true one",
        {"params": [("X-Goog-Expires", "5")]},
        [("X-Goog-Expires=60&", "")], [("X-Goog-Expires=60&", "")],
        refused=True),
    Difference(
        "python", "a URL that has expired when it is made is an error",
        {"expires": 0}, refused=True),
    Difference(
        "node", "a URL that has expired when it is made is an error",
        {"expires": 0}, refused=True),
    Difference(
        "python", "more than seven days: all agree", {"expires": DAYS + 1},
        error="seven days", refused=True),
    Difference(
        "node", "more than seven days: all agree", {"expires": DAYS + 1},
        error="seven days", refused=True),
    Difference(
        "python", "Google's front end rewrites Accept-Encoding, so that the "
        "signature never fits", {"headers": [("Accept-Encoding", "gzip")]},
        refused=True),
    Difference(
        "node", "Google's front end rewrites Accept-Encoding, so that the "
        "signature never fits", {"headers": [("Accept-Encoding", "gzip")]},
        refused=True),
    Difference(
        "python", "no request can carry a line break in a header",
        {"headers": [("x-a", "1\r\n2")]}, refused=True),
    Difference(
        "python", "a line break in response-* would be one in the response",
        {"params": [("response-content-type", "a\r\nb")]}, refused=True),
    Difference(
        "python", "a parameter without a name is nobody's",
        {"params": [("", "1")]}, refused=True),
    Difference(
        "python", "a hash with blanks around it is copied by one and trimmed "
        "by another", {"headers": [("x-goog-content-sha256", f" {HASH}")]},
        refused=True),
    Difference(
        "node", "a hash with blanks around it is copied by one and trimmed "
        "by another", {"headers": [("x-goog-content-sha256", f" {HASH}")]},
        [(f"sha256\n{HASH}", f"sha256\n {HASH}")], refused=True),
    Difference(
        "node", "UNSIGNED-PAYLOAD is a value of this header as well",
        {"headers": [("x-goog-content-sha256", "UNSIGNED-PAYLOAD")]},
        error="hexadecimal"),
    Difference(
        "node", "the same parameters and signature; in its URL Node keeps the "
        "order it was given", {"params": [("ACL", "1")]}, [],
        [("?ACL=1&", "?"), ("Headers=host", "Headers=host&ACL=1")]),
    Difference(
        "node", "the order of headers is that of bytes; Node sorts their "
        "names as bytes, but their lines as a dictionary would",
        {"headers": [("x-a-b", "1"), ("x-a_b", "2")]},
        [("x-a-b:1\nx-a_b:2\n", "x-a_b:2\nx-a-b:1\n")]),
    Difference(
        "node", "one tab is white space, too; Node replaces two or more",
        {"headers": [("x-a", "1\t2")]}, [("x-a:1 2", "x-a:1\t2")]),
    Difference(
        "node", "a no-break space is no white space of HTTP",
        {"headers": [("x-a", "\xa01\xa0")]}, [("x-a:\xa01\xa0", "x-a:1")]),
    Difference(
        "node", "each of several values is trimmed; Node trims the whole",
        {"headers": [("x-a", [" 1 ", " 2 "])]}, [("x-a:1,2", "x-a:1 , 2")]),
    Difference(
        "node", "fields of one name are joined; of names that differ in their "
        "case alone Node takes the last",
        {"headers": [("x-a", "1"), ("X-A", "2")]}, [("x-a:1,2", "x-a:2")]),
    Difference(
        "node", "an object's name may hold dots; Node signs them and then "
        "takes them out of its URL, which names another object",
        {"name": "a/../c"}, [], [("/b/a/../c?", "/b/c?")]),
    Difference(
        "node", "a bucket has a virtual host as well; Node knows it for "
        "objects alone", {"name": None, "style": "virtual"},
        [("\n/\n", "\n/b\n"), ("host:b.", "host:")],
        [("//b.storage.googleapis.com/?", "//storage.googleapis.com/b?")]),
    Difference(
        "node", "names of headers are of any case; for a bucket, Node finds "
        "this one in lower case alone",
        {"name": None, "headers": [("X-Goog-Content-SHA256", HASH)]},
        [(f"sha256\n{HASH}", "sha256\nUNSIGNED-PAYLOAD")]),
    Difference(
        "node", "Google's vectors keep :443; Node leaves the usual port out",
        {"style": "bound", "host": "cdn.example.com:443"}, [],
        [(":443/", "/")]),
    Difference(
        "node", "a host in other than ASCII has an ASCII form, which the "
        "configuration is to say", {"style": "bound", "host": "ü.example"},
        [("ü.example", "xn--tda.example")], [("ü.example", "xn--tda.example")],
        refused=True),
]


@pytest.mark.parametrize("client", ["python", "node"])
def test_a_client_differs_where_it_is_said_to(client, sign, request):
    table = [row for row in DIFFERENCES if row.client == client]
    cases = [{**SIMPLE, **row.change} for row in table]
    ones = [for_us(case, port=client == "python") for case in cases]
    if client == "python":
        judge = request.getfixturevalue("python")
        theirs = [judge.url(case) for case in cases]
    else:
        theirs = request.getfixturevalue("node")(cases).results()

    for row, one, ours, their in zip(table, ones, sign(ones).results(), theirs):
        canonical, query = canonical_request(one)
        url = unsigned_url(one, query)
        if row.refused:
            assert ours == {"rc": -5}, row
        else:
            assert ours["signed"] == text_of(one, canonical), row
            assert ours["unsigned"] == url, row
        if row.error:
            assert row.error in their["error"], (row, their)
            continue

        for old, new in row.canonical:
            assert old in canonical, (row, canonical)
            canonical = canonical.replace(old, new)
        for old, new in row.url:
            assert old in url, (row, url)
            url = url.replace(old, new)
        assert their["signed"] == text_of(one, canonical), (row, canonical)
        assert their["url"].split("&X-Goog-Signature=")[0] == url, row


# HMAC, and what no client can be asked for

def hmac_case(rng: random.Random) -> Case:
    one = for_us(make_case(rng, PARAMS + EARLY, [" ", "  ", "\t", " \t "]),
                 port=rng.random() < 0.5)
    names = ["a", "a-b", "a.b", "ab", "a/b", "A", "X-Goog-Datf", "zz"]
    one["params"] += [(rng.choice(names), word(rng, "aA1/-%~ é", 0, 3))
                      for _ in range(rng.choice([0, 0, 2, 6]))]
    one["headers"] += [(rng.choice(["X-Twice", "x-twice", "x_odd", "x.y|`"]),
                        header_value(rng, [" ", "\t"]))
                       for _ in range(rng.choice([0, 0, 2, 4]))]
    rng.shuffle(one["params"])
    return {**one, "account": "GOOG1E" + word(rng, "ABCDEFGH234567", 18, 55),
            "secret": word(rng, ASCII, 40, 40),
            "location": rng.choice(["", "auto", "auto", "us-east1", "EU"])}


def plain_signature(one: Case, text: str) -> str:
    key = b"GOOG4" + one["secret"].encode()
    for step in [*scope(one).split("/"), text]:
        key = hmac.digest(key, step.encode(), "sha256")
    return key.hex()


def receivers_signature(one: Case, url: str) -> str:
    """What the receiver of the request that this URL makes computes."""
    request = AWSRequest(one["method"], url)
    request.headers.add_header("Host", one["signed_host"])
    for name, value in one["headers"]:
        request.headers.add_header(name, value)
    request.context["timestamp"] = stamp(one["now"])

    signer = Goog4Auth(Credentials("id", one["secret"]), "storage",
                       one["location"] or "auto")
    lower = {name.lower(): value for name, value in one["headers"]}
    signer.payload = lambda request: lower.get("x-goog-content-sha256",
                                               "UNSIGNED-PAYLOAD")
    return signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)),
        request)


def test_a_url_of_an_hmac_key_is_what_two_other_signers_make(sign):
    rng = random.Random(67)
    cases = [hmac_case(rng) for _ in range(4000)]

    for one, ours in zip(cases, sign(cases).results()):
        canonical, query = canonical_request(one)
        text = text_of(one, canonical)
        assert ours.get("signed") == text, (one, ours)
        unsigned = unsigned_url(one, query)
        assert ours["text"] == f"{unsigned}&X-Goog-Signature=" \
            + plain_signature(one, text), one
        assert ours["text"].endswith(
            receivers_signature(one, unsigned)), one


def test_one_text_is_signed_by_both_algorithms(sign):
    """All but the name of the algorithm is the same."""
    rng = random.Random(68)
    cases = [hmac_case(rng) for _ in range(200)]
    with_key = [{**one, "secret": ""} for one in cases]

    for one, ours in zip(with_key, sign(with_key).results()):
        canonical, query = canonical_request(one)
        assert ours["signed"] == text_of(one, canonical), one
        assert ours["unsigned"] == unsigned_url(one, query), one


def test_a_published_value_is_made(sign):
    """A made-up key; an independent program made hash and signature."""
    [ours] = sign([{
        "op": "url", "scheme": "https", "host": "storage.googleapis.com",
        "signed_host": "storage.googleapis.com", "method": "GET",
        "path": "/test-bucket/test-object", "now": 1549011600, "expires": 10,
        "account": "GOOG1EFAKEACCESSID" + "FAKEACCESSID" * 3 + "FAKEACC",
        "secret": "fakeSecret" + "FakeSecret" * 3}]).results()

    assert ours["signed"].endswith(
        "\nce59097b08bfb68ed3394f13a7201cf1191b34b1d92ea3f8f3c967b893c15dff")
    assert ours["text"].endswith(
        "&X-Goog-Signature="
        "a6bb5bfd48a9bb4c54d998910fb6bc9d3793abe7c6f6d2ac937600a4c57d6a3f")
