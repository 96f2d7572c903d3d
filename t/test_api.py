"""``gcs_api``: Google's own client for Python, with no credential of its own,
through nginx."""

from __future__ import annotations

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google

HTTP = """
    gcs_credentials writer { file %%KEY%%; }
    gcs_auth writer;
    gcs_endpoint %%EMULATOR%%;
    client_max_body_size 100m;
"""
LOCATION = """location / { gcs_api on; gcs_buckets %s;
                          gcs_methods GET HEAD PUT DELETE; }"""


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    """With an account that may write."""
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin", "legacyBucketReader"]}))

    def make(buckets: str = bucket, location: str = LOCATION, **kw):
        return nginx(HTTP, server=location % buckets, **kw)

    return make


def client(server) -> google.Client:
    return google.Client(
        project="p", credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{server.port}"})


def test_a_client_without_a_credential_reads_and_writes(front, bucket):
    b = client(front()).get_bucket(bucket)
    b.blob("a/b c.txt").upload_from_string(b"hello", "text/x-test")
    assert [blob.name for blob in b.list_blobs(prefix="a/")] == ["a/b c.txt"]
    blob = b.get_blob("a/b c.txt")
    assert blob.content_type == "text/x-test"
    assert blob.download_as_bytes() == b"hello"
    blob.delete()
    assert b.get_blob("a/b c.txt") is None
