"""The emulator's storage checks HMAC signatures as Google does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from emulator import Emulator  # noqa: E402
from emulator.hmac_keys import canonical_request, signature  # noqa: E402
from emulator.testing import ask  # noqa: E402
from emulator.wire import Request  # noqa: E402

EMAIL = "reader@demo-project.iam.gserviceaccount.com"
EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.fixture(scope="module")
def process():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def google(process):
    process.reset()
    process.create_bucket("bkt")
    process.put_object("bkt", "k", b"hello")
    yield process


def test_published_signature_is_reproduced():
    """A value that an unrelated project has published."""
    headers = [("host", "storage.googleapis.com"),
               ("x-goog-content-sha256", EMPTY),
               ("x-goog-date", "20130524T000000Z"),
               ("x-goog-if-generation-match", "0"),
               ("x-goog-meta-mtime", "1")]
    canonical = canonical_request(Request("PUT", b"/b/k", "1.1", headers),
                                  [name for name, _ in headers], EMPTY)
    to_sign = "\n".join([
        "GOOG4-HMAC-SHA256", "20130524T000000Z",
        "20130524/auto/storage/goog4_request",
        hashlib.sha256(canonical.encode()).hexdigest()])
    assert signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524",
                     "auto", to_sign) == (
        "6b48bb01aa54e0137ebe804932fa44fd35ea159c8ba2f2bc07ea7382551bdd9e")


def signed(google, key, *, method="GET", path="/bkt/k", at=0.0, headers=None,
           leave_out=(), secret=None, date=None, names=None):
    """Ask with a signature that is made here, by the book."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + at))
    sent = {"host": f"127.0.0.1:{google.http_port}",
            "x-goog-content-sha256": "UNSIGNED-PAYLOAD",
            "x-goog-date": stamp, **(headers or {})}
    sent = {k: v for k, v in sent.items() if v is not None}
    listed = names or sorted(set(sent) - set(leave_out))
    canonical = "\n".join(
        [method, path, ""] + [f"{n}:{sent.get(n, '')}" for n in listed]
        + ["", ";".join(listed),
           sent.get("x-goog-content-sha256", EMPTY)])
    date = date or stamp[:8]
    scope = f"{date}/auto/storage/goog4_request"
    made = ("GOOG4" + (secret or key[1])).encode()
    for part in (*scope.split("/"), "\n".join(
            ["GOOG4-HMAC-SHA256", stamp, scope,
             hashlib.sha256(canonical.encode()).hexdigest()])):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return ask(google, method, path, headers={
        **sent, "Authorization": f"GOOG4-HMAC-SHA256 Credential={key[0]}/"
        f"{scope}, SignedHeaders={';'.join(listed)}, "
        f"Signature={made.hex()}"})


@pytest.fixture
def key(google):
    return google.hmac_key(EMAIL, grants={"bkt": ["objectViewer"]})


def test_signed_request_is_answered(google, key):
    assert len(key[0]) == 61 and len(key[1]) == 40
    base64.b64decode(key[1], validate=True)
    assert signed(google, key)[::2] == (200, "hello")
    [record] = google.requests("storage")
    assert record["account"] == EMAIL and record["credential"] == "valid"
    assert {record["signature"], key[1]} <= set(google.secrets())
    assert google.violations() == []


@pytest.mark.parametrize("change, status, code", [
    ({"at": -901}, 403, "RequestTimeTooSkewed"),
    ({"at": 901}, 403, "RequestTimeTooSkewed"),
    ({"at": -890}, 200, None), ({"at": 890}, 200, None),
    ({"headers": {"x-goog-date": None}}, 403, "AccessDenied"),
    ({"date": "20200101"}, 403, "SignatureDoesNotMatch"),
    ({"secret": "x" * 40}, 403, "SignatureDoesNotMatch"),
    ({"headers": {"x-goog-meta-a": "1"}}, 200, None),
    ({"headers": {"x-goog-meta-a": "1"}, "leave_out": ["x-goog-meta-a"]},
     403, "SignatureDoesNotMatch"),
    ({"leave_out": ["x-goog-content-sha256"]}, 200, None),
    ({"headers": {"x-goog-content-sha256": None}}, 200, None),
    ({"headers": {"x-goog-content-sha256": "0" * 64}}, 400,
     "XGoogContentSHA256Mismatch"),
    ({"leave_out": ["host"]}, 403, "SignatureDoesNotMatch"),
    ({"leave_out": ["x-goog-date"]}, 403, "SignatureDoesNotMatch"),
    ({"headers": {"host": "localhost"}}, 200, None),
    ({"names": ["host", "x-goog-content-sha256", "x-goog-date",
                "x-goog-gone"]}, 403, "SignatureDoesNotMatch"),
    ({"names": ["x-goog-date", "host", "x-goog-content-sha256"]}, 403,
     "SignatureDoesNotMatch"),
    ({"headers": {"x-amz-date": "1"}}, 400, "")])
def test_each_rule_of_a_signature_is_checked(google, key, change, status,
                                             code):
    got, _, body = signed(google, key, **change)
    assert got == status, body
    assert code is None or code in body


def test_state_and_owner_of_the_key_are_checked(google, key):
    for state, status, code in (("inactive", 401, "KeyInactive"),
                                ("deleted", 401, "KeyDeleted"),
                                ("active", 200, "hello")):
        google.update_hmac_key(key[0], state)
        got, _, body = signed(google, key)
        assert got == status and code in body
    assert "SignatureDoesNotMatch" in signed(
        google, ("GOOG1EUNKNOWN", key[1]))[2]
    google.grant(EMAIL, "bkt", [])
    assert "storage.objects.get" in signed(google, key)[2]
    google.remove_account(EMAIL)
    assert signed(google, key)[0] == 401


@pytest.mark.parametrize("value", [
    "GOOG4-HMAC-SHA256", "GOOG4-RSA-SHA256 Credential=x",
    "GOOG4-HMAC-SHA256 Credential=A/20200101/auto/s3/aws4_request, "
    "SignedHeaders=host, Signature=" + "0" * 64])
def test_malformed_authorization_is_refused(google, value):
    status, _, body = ask(google, "GET", "/bkt/k",
                          headers={"Authorization": value})
    assert status == 400 and "InvalidArgument" in body
