"""nginx asks as google-auth does: subject tokens of URLs, and AWS.

Both get the same file, the same environment and the same clock, and are let
loose on the same emulator. What it has recorded is compared field by field;
what differs must be in DIFFERENCES, with a reason.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import warnings
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("google.auth")
from google.auth import _helpers  # noqa: E402
from google.auth import load_credentials_from_dict  # noqa: E402
from google.auth.aws import (AwsSecurityCredentials,  # noqa: E402
                             RequestSigner)
from google.auth.credentials import with_scopes_if_required  # noqa: E402

from emulator.google_transport import transport  # noqa: E402

READ = "https://www.googleapis.com/auth/devstorage.read_only"
TARGET = "target@demo-project.iam.gserviceaccount.com"
SUBJECT = "system:serviceaccount:default:reader"

# (kind, field) -> (google-auth's, nginx's, why); None: the field is missing,
# "*": any value
DIFFERENCES: dict[tuple[str, str], tuple[Any, Any, str]] = {
    ("*", "header user-agent"): (
        "*", "*", "each says who it is"),
    ("*", "header accept-encoding"): (
        "*", "*", "Python's client takes gzip; nginx's asks for nothing"),
    ("*", "header connection"): (
        "keep-alive", None, "the default of HTTP/1.1"),
    ("*", "header content-length"): (
        "*", "*", "of bodies that are compared by their fields"),
    ("*", "header x-goog-api-client"): (
        "*", None, "metrics of Google's libraries"),
    ("iam", "target"): (
        "*", "*", "nginx escapes the @ of an e-mail; else equal, see below"),
    ("sts", "subject header authorization"): (
        "*", "*", "Python's client does not sign the target, those for Go and "
        "Node do, and Google recommends it; see the test of the signature"),
    ("iam", "json delegates"): (
        None, [], "JSON null, and the empty list that it means"),
}


used: set[tuple[str, str]] = set()       # rows that have been needed


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a.txt", b"hello")
    emulator.aws_role("media")
    return emulator


@pytest.fixture
def both(nginx, google, tmp_path, monkeypatch):
    """What nginx, and then google-auth, asks with the same file."""
    def run(file, **env):
        for name in list(os.environ):
            if name.startswith(("AWS_", "GOOGLE_", "GCE_")):
                monkeypatch.delenv(name)
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(file))
        server = nginx(
            f"""gcs_credentials both {{ file {path};
                                        iam_endpoint %%EMULATOR%%; }}
                gcs_endpoint %%EMULATOR%%;""", env=env,
            server="location / { gcs_pass gs://test-bucket/; gcs_auth both; }")
        assert server.get("/a.txt").body == b"hello", server.log()
        ours = asked(google)
        server.quit()
        google.reset_requests()

        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        stamp = clock_of(ours)
        if stamp:
            then = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
            monkeypatch.setattr(_helpers, "utcnow", lambda: then)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            credentials, _ = load_credentials_from_dict(file)
        credentials = with_scopes_if_required(credentials, [READ])
        credentials.refresh(transport(google))
        assert credentials.token
        return asked(google), ours

    return run


def asked(google):
    return [record for record in google.requests()
            if record["kind"] in ("imds", "subject", "sts", "iam")]


def clock_of(records):
    for record in records:
        for item in record.get("subject", {}).get("headers", []):
            if item["key"].lower() == "x-amz-date":
                return item["value"]
    return None


def fields(record):
    """A record as flat fields; secrets of the moment have no value."""
    made: dict[str, Any] = {
        "method": record["method"], "version": record["version"],
        "target": record["target"]}
    for name, value in record["headers"]:
        name = name.lower()
        assert f"header {name}" not in made, f"{name} is there twice"
        if name in ("authorization", "x-aws-ec2-metadata-token"):
            value = re.sub(r"[\w.~+/=-]{20,}", "<token>", value)
        made[f"header {name}"] = value
    for name, value in record.get("form", {}).items():
        if name != "subject_token" or "subject" not in record:
            made[f"form {name}"] = value
    for name, value in (record.get("json") or {}).items():
        made[f"json {name}"] = value
    for name, value in record.get("subject", {}).items():
        if name == "headers":              # decoded: the order means nothing
            made.update((f"subject header {item['key'].lower()}",
                         item["value"]) for item in value)
        else:
            made[f"subject {name}"] = value
    return made


def row(kind, name, theirs, own):
    """The row that tells the difference; the special one first."""
    for key in ((kind, name), ("*", name)):
        if key in DIFFERENCES:
            wanted = DIFFERENCES[key][:2]
            if all(want == "*" or want == have
                   for want, have in zip(wanted, (theirs, own))):
                used.add(key)
                return True
    return False


def compare(theirs, ours):
    """The same requests in the same order, with the same fields."""
    def shape(records):
        return [(r["kind"], r["method"], unquote(r["target"]))
                for r in records]

    assert shape(ours) == shape(theirs)
    wrong = []
    for google, nginx in zip(theirs, ours):
        one, two = fields(google), fields(nginx)
        wrong += [
            (google["kind"], name, one.get(name), two.get(name))
            for name in sorted({*one, *two})
            if one.get(name) != two.get(name)
            and not row(google["kind"], name, one.get(name), two.get(name))]
    assert wrong == []


@pytest.fixture
def oidc(google, bucket):
    """A provider whose principal may read, and may be an account."""
    provider = google.add_provider()
    principal = provider.principal(SUBJECT)
    google.grant(principal, bucket, ["objectViewer"])
    google.add_service_account(
        TARGET, grants={bucket: ["objectViewer"]},
        policy={"roles/iam.workloadIdentityUser": [principal]})
    return provider


@pytest.mark.parametrize("impersonate", [None, TARGET])
@pytest.mark.parametrize("field", [None, "access_token"])
def test_a_subject_token_of_a_url_is_asked_for_alike(both, google, oidc,
                                                     field, impersonate):
    headers = {"Metadata": "True", "X-Other": "two words"}
    url = google.subject_url(google.oidc_token(oidc), field=field,
                             headers=headers)
    compare(*both(google.external_account_file(
        oidc, google.url_source(url, field, headers),
        impersonate=impersonate)))


def test_a_lifetime_is_asked_for_alike(both, google, oidc):
    url = google.subject_url(google.oidc_token(oidc))
    compare(*both(google.external_account_file(
        oidc, google.url_source(url), impersonate=TARGET, lifetime=1800)))


@pytest.fixture
def aws(google, bucket):
    provider = google.add_provider(kind="aws")
    everyone = provider.principal_set()
    google.grant(everyone, bucket, ["objectViewer"])
    google.add_service_account(
        TARGET, grants={bucket: ["objectViewer"]},
        policy={"roles/iam.workloadIdentityUser": [everyone]})
    return provider


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("impersonate", [None, TARGET])
def test_an_instance_is_asked_alike(both, google, aws, version, impersonate):
    google.instance(role="media", version=version)
    theirs, ours = both(google.external_account_file(
        aws, google.aws_source(imdsv2=version == 2), impersonate=impersonate))
    if version == 2:
        # google-auth takes one session token for the region and another
        # for the keys, nginx one for both
        puts = [r for r in theirs if r["method"] == "PUT"]
        assert 1 <= len(puts) <= 3
        for record in puts[1:]:
            theirs.remove(record)
    compare(theirs, ours)


@pytest.mark.parametrize("kind", ["user", "session"])
@pytest.mark.parametrize("region", ["us-east-2", "eu-central-1"])
def test_keys_of_the_environment_are_used_alike(both, google, aws, kind,
                                                region):
    keys = google.aws_user() if kind == "user" \
        else google.aws_session("media", "me@home")
    env = {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
           "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
           "AWS_REGION": region}
    if keys["Token"]:
        env["AWS_SESSION_TOKEN"] = keys["Token"]
    theirs, ours = both(google.external_account_file(
        aws, google.aws_source(), impersonate=TARGET), **env)
    compare(theirs, ours)

    # the signature of Google's own signer, with the target in it
    url = ours[0]["subject"]["url"]
    signed = RequestSigner(region).get_request_options(
        AwsSecurityCredentials(keys["AccessKeyId"], keys["SecretAccessKey"],
                               keys["Token"]),
        url, "POST", "", {"x-goog-cloud-target-resource": aws.audience})
    assert {item["key"].lower(): item["value"]
            for item in ours[0]["subject"]["headers"]} == {
        name.lower(): value for name, value in signed["headers"].items()}


def test_the_region_alone_is_asked_for_alike(both, google, aws):
    google.instance(role=None, zone="ap-southeast-3a")
    keys = google.aws_user()
    theirs, ours = both(
        google.external_account_file(aws, google.aws_source()),
        AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"])
    compare(theirs, ours)


def test_each_difference_is_one():
    """A row that nothing needs any more is to be removed."""
    if not used:
        pytest.skip("only with the other tests of this file")
    assert set(DIFFERENCES) - used == set()
