"""For the same credentials the emulator sees the same requests from nginx as
from Google's own client, google-auth: field by field.

What may differ stands in ALLOWED, with the reason; a difference that is gone
fails a test too, so that the table stays true.
"""

from __future__ import annotations

import base64
import json
import os
import time
import warnings
from typing import Any, Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

pytest.importorskip("google.auth")
from google.auth import load_credentials_from_dict  # noqa: E402
from google.auth.compute_engine import Credentials  # noqa: E402
from google.auth.credentials import with_scopes_if_required  # noqa: E402

from emulator.google_transport import transport  # noqa: E402

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
READ = AUTH + "devstorage.read_only"
MAIL = AUTH + "userinfo.email"
CREATOR = "roles/iam.serviceAccountTokenCreator"
DOMAIN = "@demo-project.iam.gserviceaccount.com"
KEY, TARGET, MIDDLE = "key" + DOMAIN, "target" + DOMAIN, "middle" + DOMAIN
PERSON = "someone@example.com"
WORKFORCE = ("principal://iam.googleapis.com/locations/global/"
             "workforcePools/my-workforce/subject/" + PERSON)
SUBJECT = "system:serviceaccount:default:reader"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ROOT = "/computeMetadata/v1/instance/service-accounts/"

# By the field of a request: why nginx's may differ from google-auth's.
ALLOWED = {
    "host": "nginx is told the emulator's endpoints, google-auth has Google's "
            "built in and is led astray below them",
    "headers.x-goog-api-client": "telemetry of google-auth",
    "assertion.claims.aud": "the token endpoint; google-auth has Google's "
                            "built in, with which a real key file agrees",
    "json.delegates": "an empty list and null are the same to the API",
}

# Headers of the client libraries that mean nothing here.
LIBRARY = {"accept", "accept-encoding", "connection", "content-length",
           "user-agent", "host"}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """{"a.b": 1} of {"a": {"b": 1}}."""
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, item in value.items()
            for k, v in flat(item, f"{name}.{key}" if name else key).items()}


def bearer(google, value: str) -> list[Any]:
    """Whose token it is and for what, instead of its random text."""
    token, = [t for t in google.tokens() if "Bearer " + t["value"] == value]
    return [token["email"], sorted(token["scopes"])]


def assertion(google, given: dict[str, Any]) -> dict[str, Any]:
    """A JWT with its times made comparable."""
    claims = dict(given["claims"])
    assert abs(claims["iat"] - time.time()) < 30
    claims["exp"] -= claims.pop("iat")
    return {"header": given["header"], "claims": claims}


def seen(google, request: dict[str, Any]) -> dict[str, Any]:
    """All of a request that means anything."""
    url = urlsplit(request["target"])
    headers = {}
    for name, value in request["headers"]:
        name = name.lower()
        assert name not in headers, f"{name} twice"
        headers[name] = value
    if "content-type" in headers:
        headers["content-type"] = \
            headers["content-type"].lower().partition(";")[0]
    if headers.get("authorization", "").startswith("Bearer "):
        headers["authorization"] = bearer(google, headers["authorization"])

    form = dict(request.get("form") or {})
    if "options" in form:                  # Python encodes it once more
        form["options"] = json.loads(unquote(form["options"]))
    if "assertion" in form and form["grant_type"].endswith("jwt-bearer"):
        form["assertion"] = assertion(google, request["assertion"])
    found = {
        "kind": request["kind"], "method": request["method"],
        "host": request["host"], "path": unquote(url.path),
        "query": dict(parse_qsl(url.query, strict_parsing=bool(url.query))),
        "version": request["version"],
        "headers": {n: v for n, v in headers.items() if n not in LIBRARY},
        "form": form or None, "json": request.get("json"),
        "client": request.get("client"),
        "account": request["account"], "status": request["status"]}
    if "assertion" in form:
        found["assertion"] = form.pop("assertion")
    return flat(found)


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> set[str]:
    return {name for name in {*theirs, *ours}
            if theirs.get(name) != ours.get(name)}


