"""Thousands of credential files and answers, whole and mutilated.

A program of the pure C files, with sanitizers, reads them all: none may end
it, and whatever is refused is refused with an error that names the member, or
who has answered, and that quotes no secret.  The same files and answers are
made in every run.
"""

from __future__ import annotations

import copy
import json
import random
import re
import struct
import subprocess
from typing import Any, Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat)

from test_unit import SANITIZE, UNIT, WARNINGS, sanitizers, toolbox  # noqa: F401

FILES = 6000
WALKS = 6000

OK, ERROR, AGAIN, BUSY, DECLINED = 0, -1, -2, -3, -5

# jansson, or an URL, must not be the place where a secret hides
SECRET = "hidden-secret"

AUDIENCE = ("//iam.googleapis.com/projects/123456789012/locations/global/"
            "workloadIdentityPools/pool/providers/provider")
TARGET = ("https://iamcredentials.googleapis.com/v1/projects/-/"
          "serviceAccounts/target@demo.iam.gserviceaccount.com"
          ":generateAccessToken")
IMDS = "http://169.254.169.254/latest/"

Json = dict[str, Any]
Path = tuple[str, ...]


@pytest.fixture(scope="module")
def read(toolbox):  # noqa: F811
    """Hands messages to the C code: a list of results."""
    program = toolbox.program(
        "gcc", "gcc", WARNINGS + SANITIZE, [UNIT / "reader.c"], [])

    def run(messages: list[bytes]) -> list[Json]:
        done = subprocess.run(
            [program], input=b"".join(map(chunk, messages)),
            capture_output=True, timeout=100, env=sanitizers())
        assert done.returncode == 0, done.stderr.decode(errors="replace")

        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(results) == len(messages)
        return results

    return run


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                             NoEncryption()).decode()


def chunk(data: bytes) -> bytes:
    return struct.pack("=I", len(data)) + data


# files

def service_account(pem: str) -> Json:
    return {"type": "service_account", "project_id": "demo",
            "private_key_id": "0123456789abcdef", "private_key": pem,
            "client_email": "reader@demo.iam.gserviceaccount.com",
            "client_id": "100000000000000000001",
            "token_uri": "https://oauth2.googleapis.com/token",
            "universe_domain": "googleapis.com"}


def authorized_user(pem: str) -> Json:
    return {"type": "authorized_user", "account": "",
            "client_id": "1.apps.googleusercontent.com",
            "client_secret": SECRET, "refresh_token": SECRET,
            "quota_project_id": "billed", "universe_domain": "googleapis.com"}


def external_user(pem: str) -> Json:
    return {"type": "external_account_authorized_user", "audience": AUDIENCE,
            "client_id": "1", "client_secret": SECRET, "refresh_token": SECRET,
            "token_url": "https://sts.googleapis.com/v1/oauthtoken"}


def external(source: Json, **more: Any) -> Json:
    return {"type": "external_account", "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "universe_domain": "googleapis.com",
            "credential_source": source, **more}


def from_file(pem: str) -> Json:
    return external(
        {"file": "/run/token",
         "format": {"type": "json", "subject_token_field_name": "id_token"}},
        service_account_impersonation_url=TARGET,
        service_account_impersonation={"token_lifetime_seconds": 3600})


def from_url(pem: str) -> Json:
    return external(
        {"url": "http://169.254.169.254/metadata/identity?a=b",
         "headers": {"Metadata": "True"}, "format": {"type": "text"}},
        client_id="1", client_secret=SECRET, workforce_pool_user_project="9")


def from_aws(pem: str) -> Json:
    return external(
        {"environment_id": "aws1",
         "region_url": IMDS + "meta-data/placement/availability-zone",
         "url": IMDS + "meta-data/iam/security-credentials",
         "imdsv2_session_token_url": IMDS + "api/token",
         "regional_cred_verification_url":
             "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity"
             "&Version=2011-06-15"},
        service_account_impersonation_url=TARGET)


def from_executable(pem: str) -> Json:
    return external({"executable": {
        "command": "/bin/agent", "timeout_millis": 5000,
        "output_file": "/run/output"}})


