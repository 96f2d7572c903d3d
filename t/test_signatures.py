"""Signatures made in C, equal to those of AWS's, Google's and plain Python code.

A program of the pure C files signs thousands of generated requests; each
signature is then made once more by botocore's engine (AWS's own), by
google-auth's signer, or by the few lines of this file that state the algorithm
independently.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import random
import re
import subprocess
from typing import Any
from urllib.parse import unquote

import botocore.auth
import google.auth.aws
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from test_unit import SANITIZE, UNIT, WARNINGS, sanitizers, toolbox  # noqa: F401

STS = ("https://sts.{region}.amazonaws.com"
       "?Action=GetCallerIdentity&Version=2011-06-15")
TARGET = "x-goog-cloud-target-resource"
AUDIENCE = ("//iam.googleapis.com/projects/123456789012/locations/global/"
            "workloadIdentityPools/my-pool/providers/my-aws")

Case = dict[str, Any]


@pytest.fixture(scope="module")
def sign(toolbox):  # noqa: F811
    """Signs cases with the C code: a list of results, None for a refusal."""
    program = toolbox.program(
        "gcc", "gcc", WARNINGS + SANITIZE, [UNIT / "signer.c"], [])

    def run(cases: list[Case]) -> list[str | None]:
        done = subprocess.run(
            [program], input="".join(json.dumps(c) + "\n" for c in cases),
            capture_output=True, text=True, timeout=100, env=sanitizers())
        assert done.returncode == 0, done.stderr

        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(results) == len(cases)
        return [result.get("text") for result in results]

    return run


def clock(now: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now, datetime.timezone.utc)


def stamp(now: int) -> str:
    return clock(now).strftime("%Y%m%dT%H%M%SZ")


# AWS

WORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
REGIONS = ["us-east-1", "us-west-2", "eu-central-1", "us-gov-west-1",
           "cn-north-1", "ap-southeast-12", "il-central-1", "eusc-de-east-1"]
SEGMENTS = ["", ".", "..", "...", "a", "b", "c.d", "~x", "%20", "%2F", "a%3d",
            "{region}", "(1)", "'!*'", ";v=1", "@", "a:b", "a+b", "$,", "|^`"]


def word(rng: random.Random, alphabet: str, low: int, high: int) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(low, high)))


def aws_query(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return "?Action=GetCallerIdentity&Version=2011-06-15"
    if rng.random() < 0.2:
        return rng.choice(["", "?"])
    pairs = [rng.choice(["", "=", "=="]).join(
                 [word(rng, "abAB-._~%2", 0, 3), word(rng, WORD + "/?:@", 0, 4)])
             for _ in range(rng.randint(1, 6))]
    return "?" + "&".join(pairs)


def aws_case(rng: random.Random) -> Case:
    host = rng.choice(["sts.{region}.amazonaws.com", "sts.amazonaws.com",
                       "sts-fips.{region}.amazonaws.com", "STS.{region}.api.aws",
                       "vpce-1.sts.{region}.vpce.amazonaws.com", "localhost"])
    port = rng.choice(["", "", "", ":443", ":0443", ":8443", ":80", ":1"])
    path = rng.choice(["", "", "/"]) or "".join(
        "/" + rng.choice(SEGMENTS) for _ in range(rng.randint(0, 5)))

    return {
        "op": "aws",
        "id": word(rng, WORD, 16, 20),
        "secret": word(rng, WORD + "/+=", 1, 60),
        "token": "" if rng.random() < 0.3 else word(rng, WORD + "/+=", 1, 500),
        "region": rng.choice(REGIONS),
        "url": "https://" + host + port + path + aws_query(rng),
        "audience": rng.choice(["", "https:"]) + AUDIENCE
                    + word(rng, WORD + "-", 0, 9),
        "now": rng.randint(0, 4102444800),
    }


def described(token: str) -> dict[str, Any]:
    """The request that a subject token describes, headers as a dictionary."""
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", token)
    request = json.loads(unquote(token))
    assert set(request) == {"url", "method", "headers"}

    headers = {}
    for header in request["headers"]:
        assert set(header) == {"key", "value"}
        assert header["key"] not in headers
        headers[header["key"]] = header["value"]
    return {**request, "headers": headers}


def test_a_subject_token_carries_the_signature_that_botocore_makes(
        sign, monkeypatch):
    rng = random.Random(4117)
    cases = [aws_case(rng) for _ in range(2500)]

    for case, token in zip(cases, sign(cases)):
        assert token is not None, case
        request = described(token)
        url = case["url"].replace("{region}", case["region"])
        assert (request["url"], request["method"]) == (url, "POST")

        monkeypatch.setattr(botocore.auth, "get_current_datetime",
                            lambda: clock(case["now"]))
        service = re.match(r"https://([\w-]+)", url).group(1).lower()
        signer = botocore.auth.SigV4Auth(
            Credentials(case["id"], case["secret"], case["token"] or None),
            service.removesuffix("-fips"), case["region"])
        theirs = AWSRequest("POST", url, headers={TARGET: case["audience"]})
        signer.add_auth(theirs)

        wanted = {name.lower(): value for name, value in theirs.headers.items()}
        wanted["host"] = botocore.auth._host_from_url(url)
        ours = {name.lower(): value
                for name, value in request["headers"].items()}
        assert ours == wanted, case


def test_a_subject_token_is_what_google_auth_signs(sign, monkeypatch):
    """Where google-auth can sign it: it knows no ports and no odd paths."""
    rng = random.Random(4118)
    cases = [{**aws_case(rng), "url": rng.choice([
                 STS, STS.replace("sts.", "sts-fips."),
                 STS.replace("?", "/?"), STS.replace("?", "/a/b?"),
                 "https://sts.amazonaws.com?b=2&a=1&b=1&c=%2F"])}
             for _ in range(1000)]

    for case, token in zip(cases, sign(cases)):
        monkeypatch.setattr("google.auth._helpers.utcnow",
                            lambda: clock(case["now"]).replace(tzinfo=None))
        theirs = google.auth.aws.RequestSigner(case["region"]) \
            .get_request_options(
                google.auth.aws.AwsSecurityCredentials(
                    case["id"], case["secret"], case["token"] or None),
                case["url"].replace("{region}", case["region"]), "POST",
                additional_headers={TARGET: case["audience"]})
        assert described(token) == theirs, case


def test_a_subject_token_has_the_fields_of_google_auths(sign, monkeypatch):
    """Whole tokens: ours signs the audience, too, theirs appends it."""

    class Supplier(google.auth.aws.AwsSecurityCredentialsSupplier):
        def get_aws_security_credentials(self, context, request):
            return google.auth.aws.AwsSecurityCredentials("AKIA", "s", "t")

        def get_aws_region(self, context, request):
            return "us-east-2"

    monkeypatch.setattr("google.auth._helpers.utcnow",
                        lambda: clock(1767323045).replace(tzinfo=None))
    theirs = described(google.auth.aws.Credentials(
        audience=AUDIENCE, token_url="https://sts.googleapis.com/v1/token",
        subject_token_type="urn:ietf:params:aws:token-type:aws4_request",
        aws_security_credentials_supplier=Supplier(),
    ).retrieve_subject_token(None).replace("/", "%2F"))

    [token] = sign([{"op": "aws", "id": "AKIA", "secret": "s", "token": "t",
                     "region": "us-east-2", "url": STS, "audience": AUDIENCE,
                     "now": 1767323045}])
    ours = described(token)

    signed = ours["headers"].pop("Authorization")
    unsigned = theirs["headers"].pop("Authorization")
    assert ours == theirs
    assert signed.split(", Signature=")[0] \
        == unsigned.split(", Signature=")[0] + ";" + TARGET


# Cloud Storage

NAMES = ["content-type", "range", "x-goog-meta-a", "x-goog-meta-a-b",
         "x-goog-meta-ab", "x-goog-user-project", "x-goog-api-client",
         "x-goog-encryption-algorithm", "if-match", "x!#$%&'*+.^_`|~"]
BLANKS = ["", "", " ", "  ", "\t", " \t ", "\r\n ", "\n\t", "\v", "\f "]


def header_value(rng: random.Random) -> str:
    words = [word(rng, WORD + ",;:=/\"é雪", 0, 5)
             for _ in range(rng.randint(0, 4))]
    return rng.choice(BLANKS) + "".join(
        w + rng.choice(BLANKS) for w in words)


def storage_case(rng: random.Random) -> Case:
    now = rng.randint(0, 4102444800)
    payload = rng.choice(["UNSIGNED-PAYLOAD", hashlib.sha256().hexdigest()])
    headers = [("host", "storage.googleapis.com"), ("x-goog-date", stamp(now)),
               ("x-goog-content-sha256", payload)]
    headers += [(rng.choice(NAMES), header_value(rng))
                for _ in range(rng.randint(0, 6))]
    rng.shuffle(headers)

    return {
        "op": "storage", "fresh": True,
        "id": "GOOG1E" + word(rng, WORD.upper(), 18, 55),
        "secret": word(rng, WORD + "/+", 40, 40),
        "method": rng.choice(["GET", "HEAD", "PUT", "DELETE", "POST"]),
        "path": "/b" + "".join("/" + rng.choice(SEGMENTS[:11])
                               for _ in range(rng.randint(0, 5))),
        "query": rng.choice(["", "generation=1", "a=&b=%2F&b=2"]),
        "headers": headers, "payload": payload, "now": now,
    }


def plain(case: Case) -> str:
    """The header form of V4 signing, stated once more."""
    grouped: dict[str, list[str]] = {}
    for name, value in case["headers"]:
        grouped.setdefault(name, []).append(
            re.sub(r"[ \t\r\n\v\f]+", " ", value).strip(" "))
    names = ";".join(sorted(grouped))
    canonical = "\n".join(
        [case["method"], case["path"], case["query"]]
        + [f"{name}:{','.join(grouped[name])}" for name in sorted(grouped)]
        + ["", names, case["payload"]])

    date = stamp(case["now"])
    scope = [date[:8], "auto", "storage", "goog4_request"]
    text = "\n".join(["GOOG4-HMAC-SHA256", date, "/".join(scope),
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"GOOG4" + case["secret"].encode()
    for step in [*scope, text]:
        key = hmac.digest(key, step.encode(), "sha256")

    return (f"GOOG4-HMAC-SHA256 Credential={case['id']}/{'/'.join(scope)}, "
            f"SignedHeaders={names}, Signature={key.hex()}")


class Goog4Auth(botocore.auth.SigV4Auth):
    """botocore's engine with the names of Google's dialect and S3's path."""

    def _normalize_url_path(self, path):
        return path

    def _sign(self, key, msg, hex=False):
        if isinstance(key, bytes) and key.startswith(b"AWS4"):
            key = b"GOOG4" + key[4:]
        return super()._sign(key, msg.replace("aws4_request", "goog4_request"),
                             hex)

    def string_to_sign(self, request, canonical_request):
        return super().string_to_sign(request, canonical_request) \
            .replace("AWS4-", "GOOG4-").replace("aws4_", "goog4_")