class Both:
    """Runs both clients and holds what the emulator saw of each."""

    def __init__(self, google, nginx, tmp_path):
        self.google, self.tmp_path = google, tmp_path
        self._nginx = nginx

    def since(self, start: int) -> list[dict[str, Any]]:
        """Requests for tokens; not the look-up of regions by google-auth."""
        return [r for r in self.google.requests()[start:]
                if r["kind"] not in ("storage", "locations")]

    def google_auth(self, credentials) -> list[dict[str, Any]]:
        start = len(self.google.requests())
        credentials.refresh(transport(self.google))
        assert credentials.token
        return self.since(start)

    def nginx(self, block: str) -> list[dict[str, Any]]:
        start = len(self.google.requests())
        server = self._nginx(f"""
            gcs_credentials x {{ {block} }}
            gcs_endpoint %%EMULATOR%%;
            server {{ listen 127.0.0.1:%%PORT%%;
                      location /m/ {{ gcs_pass gs://test-bucket;
                                      gcs_auth x; }} }}""")
        server.wait_log("refreshed")
        found = self.since(start)
        server.quit()
        return found

    def file(self, content: dict[str, Any]) -> str:
        path = self.tmp_path / "credentials.json"
        path.write_text(json.dumps(content))
        return str(path)

    def compare(self, theirs: list[dict], ours: list[dict],
                expected: set[str]) -> None:
        google = self.google
        assert [r["kind"] for r in ours] == [r["kind"] for r in theirs]
        found = set()
        for one, other in zip(theirs, ours):
            first, second = seen(google, one), seen(google, other)
            different = differences(first, second)
            assert different <= set(ALLOWED), {
                name: (first.get(name), second.get(name))
                for name in different - set(ALLOWED)}
            for name in different & {"json.delegates"}:
                assert {str(first[name]), str(second[name])} \
                    == {"None", "[]"}
            if "assertion.claims.aud" in different:
                assert first["assertion.claims.aud"] \
                    == "https://oauth2.googleapis.com/token"
                assert second["assertion.claims.aud"] == google.token_uri
            found |= different
        # the rest of the headers, and nothing of ours beyond them
        for request in ours:
            names = {n.lower() for n, _ in request["headers"]}
            assert not names - LIBRARY - {
                "authorization", "content-type", "metadata-flavor"}
        assert found - {"host", "headers.x-goog-api-client"} == expected


@pytest.fixture
def both(emulator, bucket, nginx, tmp_path, monkeypatch) -> Both:
    # google-auth looks for regions in a thread of its own: not out there
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "GCE_")):
            monkeypatch.delenv(name)
    emulator.add_service_account(TARGET)
    return Both(emulator, nginx, tmp_path)


