"""Redirects to Cloud Storage: what signers make is read exactly, or passed on.

The URLs are those of Google's and of AWS's own clients, with names of all
kinds.  What has been meddled with may still be taken, but only as that which
Python's parser of URLs, too, sees in it: no redirect to another host, bucket
or object, nor one that lacks a part of its signature.
"""

from __future__ import annotations

import calendar
import random
import re
import time
from typing import Any, Callable
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

import pytest
from botocore.config import Config
from botocore.session import get_session
from google.auth import crypt
from google.cloud import storage
from google.oauth2 import service_account

from emulator import signing_key
from test_fileuri import PIECES, Answer, ask  # noqa: F401
from test_unit import toolbox  # noqa: F401

PATH, VIRTUAL, BOUND = range(3)
UNSIGNED, V4, V2, AWS4 = range(4)

GOOGLE = "storage.googleapis.com"
HOSTS = ["cdn.example.com=media", "psc.example.com:8443", "*.x.example.com"]
BUCKETS = ["bucket", "my-data.example.com", "a_b-c.1"]


def segments(name: str) -> bool:
    return bool({".", ".."} & set(name.split("/")))


def name_of(rng: random.Random) -> str:
    while True:
        name = "".join(rng.choices(PIECES, k=rng.randint(1, 6)))
        if not segments(name):
            return name


@pytest.fixture(scope="module")
def client() -> storage.Client:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE"):
            patch.delenv(name, raising=False)
        return storage.Client("project", service_account.Credentials(
            crypt.RSASigner.from_string(signing_key().private_pem, "k"),
            "reader@project.iam.gserviceaccount.com",
            "https://oauth2.googleapis.com/token"))


def signed(client: storage.Client, rng: random.Random) -> tuple[str, Answer]:
    """A URL of Google's client, and what is to be found in it."""
    style = rng.choice([PATH, PATH, VIRTUAL, BOUND])
    version = rng.choice(["v4", "v4", "v2"])
    bucket = "media" if style == BOUND else rng.choice(BUCKETS)
    name, life = name_of(rng), rng.randint(1, 604800)
    options: dict[str, Any] = {}
    wanted: Answer = {
        "style": style, "signature": V4 if version == "v4" else V2,
        "bucket": bucket, "object": name, "https": True, "other": False,
        "disposition": None, "type": None, "generation": None,
        "host": [GOOGLE, f"{bucket}.{GOOGLE}", "cdn.example.com"][style],
    }
    if style == VIRTUAL:
        options["virtual_hosted_style"] = True
    if style == BOUND:
        options |= {"bucket_bound_hostname": "cdn.example.com",
                    "scheme": "https"}
    if rng.random() < 0.3:
        wanted["disposition"] = options["response_disposition"] \
            = 'attachment; filename="a b+c%20é.txt"'
    if rng.random() < 0.3:
        wanted["type"] = options["response_type"] = "image/svg+xml; q=a b"
    if rng.random() < 0.3:
        options["generation"] = 1700000000000000
        wanted["generation"] = "1700000000000000"
    url = client.bucket(bucket).blob(name).generate_signed_url(
        life, version=version, method="GET", **options)
    wanted["target"] = url.removeprefix("https://" + wanted["host"])
    arguments = dict(parse_qsl(urlsplit(url).query))
    if version == "v4":
        stamp = time.strptime(arguments["X-Goog-Date"], "%Y%m%dT%H%M%SZ")
        wanted["expires"] = calendar.timegm(stamp) + life
    else:
        wanted["expires"] = int(arguments["Expires"])
    return url, wanted


def accelerated(url: str) -> str:
    """As data_import/api.py of Label Studio writes it."""
    scheme = url.partition(":")[0]
    return "/file_download/" + scheme + "/" + url.replace(scheme + "://", "")


def test_what_google_signs_is_read_exactly(ask, client):  # noqa: F811
    rng = random.Random(1)
    for url, wanted in (signed(client, rng) for _ in range(1000)):
        location, accel = ask([
            {"location": url, "hosts": HOSTS},
            {"accel": accelerated(url), "hosts": HOSTS}])
        assert location | wanted == location, (url, location)
        assert accel == location