def impersonated(inner: Callable[[str], Json]) -> Callable[[str], Json]:
    def make(pem: str) -> Json:
        return {"type": "impersonated_service_account",
                "service_account_impersonation_url": TARGET,
                "delegates": ["between@demo.iam.gserviceaccount.com"],
                "source_credentials": inner(pem)}
    return make


KINDS = [service_account, authorized_user, external_user, from_file, from_url,
         from_aws, from_executable, impersonated(service_account),
         impersonated(authorized_user), impersonated(from_file),
         impersonated(from_aws)]

REQUIRED = {"type", "private_key", "client_email", "client_secret",
            "refresh_token", "audience", "subject_token_type",
            "credential_source", "source_credentials",
            "regional_cred_verification_url", "output_file"}

# what decides which of the others are looked at, or is not looked at
DECIDING = {"type", "environment_id", "executable", "file", "url", "format",
            "client_id", "credential_source", "source_credentials"}
UNREAD = {"account", "command", "timeout_millis", "client_id", "audience"}

HUGE = 10**30
TYPES: list[Any] = [7, -1, 1.5, True, False, [], {}, [7], {"a": {"b": 1}},
                    ["x"], HUGE]
TEXTS = ["", " ", "\n", " x", "x\n", "a b", "\t", "a\r\nX: y", "\x7f", "é",
         "\x01", "a" * 5000, "%00", "\\", '"', "{}", "a@b",
         "https://evil.example/", "http://169.254.169.254.evil.example/",
         "https://sts.googleapis.com@evil.example/", "http://2852039166/",
         "file:///etc/passwd", "../../etc/passwd", "aws1", "json"]


