"""Application default credentials: who nginx is when nothing, or little, is
said, found as Google's own clients find it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

READ = "https://www.googleapis.com/auth/devstorage.read_only"
CREATOR = "roles/iam.serviceAccountTokenCreator"
DOMAIN = "@demo-project.iam.gserviceaccount.com"
BASE = "base" + DOMAIN
TARGET = "target" + DOMAIN
WELL_KNOWN = "application_default_credentials.json"

SERVER = """
    gcs_endpoint %%EMULATOR%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        location /m/ {
            gcs_pass gs://test-bucket;
            add_header X-Error $gcs_error always;
            @@
        }
    }
"""
PLAIN = SERVER.replace("@@", "")
DEFAULT = SERVER.replace("@@", "gcs_auth default;")


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a", b"hi")
    return emulator


@pytest.fixture
def places(google, bucket, tmp_path) -> dict[str, str]:
    """A key of another account in every place, and one account attached."""
    folders = {"GOOGLE_APPLICATION_CREDENTIALS": "named",
               "CLOUDSDK_CONFIG": "config", "HOME": "home/.config/gcloud"}
    found = {"GCE_METADATA_HOST": google.metadata_host}
    google.metadata_account("attached" + DOMAIN,
                            grants={bucket: "objectViewer"})
    for name, folder in folders.items():
        path = tmp_path / folder / WELL_KNOWN
        path.parent.mkdir(parents=True)
        path.write_text(google.service_account(
            path.parts[len(tmp_path.parts)] + DOMAIN,
            {bucket: ["objectViewer"]}))
        found[name] = str({"HOME": tmp_path / "home",
                           "CLOUDSDK_CONFIG": path.parent}.get(name, path))
    (tmp_path / "empty").mkdir()
    return found


def asked_by(google) -> str:
    """The account of the latest read."""
    return google.requests("storage")[-1]["account"]


def log_lines(server, pattern: str) -> int:
    return len(server.lines("notice", pattern))


# the order

PROBE = """
import google.auth, google.auth.transport.requests as transport
credentials, _ = google.auth.default(scopes=["%s"])
credentials.refresh(transport.Request())
print(credentials.service_account_email)
""" % READ


@pytest.mark.parametrize("names, changes, account", [
    (4, {}, "named"),
    (3, {}, "config"),
    (2, {}, "home"),
    (1, {}, "attached"),
    (4, {"CLOUDSDK_CONFIG": "%/empty"}, "named"),
    (3, {"CLOUDSDK_CONFIG": "%/empty"}, "attached"),
    (3, {"CLOUDSDK_CONFIG": "%/nowhere"}, "attached"),
    (4, {"GOOGLE_APPLICATION_CREDENTIALS": ""}, "config"),
    (2, {"HOME": "%/empty"}, "attached"),
    (4, {"NO_GCE_CHECK": "true"}, "named"),
    (2, {"NO_GCE_CHECK": "true"}, "home"),
    (1, {"NO_GCE_CHECK": "false"}, "attached"),
])
def test_the_order_is_that_of_google_auth(nginx, google, places, tmp_path,
                                          names, changes, account):
    """All four places hold something: the last `names` of them are named."""
    order = ["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "HOME",
             "GCE_METADATA_HOST"][4 - names:]
    env = {"HOME": str(tmp_path / "empty")}
    env |= {name: places[name] for name in order}
    env |= {name: value.replace("%", str(tmp_path))
            for name, value in changes.items()}

    server = nginx(PLAIN, env=env)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == account + DOMAIN

    pytest.importorskip("google.auth")
    same = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True,
        timeout=60, env={"PATH": os.environ["PATH"], "NO_PROXY": "*",
                         "GCE_METADATA_IP": google.metadata_host, **env})
    assert same.stdout.strip() == account + DOMAIN, same.stderr


def test_without_home_there_is_no_file_to_look_for(nginx, google, places):
    env = {"HOME": "", "GCE_METADATA_HOST": places["GCE_METADATA_HOST"]}
    server = nginx(PLAIN, env=env)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == "attached" + DOMAIN


def test_the_older_name_of_the_metadata_host_is_read(nginx, google, places):
    env = {"GCE_METADATA_ROOT": places["GCE_METADATA_HOST"]}
    assert nginx(PLAIN, env=env).get("/m/a").body == b"hi"
    env["GCE_METADATA_HOST"] = "metadata.example.com"
    line = nginx(PLAIN, env=env, start=False).refusal(lines=2)
    assert 'invalid GCE_METADATA_HOST "metadata.example.com"' in line


# what is broken is an error, not a reason to be somebody else

BROKEN = [
    (None, r"failed \(2: No such file"),
    ("", "the file is empty"),
    ("{", "not valid JSON"),
    ("{}", 'no member "type"'),
    ('{"type": "gdch_service_account"}', "Google Distributed Cloud"),
    ('{"type": "service_account"}', 'no member "client_email"'),
    ('{"type": "nonsense"}', 'unknown type "nonsense"'),
]


@pytest.mark.parametrize("place, content, words", [
    (place, *case)
    for place in ["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "HOME"]
    for case in BROKEN
    # in the other places what is missing is simply not found
    if case[0] is not None or place == "GOOGLE_APPLICATION_CREDENTIALS"])
def test_a_file_that_is_broken_fails_the_start(nginx, google, places, place,
                                               content, words):
    """Though each place after it has a good one."""
    names = list(places)
    env = {name: places[name] for name in
           ["GCE_METADATA_HOST", *names[names.index(place):]]}
    path = Path(env[place])
    if path.is_dir():
        path = next(path.rglob(WELL_KNOWN))
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    said = nginx(PLAIN, env=env, start=False).refusal(lines=2)
    assert f'gcs credentials "default", file "{path}": ' in said
    assert re.search(words, said), said
    assert 'location "/m/" has no "gcs_auth" other than "default", which ' \
        'failed: name a "gcs_credentials" block, or "anonymous"' in said


def test_a_folder_instead_of_the_file_is_an_error(nginx, google, places,
                                                  tmp_path):
    env = {**places, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path)}
    said = nginx(PLAIN, env=env, start=False).refusal(lines=2)
    assert f'"{tmp_path}" is not a regular file' in said


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_nothing_at_all_is_an_error_that_names_the_ways(nginx, google,
                                                        value):
    said = nginx(PLAIN, env={"NO_GCE_CHECK": value},
                 start=False).refusal(lines=2)
    assert "no application default credentials" in said
    for way in ("GOOGLE_APPLICATION_CREDENTIALS", WELL_KNOWN, "NO_GCE_CHECK",
                'location "/m/"', '"anonymous"'):
        assert way in said


def test_nobody_looks_where_nobody_asks(nginx, google, places, key_file):
    """A broken file is of no account where all locations name another."""
    env = {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}
    server = nginx("gcs_credentials reader { file %%KEY%%; }"
                   + SERVER.replace("@@", "gcs_auth reader;"), env=env)
    assert server.get("/m/a").body == b"hi"
    assert "default" not in server.log()


# what can be written

def test_a_name_can_be_given_to_them(nginx, google, places):
    server = nginx("""
        gcs_credentials here { application_default; }
        map $arg_who $who { default here; public anonymous; d default; }
        """ + SERVER.replace("@@", "gcs_auth $who;"), env=places)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == "named" + DOMAIN
    assert server.get("/m/a?who=public").status in (403, 502)
    # variables never reach the built-in one
    google.reset_requests()
    assert server.get("/m/a?who=d").status == 500
    assert '"gcs_auth" yields "default"' in server.log()
    assert google.requests() == []


@pytest.mark.parametrize("text", [PLAIN, DEFAULT])
def test_default_is_what_is_found(nginx, google, places, text):
    server = nginx(text, env=places)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == "named" + DOMAIN


def test_all_that_is_default_shares_one_token(nginx, google, places):
    server = nginx("""
        gcs_credentials one { application_default; }
        gcs_credentials two { application_default; }
        gcs_endpoint %%EMULATOR%%;
        server {
            listen 127.0.0.1:%%PORT%%;
            location /1/ { gcs_pass gs://test-bucket; gcs_auth one; }
            location /2/ { gcs_pass gs://test-bucket; gcs_auth two; }
            location /3/ { gcs_pass gs://test-bucket; }
            location /4/ { gcs_pass gs://test-bucket; gcs_auth default; }
        }""", env=places)
    for i in range(1, 5):
        assert server.get(f"/{i}/a").body == b"hi"
    assert google.counts()["token"] == 1


def test_options_stand_beside_it(nginx, google, places, bucket):
    google.add_service_account(
        TARGET, grants={bucket: "objectViewer"},
        policy={CREATOR: [f"serviceAccount:named{DOMAIN}"]})
    server = nginx(f"""
        gcs_credentials here {{
            application_default; impersonate {TARGET};
            iam_endpoint %%EMULATOR%%; }}
        """ + SERVER.replace("@@", "gcs_auth here;"), env=places)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == TARGET


@pytest.mark.parametrize("kind", [
    "service_account", "authorized_user", "impersonated_service_account",
    "external_account", "external_account_authorized_user"])
def test_every_type_of_file_is_taken(nginx, google, bucket, tmp_path, kind):
    grants = {bucket: ["objectViewer"]}
    provider = google.add_provider()
    (tmp_path / "token").write_text(google.oidc_token(provider))
    subject = provider.principal("system:serviceaccount:default:reader")
    google.grant(subject, bucket, ["objectViewer"])
    workforce = ("principal://iam.googleapis.com/locations/global/"
                 "workforcePools/my-workforce/subject/someone@example.com")
    google.grant(workforce, bucket, ["objectViewer"])
    google.add_service_account(TARGET, grants=grants, policy={
        CREATOR: [f"serviceAccount:{BASE}"]})
    file, account = {
        "service_account": lambda: (
            json.loads(google.service_account(BASE, grants)), BASE),
        "authorized_user": lambda: (
            google.authorized_user_file(grants=grants),
            "someone@example.com"),
        "impersonated_service_account": lambda: (
            google.impersonated_file(
                TARGET, json.loads(google.service_account(BASE))), TARGET),
        "external_account": lambda: (
            google.external_account_file(
                provider, google.file_source(tmp_path / "token")), subject),
        "external_account_authorized_user": lambda: (
            google.external_account_authorized_user_file(), workforce),
    }[kind]()
    assert file["type"] == kind
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(file))

    # of an impersonated account only the name is taken from the file, and a
    # login names no endpoint
    server = nginx("""
        gcs_credentials here {
            application_default; iam_endpoint %%EMULATOR%%; @@ }
        """.replace("@@", "token_endpoint %%EMULATOR%%/token;"
                    if kind == "authorized_user" else "")
                   + SERVER.replace("@@", "gcs_auth here;"),
                   env={"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == account


# what the log tells

def test_the_log_tells_what_was_found(nginx, google, places):
    path = places["GOOGLE_APPLICATION_CREDENTIALS"]
    server = nginx("gcs_credentials here { application_default; }" + PLAIN,
                   env=places)
    for pattern in (f'gcs credentials "default": found file "{path}"',
                    f'gcs credentials "here": found file "{path}"',
                    'location "/m/" uses gcs credentials "default"'):
        assert log_lines(server, re.escape(pattern)) == 1, pattern
    server.reload()
    assert log_lines(server, "found file") == 4


def test_the_log_tells_that_the_metadata_server_is_left(nginx, google,
                                                        places):
    host = places["GCE_METADATA_HOST"]
    server = nginx(PLAIN, env={"GCE_METADATA_HOST": host})
    assert log_lines(server, re.escape(
        'gcs credentials "default": found no file, metadata server '
        f'"{host}" will be asked')) == 1


def test_nginx_t_tells_nothing_and_asks_nobody(nginx, google, places):
    host = {"GCE_METADATA_HOST": places["GCE_METADATA_HOST"]}
    for env in (places, host, {}):
        tested = nginx(PLAIN, env=env, start=False).test()
        assert tested.returncode == 0
        assert "gcs" not in tested.stderr
    assert google.counts() == {}


# life

def test_the_identity_outlives_reloads_and_upgrades(nginx, google, places):
    """A new binary gets only those variables that "env" names: the module
    adds what it has read."""
    names = ["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "HOME",
             "GCE_METADATA_HOST"]
    servers = []
    for i, name in enumerate(names):
        env = {"HOME": "/nowhere", **{n: places[n] for n in names[i:]}}
        servers.append((nginx(PLAIN, env=env, daemon=True), name))
    accounts = []
    for server, _ in servers:
        google.reset_requests()
        seen = []
        for step in (lambda: None, server.reload, server.upgrade,
                     server.upgrade, server.reload):
            step()
            assert server.get("/m/a").body == b"hi"
            seen.append(asked_by(google))
        assert len(set(seen)) == 1
        accounts.append(seen[0])
    assert accounts == [name + DOMAIN for name in (
        "named", "config", "home", "attached")]


def test_a_file_that_moves_is_found_at_the_reload(nginx, google, places,
                                                  bucket):
    env = {"CLOUDSDK_CONFIG": places["CLOUDSDK_CONFIG"],
           "GCE_METADATA_HOST": places["GCE_METADATA_HOST"]}
    server = nginx(PLAIN, env=env)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == "config" + DOMAIN
    (Path(env["CLOUDSDK_CONFIG"]) / WELL_KNOWN).unlink()
    server.reload(old_gone=True)
    assert server.get("/m/a").body == b"hi"
    assert asked_by(google) == "attached" + DOMAIN