def test_what_aws_signs_is_read_exactly(ask):  # noqa: F811
    rng = random.Random(2)
    for style in ("path", "virtual"):
        s3 = get_session().create_client(
            "s3", region_name="auto", endpoint_url="https://" + GOOGLE,
            aws_access_key_id="GOOG1EXAMPLE", aws_secret_access_key="hidden",
            config=Config(signature_version="s3v4",
                          s3={"addressing_style": style}))
        for _ in range(150):
            # a client of AWS's would make a bucket with dots a path again
            bucket = "bucket" if style == "virtual" else rng.choice(BUCKETS)
            name = name_of(rng)
            url = s3.generate_presigned_url(
                "get_object", {"Bucket": bucket, "Key": name}, 900)
            [answer] = ask([{"location": url}])
            assert answer | {
                "bucket": bucket, "object": name, "signature": AWS4,
                "style": VIRTUAL if style == "virtual" else PATH,
            } == answer, (url, answer)


def test_a_browser_would_resolve_dots_so_they_are_left_to_it(
        ask, client):  # noqa: F811
    for name in ("a/../b", "../a", "a/./b", "a/..", ".", ".."):
        url = client.bucket("bucket").blob(name).generate_signed_url(
            60, version="v4")
        assert ask([{"location": url}])[0].keys() == {"reason"}, name


# what an attacker may make of a redirect

HOST_TRICKS: list[Callable[[str], str]] = [
    lambda u: u.replace(GOOGLE, GOOGLE + ".evil.example"),
    lambda u: u.replace(GOOGLE, "evil" + GOOGLE),
    lambda u: u.replace(GOOGLE, GOOGLE + "@evil.example"),
    lambda u: u.replace(GOOGLE, "evil.example@" + GOOGLE),
    lambda u: u.replace(GOOGLE, "evil.example#" + GOOGLE),
    lambda u: u.replace(GOOGLE, "evil.example?" + GOOGLE),
    lambda u: u.replace(GOOGLE, "evil.example/" + GOOGLE),
    lambda u: u.replace(GOOGLE, "evil.example\\" + GOOGLE),
    lambda u: u.replace(GOOGLE, GOOGLE + "\\@evil.example"),
    lambda u: u.replace(GOOGLE, GOOGLE + ":8443"),
    lambda u: u.replace(GOOGLE, GOOGLE + ":443"),
    lambda u: u.replace(GOOGLE, GOOGLE + ":0443"),
    lambda u: u.replace(GOOGLE, GOOGLE + "."),
    lambda u: u.replace(GOOGLE, GOOGLE.upper()),
    lambda u: u.replace(GOOGLE, GOOGLE.replace(".", "\u3002")),
    lambda u: u.replace(GOOGLE, "storage.cloud.google.com"),
    lambda u: u.replace(GOOGLE, "a.psc.example.com:8443"),
    lambda u: u.replace(GOOGLE, "psc.example.com:8443"),
    lambda u: u.replace(GOOGLE, "other.x.example.com"),
    lambda u: u.replace(GOOGLE, "x.example.com"),
    lambda u: u.replace("https:", "http:"),
    lambda u: u.replace("https:", "ftp:"),
    lambda u: u.replace("https:", ""),
    lambda u: u.replace("https://", "https:/"),
    lambda u: u.replace("https://", "https:\\\\"),
    lambda u: u.replace("https://", " https://"),
    lambda u: u.replace("https://", "https://%00"),
    lambda u: u + "#", lambda u: u + "&acl", lambda u: u + "&generation=1",
    lambda u: u + "&" + u.partition("?")[2],
    lambda u: u.partition("?")[0],
    lambda u: u.partition("?")[0] + "?generation=12",
    lambda u: u[:-70],
    lambda u: re.sub(r"[&?]X-Goog-Date=\w+", "", u),
    lambda u: u.replace("X-Goog-Sig", "x-goog-sig"),
    lambda u: u.replace("SignedHeaders=host", "SignedHeaders=host%3Brange"),
]
MEDDLED = list("/?#&=%:@\\.+;[]*~ \t\n\r\0\x7f\"<>^`{|}aA0-_é") + [
    "%2F", "%2e", "%25", "%00", "%zz", "%", "..", "/../", "//", "://",
    "&X-Goog-Date=", "&Signature=a", "&Expires=1", "&GoogleAccessId=a",
    "&X-Amz-Date=1", "&generation=1", "&a", "&a=b", "evil.example",
]

