"""URLs that IAM signs: for identities whose key nobody has."""

from __future__ import annotations

import json

import pytest
import requests

SIGNER = "signer@demo-project.iam.gserviceaccount.com"
ATTACHED = "attached@demo-project.iam.gserviceaccount.com"
CREATOR = "roles/iam.serviceAccountTokenCreator"

CONF = """
    gcs_credentials who {{ {block} iam_endpoint {iam}; }}
    server {{
        listen       127.0.0.1:%%PORT%%;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     who;
        location /media/ {{
            gcs_pass gs://test-bucket/;
            gcs_mode presign;
            {more}
        }}
    }}"""


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a.txt", b"0123456789")
    return emulator


@pytest.fixture
def attached(google, bucket):
    google.metadata_account(ATTACHED, grants={bucket: "objectViewer"})
    google.set_policy(ATTACHED, {CREATOR: ["serviceAccount:" + ATTACHED]})
    return google


@pytest.fixture
def serve(nginx, google):
    def start(block, more="", **kw):
        return nginx(CONF.format(block=block, more=more, iam=google.iam_url),
                     **kw)
    return start


def signatures(emulator) -> list[dict]:
    return [record for record in emulator.requests("iam")
            if record["target"].endswith(":signBlob")]


def test_the_account_of_a_machine_signs(serve, attached):
    server = serve(f"metadata_server {attached.metadata_host};")
    answer = server.get("/media/a.txt")
    assert answer.status == 303
    url = answer.get("Location")
    assert requests.get(url, timeout=10).content == b"0123456789"
    assert len(signatures(attached)) == 1
    assert server.get("/media/a.txt").get("Location") == url
    assert len(signatures(attached)) == 1


def test_an_impersonated_account_signs_asked_by_a_key_of_another(
        serve, google, key_file, bucket):
    caller = json.loads(key_file.read_text())["client_email"]
    google.add_service_account(
        SIGNER, policy={CREATOR: ["serviceAccount:" + caller]},
        grants={bucket: ["objectViewer"]})
    server = serve(f"file {key_file}; token_endpoint {google.token_uri}; "
                   f"impersonate {SIGNER};")
    url = server.get("/media/a.txt").get("Location")
    assert requests.get(url, timeout=10).content == b"0123456789"