def botocores(case: Case) -> str:
    request = AWSRequest(
        case["method"], "https://storage.googleapis.com" + case["path"]
        + ("?" + case["query"] if case["query"] else ""))
    for name, value in case["headers"]:
        request.headers.add_header(name, value)
    request.context["timestamp"] = stamp(case["now"])

    signer = Goog4Auth(Credentials(case["id"], case["secret"]), "storage",
                       "auto")
    signer.payload = lambda request: case["payload"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical),
                                 request)
    signer._inject_signature_to_request(request, signature)
    return request.headers["Authorization"] \
        .replace("AWS4-", "GOOG4-").replace("aws4_", "goog4_")


def test_a_header_of_an_hmac_key_is_what_two_other_signers_make(sign):
    rng = random.Random(6608)
    cases = [storage_case(rng) for _ in range(2500)]

    for case, ours in zip(cases, sign(cases)):
        assert ours == plain(case), case
        assert ours == botocores(case), case


def test_a_derived_key_is_kept_for_its_day_only(sign):
    rng = random.Random(6609)
    case = storage_case(rng)
    cases = [{**case, "fresh": False, "now": 1767312000 + seconds}
             for seconds in sorted(rng.choices(range(86400 * 5), k=500))]
    cases[0]["fresh"] = True

    assert sign(cases) == [plain(case) for case in cases]
    assert sign(cases[:1] + cases[::-1]) \
        == [plain(case) for case in cases[:1] + cases[::-1]]


def test_parameters_are_sorted_by_name_and_value(sign):
    rng = random.Random(6605)
    cases = [[(word(rng, "aAb-%2", 0, 3), word(rng, "aA1%-", 0, 2))
              for _ in range(rng.randint(0, 8))] for _ in range(500)]

    assert sign([{"op": "query", "params": params} for params in cases]) == [
        "&".join(f"{name}={value}" for name, value in sorted(params))
        for params in cases]