PARTS = {
    V4: {f"X-Goog-{name}" for name in (
        "Algorithm", "Credential", "Date", "Expires", "SignedHeaders",
        "Signature")},
    V2: {"GoogleAccessId", "Expires", "Signature"},
    AWS4: {f"X-Amz-{name}" for name in (
        "Algorithm", "Credential", "Date", "Expires", "SignedHeaders",
        "Signature")},
    UNSIGNED: set(),
}


def agrees(url: str, answer: Answer) -> None:
    """What has been taken is what Python's parser sees."""
    seen = urlsplit(url)
    assert url.isascii() and url.isprintable()
    assert seen.scheme == ("https" if answer["https"] else "http")
    assert seen.username is None and seen.password is None
    assert not set(url) & set(" #\\\"<>[]^`{|}")
    default = 443 if answer["https"] else 80
    host, port, path = seen.hostname, seen.port or default, seen.path
    assert answer["host"] == (host if port == default else f"{host}:{port}")
    assert answer["target"] == path + (f"?{seen.query}" if "?" in url else "")
    bucket, name = answer["bucket"], answer["object"].encode()
    if host == "psc.example.com":
        assert port == 8443
    else:
        assert port == default
    if answer["style"] == PATH:
        assert host in (GOOGLE, "psc.example.com")
        assert not re.match("/(download/|upload/|batch/)?storage/v", path)
        assert path.startswith(f"/{bucket}/")
        assert name == unquote_to_bytes(path[len(bucket) + 2:])
    elif answer["style"] == VIRTUAL:
        assert host in (f"{bucket}.{GOOGLE}", f"{bucket}.x.example.com")
        assert name == unquote_to_bytes(path[1:])
    else:
        assert (host, bucket) == ("cdn.example.com", "media")
        assert name == unquote_to_bytes(path[1:])
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bucket)
    assert name and not segments(name.decode())
    pairs = parse_qsl(seen.query, keep_blank_values=True)
    names = [pair[0] for pair in pairs]
    known = set().union(*PARTS.values())
    lower = {one.lower() for one in known}
    assert {one for one in names if one.lower() in lower} \
        == PARTS[answer["signature"]]
    assert all(names.count(one) == 1 for one in known & set(names))
    assert all(value for _, value in pairs)
    assert (answer["expires"] > 0) == (answer["signature"] != UNSIGNED)


@pytest.mark.timeout(300)
def test_what_was_meddled_with_is_read_as_it_is_or_passed_on(
        ask, client):  # noqa: F811
    rng = random.Random(3)
    good = [signed(client, rng)[0] for _ in range(100)]
    taken = 0
    for _ in range(12000):
        url = rng.choice(good)
        for _ in range(rng.choice([1, 1, 2])):
            if rng.random() < 0.3:
                url = rng.choice(HOST_TRICKS)(url)
                continue
            at = rng.randint(0, min(len(url), 120)) if rng.random() < 0.8 \
                else rng.randint(0, len(url))
            if rng.random() < 0.3:
                url = url[:at] + url[at + rng.randint(1, 3):]
            else:
                url = url[:at] + rng.choice(MEDDLED) + url[at:]
        [answer] = ask([{"location": url, "hosts": HOSTS}])
        if "reason" not in answer:
            agrees(url, answer)
            taken += 1
    assert 500 < taken < 8000, taken


@pytest.mark.parametrize("trick", HOST_TRICKS, ids=range(len(HOST_TRICKS)))
def test_a_trick_leads_nowhere_else(ask, client, trick):  # noqa: F811
    for style in ({}, {"virtual_hosted_style": True}):
        url = trick(client.bucket("bucket").blob("a/b c").generate_signed_url(
            60, version="v4", **style))
        for hosts in ([], HOSTS):
            [answer] = ask([{"location": url, "hosts": hosts}])
            if "reason" not in answer:
                agrees(url, answer)


def test_an_unsigned_url_says_so(ask):  # noqa: F811
    [answer] = ask([{"location": f"https://{GOOGLE}/bucket/{quote('é')}"}])
    assert (answer["signature"], answer["object"]) == (UNSIGNED, "é")


def test_a_bucket_of_another_universe_is_not_taken_for_google_s(
        ask):  # noqa: F811
    own = "https://storage.u.example/bucket/a"
    google = f"https://{GOOGLE}/bucket/a"
    answers = ask([
        {"location": own}, {"location": own, "universe": "u.example"},
        {"location": google}, {"location": google, "universe": "u.example"}])
    assert ["reason" in answer for answer in answers] \
        == [True, False, False, True]