def load(file: dict[str, Any], scopes: tuple[str, ...] | None = (READ,)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        login = file["type"] == "authorized_user"
        credentials, _ = load_credentials_from_dict(
            file, scopes=list(scopes) if login and scopes else None)
    return with_scopes_if_required(credentials, list(scopes or ()) or None)


Make = Callable[[Any, Any], tuple[dict[str, Any], str]]


def service_account(google, path):
    return json.loads(google.service_account(KEY)), "serviceAccount:" + KEY


def no_key_id(google, path):
    file = json.loads(google.service_account(KEY))
    del file["private_key_id"]
    return file, "serviceAccount:" + KEY


def authorized_user(google, path):
    return google.authorized_user_file(
        login=google.add_refresh_token(PERSON, scopes=(CLOUD, READ, MAIL))
    ), "user:" + PERSON


def workforce_login(google, path):
    return (google.external_account_authorized_user_file(
        PERSON, scopes=(CLOUD, READ, MAIL)), WORKFORCE)


def federated(field: str | None = None, **more: Any) -> Make:
    def make(google, path):
        provider = google.add_provider()
        token = google.oidc_token(provider)
        (path / "token").write_text(
            json.dumps({"a": 1, field: token}) if field else token)
        return google.external_account_file(
            provider, google.file_source(path / "token", field),
            **more), provider.principal(SUBJECT)
    return make


def output_file(google, path):
    provider = google.add_provider()
    (path / "output").write_text(json.dumps({
        "version": 1, "success": True, "token_type": JWT,
        "id_token": google.oidc_token(provider),
        "expiration_time": int(time.time()) + 600}))
    return google.external_account_file(
        provider, google.executable_source(path / "output")), \
        provider.principal(SUBJECT)


def workforce_pool(**more: Any) -> Make:
    def make(google, path):
        provider = google.add_provider(workforce=True)
        google.add_sts_client("client.id", "GOCSPX-secret_1~")
        (path / "token").write_text(google.oidc_token(provider))
        return google.external_account_file(
            provider, google.file_source(path / "token"),
            **more), provider.principal(SUBJECT)
    return make


@pytest.mark.parametrize("make, scopes, expected", [
    (service_account, (READ,), {"assertion.claims.aud"}),
    (service_account, (READ, MAIL), {"assertion.claims.aud"}),
    (no_key_id, (READ,), {"assertion.claims.aud"}),
    (authorized_user, None, set()),
    (authorized_user, (READ,), set()),
    (authorized_user, (READ, MAIL), set()),
    (workforce_login, None, set()),
    (federated(), (READ,), set()),
    (federated(), (READ, MAIL), set()),
    (federated("access_token"), (READ,), set()),
    (output_file, (READ,), set()),
    (workforce_pool(workforce_pool_user_project="demo-project"), (READ,),
     set()),
    (workforce_pool(client_id="client.id", client_secret="GOCSPX-secret_1~"),
     (READ,), set()),
], ids=lambda value: getattr(value, "__qualname__", None))
def test_a_file_makes_the_same_requests(both, monkeypatch, make, scopes,
                                        expected):
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    file, _ = make(both.google, both.tmp_path)
    theirs = both.google_auth(load(file, scopes))
    block = f"file {both.file(file)};"
    if scopes and (scopes != (READ,) or file["type"] == "authorized_user"):
        block += f"scope {' '.join(scopes)};"
    if file["type"] == "authorized_user":
        block += "token_endpoint %%EMULATOR%%/token;"
    both.compare(theirs, both.nginx(block), expected)


@pytest.mark.parametrize("delegates", [(), (MIDDLE,)])
@pytest.mark.parametrize("make", [service_account, authorized_user,
                                  workforce_login],
                         ids=lambda value: value.__qualname__)
def test_an_impersonating_file_makes_the_same_requests(both, make,
                                                       delegates):
    google = both.google
    source, member = make(google, both.tmp_path)
    google.add_service_account(MIDDLE, policy={CREATOR: [member]})
    google.set_policy(TARGET, {CREATOR: [
        "serviceAccount:" + MIDDLE if delegates else member]})
    names = tuple("projects/-/serviceAccounts/" + d for d in delegates)
    file = google.impersonated_file(TARGET, source, delegates=names,
                                    google=True)
    theirs = both.google_auth(load(file))
    block = f"file {both.file(file)}; iam_endpoint %%EMULATOR%%;"
    if make is authorized_user:
        block += "token_endpoint %%EMULATOR%%/token;"
    expected = {"assertion.claims.aud"} if make is service_account else set()
    both.compare(theirs, both.nginx(block), expected)


@pytest.mark.parametrize("lifetime", [None, 1800])
def test_federation_that_impersonates_makes_the_same_requests(both,
                                                              lifetime):
    google = both.google
    file, member = federated(impersonate=TARGET, lifetime=lifetime)(
        google, both.tmp_path)
    google.set_policy(TARGET, {"roles/iam.workloadIdentityUser": [member]})
    theirs = both.google_auth(load(file))
    ours = both.nginx(f"file {both.file(file)}; iam_endpoint %%EMULATOR%%;")
    both.compare(theirs, ours, {"json.delegates"})
    assert ours[-1]["json"]["lifetime"] == f"{lifetime or 3600}s"


@pytest.mark.parametrize("mode", ["gce", "gke", "cloud-run"])
@pytest.mark.parametrize("scopes", [(READ,), (READ, MAIL)])
def test_the_metadata_server_is_asked_the_same(both, mode, scopes):
    google = both.google
    google.metadata_server(mode=mode)
    google.metadata_account(KEY)
    theirs = both.google_auth(Credentials(scopes=list(scopes)))
    ours = both.nginx(f"metadata_server {google.metadata_host};"
                      f"scope {' '.join(scopes)};")
    # both learn the address, each in its way
    token = [r for r in theirs if "/token" in r["target"]]
    assert [r["target"] for r in ours[1:]] == [ROOT + "default/email"]
    both.compare(token, ours[:1], set())
    assert urlsplit(ours[0]["target"]).path == ROOT + "default/token"


def decoded(token: str) -> list[dict[str, Any]]:
    parts = [json.loads(base64.urlsafe_b64decode(part + "=="))
             for part in token.split(".")[:2]]
    assert abs(parts[1]["iat"] - time.time()) < 30
    parts[1]["exp"] -= parts[1].pop("iat")
    return parts


def test_the_token_of_another_universe_is_the_same(both, bucket):
    """It is made without any request."""
    google = both.google
    file = {**json.loads(google.service_account(KEY)),
            "universe_domain": "example.goog"}
    credentials = load(file)
    assert both.google_auth(credentials) == []
    start = len(google.requests())
    assert both.nginx(f"file {both.file(file)}; "
                      "universe_domain example.goog;") == []
    assert len(google.requests()) == start

    server = both._nginx(f"""
        gcs_credentials x {{ file {both.file(file)};
                             universe_domain example.goog; }}
        gcs_endpoint %%EMULATOR%%;
        server {{ listen 127.0.0.1:%%PORT%%;
                  location /m/ {{ gcs_pass gs://test-bucket;
                                  gcs_auth x; }} }}""")
    server.get("/m/a")
    value, = {v for n, v in google.requests("storage")[0]["headers"]
              if n.lower() == "authorization"}
    theirs, ours = decoded(credentials.token), decoded(value[len("Bearer "):])
    assert ours == theirs