def members(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from members(member, (*path, name))


def parent(file: Json, path: Path) -> Json:
    for name in path[:-1]:
        file = file[name]
    return file


def mutilated(rng: random.Random, file: Json) -> tuple[bytes, Path | None, Any]:
    """A file with one fault, the member, and what it is now: or None."""
    file = copy.deepcopy(file)
    way = rng.random()

    if way < 0.15:                          # the text, not a member
        text = json.dumps(file, indent=rng.choice([None, 2])).encode()
        at = rng.randrange(len(text))
        faulty = [text[:at], text + b"}", text[:at] + b"\0" + text[at:],
                  text[:at] + bytes([rng.randrange(256)]) + text[at + 1:],
                  b"[" + text + b"]", b"\xef\xbb\xbf" + text, text[at:],
                  text[:-1] + b',"type":"service_account"}',
                  text[:at] + b"\xff" + text[at:]]
        return rng.choice(faulty), None, None

    path = rng.choice(list(members(file)))
    where, name = parent(file, path), path[-1]

    if way < 0.3:
        del where[name]
        now = "missing"
    elif way < 0.35:
        where[name + "_"] = where.pop(name)
        now = "missing"
    elif way < 0.45:
        now = where[name] = None
    elif way < 0.7:
        now = where[name] = rng.choice(TYPES)
    elif way < 0.75:                        # nested deeper
        now = where[name] = {name: where[name]}
    else:
        now = where[name] = rng.choice(TEXTS)

    return json.dumps(file, ensure_ascii=rng.random() < 0.5).encode(), path, now


def check_error(error: str, limit: int = 300) -> None:
    assert 0 < len(error) <= limit
    assert re.fullmatch(r"[ -~]+", error)
    assert SECRET not in error and "PRIVATE" not in error


def check_file(result: Json, path: Path | None, now: Any) -> None:
    name = path[-1] if path else None

    if result["rc"] == OK:
        assert result["error"] == ""
        if name in REQUIRED and path[-2:] != ("format", "type") \
                and not (name == "audience" and len(path) == 1):
            assert isinstance(now, str) and now not in ("", "missing")
        return

    assert result["rc"] == DECLINED
    error = result["error"]
    check_error(error)

    # a text has its place; a member, or the type, is named
    assert re.search(r'member "[a-z0-9_.]+"|\btype "|unknown [a-z_.]*type'
                     r'|not valid JSON: .* in line \d+, column \d+'
                     r'|not a JSON object|the file is empty', error), error

    if now == HUGE:                         # no number to jansson
        return
    if name and name not in DECIDING and now != "missing":
        assert any(name in error for name in path), error
    elif name and now == "missing" and name not in DECIDING:
        assert name in error, error


def test_credential_files_are_read_or_refused_by_the_member(read, pem):
    rng = random.Random(4117)
    files = [kind(pem) for kind in KINDS]
    cases = [(json.dumps(file).encode(), None, None) for file in files]
    cases += [mutilated(rng, rng.choice(files)) for _ in range(FILES)]

    results = read([b"c" + text for text, _, _ in cases])

    for result in results[:len(files)]:
        assert result["rc"] == OK, result
    for (text, path, now), result in zip(cases, results):
        try:
            check_file(result, path, now)
        except AssertionError as error:
            raise AssertionError(f"{path} is {now!r:.60}: {result}") from error

    # both happen, often
    assert 1000 < sum(result["rc"] == OK for result in results) < FILES - 1000
    errors = {result["error"] for result in results}
    assert len(errors) > 200


def test_a_file_that_lacks_optional_members_is_read(read, pem):
    rng = random.Random(4118)
    optional = {"project_id", "private_key_id", "client_id", "token_uri",
                "universe_domain", "quota_project_id", "account", "token_url",
                "service_account_impersonation", "delegates", "headers",
                "workforce_pool_user_project", "timeout_millis", "command"}
    texts = []

    for _ in range(2000):
        file = rng.choice(KINDS)(pem)
        for path in list(members(file)):
            if path[-1] in optional and rng.random() < 0.5:
                if path[-1] == "client_id" and "private_key" not in \
                        parent(file, path):
                    continue
                if rng.random() < 0.5:
                    del parent(file, path)[path[-1]]
                else:
                    parent(file, path)[path[-1]] = None
        texts.append(json.dumps(file, indent=rng.choice([None, 1])).encode())

    for text, result in zip(texts, read([b"c" + text for text in texts])):
        assert result["rc"] == OK, (text, result)


# answers

TOKEN = {"access_token": SECRET, "expires_in": 3599, "token_type": "Bearer"}
IAM = {"accessToken": SECRET, "expireTime": "2023-11-14T22:43:20Z"}
KEYS = {"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": SECRET,
        "Token": SECRET, "Expiration": "2023-11-14T22:43:20Z"}
OUTPUT = {"version": 1, "success": True, "id_token": SECRET,
          "token_type": "urn:ietf:params:oauth:token-type:id_token",
          "expiration_time": 4102444800}
ASSUMED = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>"
    f"<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>{SECRET}"
    f"</SecretAccessKey><SessionToken>{SECRET}</SessionToken></Credentials>"
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")

ERRORS: list[Any] = [
    {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
    {"error": "invalid_target", "error_description": "The target is invalid."},
    {"error": "invalid_client"}, {"error": "server_error"},
    {"error": {"code": 403, "status": "PERMISSION_DENIED", "message":
               "Permission 'iam.serviceAccounts.getAccessToken' denied",
               "details": [{"reason": "IAM_PERMISSION_DENIED"}]}},
    {"error": {"code": 404, "status": "NOT_FOUND", "message": "Not found"}},
    {"error": f"ya29.{SECRET}", "error_description": f"token=eyJ{SECRET}"},
    {"error": "a\r\nb", "error_description": "\x7f\u00e9\u0085"},
    {"error": ["x"]}, {"error": None}, {"error": 7}, {}, [], "x", None, 10**99,
    "<html>Bad Gateway</html>", "<ErrorResponse><Error><Code>AccessDenied"
    "</Code></Error></ErrorResponse>", "", "\0", "\n" * 2000, "[" * 3000,
    "a" * 70000]
STATUS = [0, 200, 200, 201, 204, 301, 302, 400, 400, 401, 403, 404, 408, 429,
          500, 502, 503, 504, 599, 999]

# a file, the environment and the good answers on the way
WALKED: list[tuple[Callable[[str], Json] | None, bytes, list[Any]]] = [
    (service_account, b"-", [TOKEN]),
    (authorized_user, b"-", [TOKEN]),
    (external_user, b"-", [{**TOKEN, "refresh_token": SECRET}]),
    (from_file, b"-", [{"id_token": SECRET}, TOKEN, IAM]),
    (from_url, b"-", [SECRET, TOKEN]),
    (from_executable, b"-", [OUTPUT, TOKEN]),
    (from_aws, b"-", [SECRET, "us-east-2b", "my-role", KEYS, TOKEN, IAM]),
    (from_aws, b"k", [SECRET, "us-east-2b", TOKEN, IAM]),
    (from_aws, b"w", [SECRET, ASSUMED, TOKEN, IAM]),
    (from_aws, b"a", [SECRET, KEYS, TOKEN, IAM]),
    (impersonated(service_account), b"-", [TOKEN, IAM]),
    (impersonated(from_file), b"-", [{"id_token": SECRET}, TOKEN, IAM, IAM]),
    (None, b"-", [TOKEN, "node@demo.iam.gserviceaccount.com"]),
]

ASKED = ("token endpoint|metadata server|IAM Credentials API|subject token"
         "|security token service|AWS metadata service|AWS web identity token"
         "|AWS STS|AWS container authorization token"
         "|AWS container credentials")


def body(answer: Any) -> bytes:
    if isinstance(answer, str):
        return answer.encode("utf-8", "surrogatepass")
    return json.dumps(answer).encode()


def broken(rng: random.Random, good: Any) -> tuple[int, bytes]:
    """The status and the body of an answer that is not as it should be."""
    way = rng.random()

    if way < 0.35:
        return rng.choice(STATUS), body(rng.choice(ERRORS))

    if way < 0.7 and isinstance(good, dict):
        answer = copy.deepcopy(good)
        name = rng.choice(list(answer))
        if rng.random() < 0.3:
            del answer[name]
        else:
            answer[name] = rng.choice([*TYPES, *TEXTS, None, 0, -1, 1e300])
        return 200, body(answer)

    text = body(good)
    at = rng.randrange(len(text))
    return 200, rng.choice([
        text[:at], text[at:], text + text, b" \r\n" + text + b"\n", b"",
        text[:at] + bytes([rng.randrange(256)]) + text[at + 1:],
        text[:at] + b"\r\n" + text[at:], text[:at] + b"\0" + text[at:],
        b"\xef\xbb\xbf" + text])


def walk(pem: str, rng: random.Random | None,
         way: tuple[Callable[[str], Json] | None, bytes, list[Any]]) -> bytes:
    kind, environment, answers = way
    message = environment + chunk(
        json.dumps(kind(pem)).encode() if kind else b"")
    at = rng.randrange(len(answers)) if rng else None

    for number, answer in enumerate(answers):
        status, text = 200, body(answer)
        if number == at:
            status, text = broken(rng, answer)
        flavor = b"-" if kind or (
            number == at and rng.random() < 0.1) else b"+"
        message += chunk(b"%03d" % status + flavor) + chunk(text)

    return message


def check_answer(result: Json) -> None:
    rc, error, word = result["rc"], result["error"], result["word"]

    if rc == OK:
        assert re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,16384}", result["token"])
        assert 0 < result["lifetime"] <= 43200
        assert error == "" and word is None
        return

    if rc == AGAIN:                         # a step more, and no answer to it
        assert error == ""
        return

    if rc == ERROR:                         # no request can be made of it
        assert error == "AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME or the web " \
                        "identity token is invalid"
        return

    assert rc in (BUSY, DECLINED)
    assert result["lifetime"] == 0 and result.get("token") is None
    assert word is None or re.fullmatch("[a-z_]+", word)

    assert re.match(ASKED, error), error
    if re.match(f"(?:{ASKED}): ", error) is None:
        check_error(error, 512)


def test_answers_give_a_token_or_an_error_that_names_who_gave_them(read, pem):
    rng = random.Random(4119)
    messages = [walk(pem, None, way) for way in WALKED]
    messages += [walk(pem, rng, rng.choice(WALKED)) for _ in range(WALKS)]

    results = read(messages)

    for way, result in zip(WALKED, results):
        assert (result["rc"], result["token"]) == (OK, SECRET), (way, result)
        assert result["steps"] == len(way[2])
    for message, result in zip(messages, results):
        try:
            check_answer(result)
        except AssertionError as error:
            raise AssertionError(f"{result} {message[-400:]!r}") from error

    seen = {rc: sum(result["rc"] == rc for result in results)
            for rc in (OK, BUSY, DECLINED)}
    assert all(count > 300 for count in seen.values()), seen
    assert len({result["word"] for result in results}) > 8
