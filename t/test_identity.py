"""gcs_credentials and gcs_auth: what is said at nginx -t, and who asks GCS."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from conftest import SANITIZE
from emulator import certificates
from harness.nginx import binary, free_port

READ = "https://www.googleapis.com/auth/devstorage.read_only"
WRITE = "https://www.googleapis.com/auth/devstorage.read_write"
FULL = "https://www.googleapis.com/auth/devstorage.full_control"


without_sanitizers = pytest.mark.skipif(
    SANITIZE, reason="the sanitizers' library is not loaded there")


def conf(inside: str = "file %%KEY%%;", auth: str = "gcs_auth reader;",
         http: str = "", location: str = "", name: str = "reader") -> str:
    return f"""
        gcs_credentials {name} {{ {inside} }}
        gcs_endpoint %%EMULATOR%%;
        {http}
        server {{
            listen 127.0.0.1:%%PORT%%;
            location /m/ {{ gcs_pass gs://test-bucket; {auth} }}
            {location}
        }}
    """


def said(nginx, text: str, **kw) -> str:
    """The one [emerg] line of nginx -t, which must fail."""
    server = nginx(text, start=False, **kw)
    tested = server.test()
    assert tested.returncode == 1, "nginx -t has accepted it"
    lines = [line for line in tested.stderr.splitlines() if "[emerg]" in line]
    assert len(lines) == 1, tested.stderr
    assert re.search(r"nginx\.conf:\d+$", lines[0]), lines[0]
    return lines[0]


@pytest.fixture
def key(key_file) -> dict:
    return json.loads(key_file.read_text())


@pytest.fixture
def write_key(tmp_path):
    def write(content, name="other.json"):
        path = tmp_path / name
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return path
    return write


# the file


def test_a_file_that_is_missing_is_told(nginx, emulator, key_file):
    line = said(nginx, conf("file /nowhere/key.json;"))
    assert '"/nowhere/key.json" failed (2: No such file' in line


def test_a_relative_name_is_below_the_configuration(nginx, emulator,
                                                    key_file, tmp_path):
    line = said(nginx, conf("file keys/nothing.json;"))
    assert f'"{tmp_path}/nginx/keys/nothing.json"' in line
    (tmp_path / "nginx" / "key.json").write_text(key_file.read_text())
    tested = nginx(conf("file ../nginx/key.json;"), start=False).test()
    assert tested.returncode == 0, tested.stderr


def test_what_is_no_regular_file_is_told(nginx, emulator, key_file, tmp_path):
    line = said(nginx, conf(f"file {tmp_path};"))
    assert f'"{tmp_path}" is not a regular file' in line


@without_sanitizers
def test_a_file_that_may_not_be_read_is_told(nginx, emulator, key_file,
                                             module):
    """As somebody who is not root, from a folder that he can enter."""
    folder = Path(tempfile.mkdtemp(prefix="gcs-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        shutil.copy(module, folder / "module.so")
        secret = folder / "key.json"
        secret.write_text(key_file.read_text())
        secret.chmod(0o000)
        (folder / "nginx.conf").write_text(f"""
            load_module {folder}/module.so;
            pid /dev/null; events {{ }}
            http {{ gcs_credentials reader {{ file {secret}; }} }}""")
        nobody = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
        tested = subprocess.run(
            [binary(), "-t", "-p", str(folder), "-c",
             str(folder / "nginx.conf"), "-e", "stderr"],
            capture_output=True, text=True, **nobody)
        assert tested.returncode == 1
        assert f'"{secret}" failed (13: Permission denied)' in tested.stderr
    finally:
        shutil.rmtree(folder)


def test_a_file_that_is_far_too_large_is_told(nginx, emulator, key_file,
                                              write_key):
    path = write_key(b"x" * (2 << 20))
    assert "too large" in said(nginx, conf(f"file {path};"))


@pytest.mark.parametrize("text, words", [
    ("", "empty"), (" \n", "not valid JSON"), ("{", "not valid JSON.*line 1"),
    ("[]", "not a JSON object"), ("{}", 'no member "type"'),
    ('{"a": 1, "a": 2}', "duplicate member"), ("{}x", "not valid JSON"),
    ('{"type": "service_account",\n}', "line 2"),
    (b'{"type": "\xff"}', "UTF-8"),
    ('{"installed": {"client_id": "x"}}', "OAuth client file"),
    ('{"type": "nonsense"}', 'unknown type "nonsense"'),
    ('{"type": 5}', '"type"'),
    ('{"type": "authorized_user"}', 'no member "client_id"'),
    ('{"type": "external_account"}', 'no member "audience"'),
    ('{"type": "gdch_service_account"}', "Google Distributed Cloud"),
])
def test_a_file_that_is_no_credential_is_told_with_the_reason(
        nginx, emulator, key_file, write_key, text, words):
    path = write_key(text)
    line = said(nginx, conf(f"file {path};"))
    assert f'gcs credentials "reader", file "{path}": ' in line
    assert re.search(words, line), line


@pytest.mark.parametrize("change, words", [
    ({"private_key": None}, 'no member "private_key"'),
    ({"client_email": None}, 'no member "client_email"'),
    ({"private_key": ""}, 'member "private_key" is empty'),
    ({"client_email": 7}, 'member "client_email" is not a string'),
    ({"client_email": "nobody"}, "not an e-mail address"),
    ({"client_email": "a@b c"}, "white space"),
    ({"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n"
                     "-----END PRIVATE KEY-----\n"}, 'member "private_key"'),
    ({"private_key": "ESCAPED"}, "escaped twice"),
    ({"universe_domain": "example.com"}, 'member "universe_domain"'),
    ({"token_uri": "http://oauth2.googleapis.com/token"}, "token_uri"),
    ({"token_uri": "https://evil.example/token"}, "token_uri"),
    ({"token_uri": "https://googleapis.com.evil.example/t"}, "token_uri"),
    ({"token_uri": "https://evilgoogleapis.com/token"}, "token_uri"),
    ({"token_uri": "https://oauth2.googleapis.com@evil.example/"},
     "token_uri"),
    ({"token_uri": "https://evil.example/.googleapis.com"}, "token_uri"),
    ({"token_uri": "file:///etc/passwd"}, "token_uri"),
    ({"token_uri": "https://169.254.169.254/"}, "token_uri"),
])
def test_a_key_file_with_a_mistake_is_told_with_the_member(
        nginx, emulator, key, write_key, change, words):
    for name, value in change.items():
        if value == "ESCAPED":
            key[name] = key[name].replace("\n", "\\n")
        elif value is None:
            del key[name]
        else:
            key[name] = value
    path = write_key(key)
    line = said(nginx, conf(f"file {path};"))
    assert f'"{path}"' in line and '"reader"' in line
    assert words in line
    assert "BEGIN" not in line and "AAAA" not in line


@pytest.mark.parametrize("uri", [
    "https://oauth2.googleapis.com/token", "https://googleapis.com/token",
    "https://OAuth2.GoogleAPIs.com:443/token", "http://127.0.0.1:8080/token",
    "http://localhost/token", None,
])
def test_a_token_uri_of_google_or_loopback_is_taken(nginx, emulator, key,
                                                    write_key, uri):
    key["token_uri"] = uri
    if uri is None:
        del key["token_uri"]
    path = write_key(key)
    tested = nginx(conf(f"file {path};"), start=False).test()
    assert tested.returncode == 0, tested.stderr


def test_token_endpoint_replaces_what_the_file_says(nginx, emulator, bucket,
                                                    write_key, key):
    emulator.put_object(bucket, "a", b"hi")
    key["token_uri"] = "https://evil.example/token"
    path = write_key(key)
    server = nginx(conf(f"file {path}; token_endpoint %%EMULATOR%%/token;"))
    assert server.get("/m/a").body == b"hi"
    token, = emulator.requests("token")
    assert token["assertion"]["claims"]["aud"] == emulator.token_uri


# the block


@pytest.mark.parametrize("inside, words", [
    ("", 'no source in "gcs_credentials" "reader": add "file PATH;"'),
    ("scope " + READ + ";", 'no source in "gcs_credentials" "reader"'),
    ("file %%KEY%%; file %%KEY%%;", '"file" directive is duplicate'),
    ("file;", 'invalid number of arguments in "file"'),
    ("file %%KEY%% x;", 'invalid number of arguments in "file"'),
    ("file %%KEY%%; nonsense 1;",
     'unknown directive "nonsense" in "gcs_credentials"'),
    ("file %%KEY%%; token_endpoint http://oauth2.googleapis.com/token;",
     'invalid URL "http://oauth2.googleapis.com/token" in "token_endpoint"'
     ' directive; it must be https, or http to a loopback address'),
    ("file %%KEY%%; token_endpoint http://192.0.2.1/;", "loopback"),
    ("file %%KEY%%; token_endpoint http://127.0.0.1.evil.example/;",
     "loopback"),
    ("file %%KEY%%; token_endpoint http://127.0.0.1@evil.example/;",
     "loopback"),
    ("file %%KEY%%; token_endpoint oauth2.googleapis.com;", "invalid URL"),
    ("file %%KEY%%; token_endpoint https://a.example/;"
     "token_endpoint https://a.example/;",
     '"token_endpoint" directive is duplicate'),
    ("file %%KEY%%; scope read;", 'invalid scope "read"'),
    ("file %%KEY%%; scope https://example.com/ä;", 'invalid scope "http'),
    ('file %%KEY%%; scope "https://example.com/\\"";', 'invalid scope "http'),
    ("file %%KEY%%; scope;", 'invalid number of arguments in "scope"'),
    (f"file %%KEY%%; scope {READ}; scope {READ};",
     '"scope" directive is duplicate'),
    ("file %%KEY%%; timeout 0;", '"timeout"'),
    ("file %%KEY%%; timeout soon;", '"timeout" directive invalid value'),
    ("file %%KEY%%; ssl_trusted_certificate /nowhere/ca.pem;",
     "/nowhere/ca.pem"),
    ("file %%KEY%%; proxy localhost:3128;", '"localhost:3128" in "proxy"'),
    ("file %%KEY%%; proxy http://;", '"http://" in "proxy"'),
    ("file %%KEY%%; proxy https://;", '"https://" in "proxy"'),
    ("application_default; application_default;",
     '"application_default" directive is duplicate'),
    ("file %%KEY%%; proxy off; proxy off;", '"proxy" directive is duplicate'),
])
def test_mistakes_in_the_block_are_told(nginx, emulator, key_file, inside,
                                        words):
    assert words in said(nginx, conf(inside))


@pytest.mark.parametrize("name, words", [
    ("anonymous", 'the name "anonymous" is built in'),
    ("default", 'the name "default" is built in'),
    ("signature", 'the name "signature" is built in'),
    ('""', 'invalid or duplicate name ""'),
    ("'$x'", 'invalid or duplicate name "$x"'),
])
def test_names_that_cannot_be_are_told(nginx, emulator, key_file, name,
                                       words):
    assert words in said(nginx, conf(name=name))


def test_a_name_can_be_given_once(nginx, emulator, key_file):
    line = said(nginx, conf(http="gcs_credentials reader { file %%KEY%%; }"))
    assert 'duplicate name "reader" in "gcs_credentials"' in line


@pytest.mark.parametrize("place, text", [
    ("server", "gcs_credentials x { file %%KEY%%; }"),
    ("http", "gcs_credentials { file %%KEY%%; }"),
    ("http", "gcs_credentials x file;"),
    ("server", "gcs_pass gs://test-bucket;"),
])
def test_directives_stand_where_they_belong(nginx, emulator, key_file, place,
                                            text):
    line = said(nginx, conf(**{"http" if place == "http" else "location":
                               text}))
    assert text.split()[0] in line


# gcs_auth


def test_a_location_that_says_nothing_uses_what_is_found(nginx, emulator,
                                                         key_file, bucket):
    """See test_default_credentials.py."""
    emulator.put_object(bucket, "a", b"hi")
    server = nginx(conf(auth=""), env={
        "GOOGLE_APPLICATION_CREDENTIALS": str(key_file)})
    assert server.get("/m/a").body == b"hi"
    assert 'location "/m/" uses gcs credentials "default"' in server.log()


@pytest.mark.parametrize("name", ["raeder", "READER", "reader2"])
def test_a_name_that_nobody_declares_is_told(nginx, emulator, key_file, name):
    line = said(nginx, conf(auth=f"gcs_auth {name};"))
    assert f'"gcs_auth" name "{name}"' in line
    assert "gcs_credentials" in line


@pytest.mark.parametrize("text", [
    # each with the line that must be named
    "gcs_auth raeder;\nserver { location / { } }",
    "server {\ngcs_auth raeder;\nlocation / { } }",
    "server { location / {\ngcs_auth raeder;\nreturn 200; } }",
    "server { location / {\ngcs_auth raeder;\nlocation /a { } } }",
    "gcs_auth raeder;\nserver { location / {\ngcs_auth reader;\n} }",
])
def test_the_line_of_the_wrong_name_is_told_wherever_it_stands(
        nginx, emulator, key_file, text):
    http = "gcs_credentials reader { file %%KEY%%; }\n" + text
    server = nginx(http, start=False)
    tested = server.test()
    assert tested.returncode == 1
    lines = [line for line in tested.stderr.splitlines() if "[emerg]" in line]
    wanted = [number for number, line in enumerate(
        server.conf.read_text().splitlines(), 1) if "raeder" in line]
    assert len(lines) == 1
    assert re.search(rf'unknown "gcs_auth" name "raeder".* in .*'
                     rf'nginx\.conf:{wanted[0]}$', lines[0]), tested.stderr


def test_credentials_may_come_after_their_use(nginx, emulator, key_file,
                                              bucket):
    emulator.put_object(bucket, "a", b"hi")
    server = nginx("""
        server { listen 127.0.0.1:%%PORT%%; gcs_endpoint %%EMULATOR%%;
                 location /m/ { gcs_pass gs://test-bucket;
                                gcs_auth later; } }
        gcs_credentials later { file %%KEY%%; }""")
    assert server.get("/m/a").body == b"hi"


def test_the_log_tells_who_asks_for_each_location(nginx, emulator, key_file):
    server = nginx(conf(http="gcs_auth reader;", auth="", location="""
        location /n/ { gcs_pass gs://test-bucket; gcs_auth anonymous; }"""))
    for location, name in (("/m/", "reader"), ("/n/", "anonymous")):
        pattern = (rf'\[notice\].*location "{location}" uses '
                   rf'gcs credentials "{name}"')
        assert len(re.findall(pattern, server.log())) == 1


def test_anonymous_sends_nothing(nginx, emulator, key_file):
    emulator.create_bucket("open", public=True)
    emulator.put_object("open", "a", b"public")
    emulator.put_object("test-bucket", "a", b"private")
    server = nginx("""
        gcs_auth anonymous; gcs_endpoint %%EMULATOR%%;
        server { listen 127.0.0.1:%%PORT%%;
                 location /o/ { gcs_pass gs://open; }
                 location /m/ { gcs_pass gs://test-bucket; } }""")
    assert server.get("/o/a").body == b"public"
    assert server.get("/m/a", {"Authorization": "Bearer x"}).status \
        in (403, 502)                      # GCS answers 401 or 403
    for record in emulator.requests("storage"):
        assert record["credential"] == "anonymous"
        assert "authorization" not in {n.lower() for n, _
                                       in record["headers"]}
    assert "token" not in emulator.counts()


def test_two_identities_stand_side_by_side(nginx, emulator, write_key,
                                           bucket):
    emulator.create_bucket("other-bucket")
    emulator.put_object(bucket, "a", b"one")
    emulator.put_object("other-bucket", "a", b"two")
    first = write_key(emulator.service_account(
        "first@p.iam.gserviceaccount.com", {bucket: ["objectViewer"]}),
        "1.json")
    second = write_key(emulator.service_account(
        "second@p.iam.gserviceaccount.com",
        {"other-bucket": ["objectViewer"]}, key="second"), "2.json")
    server = nginx(f"""
        gcs_credentials one {{ file {first}; }}
        gcs_credentials two {{ file {second}; }}
        gcs_credentials unused {{ file {first}; }}
        gcs_endpoint %%EMULATOR%%;
        map $arg_who $who {{ default one; 2 two; 3 three; }}
        server {{
            listen 127.0.0.1:%%PORT%%;
            location /1/ {{ gcs_pass gs://test-bucket; gcs_auth one; }}
            location /2/ {{ gcs_pass gs://other-bucket; gcs_auth two; }}
            location /wrong/ {{ gcs_pass gs://other-bucket; gcs_auth one; }}
            location /map/ {{ gcs_pass gs://other-bucket; gcs_auth $who; }}
        }}""")
    for _ in range(2):
        assert server.get("/1/a").body == b"one"
        assert server.get("/2/a").body == b"two"
        assert server.get("/wrong/a").status == 403
        assert server.get("/map/a").status == 403
        assert server.get("/map/a?who=2").body == b"two"
    emulator.reset_requests()
    assert server.get("/map/a?who=3").status == 500
    assert '"gcs_auth" yields "three"' in server.log()
    assert emulator.requests("storage") == []

    server.get("/1/a")
    server.get("/2/a")
    assert [r["account"] for r in emulator.requests("storage")] == [
        "first@p.iam.gserviceaccount.com", "second@p.iam.gserviceaccount.com"]


# what is asked for


@pytest.mark.parametrize("inside, methods, scope", [
    ("", "", READ), ("", "gcs_methods GET HEAD PUT;", WRITE),
    (f"scope {FULL};", "", FULL),
    (f"scope {READ} {WRITE};", "gcs_methods GET PUT;", f"{READ} {WRITE}"),
])
def test_the_scope_is_the_least_that_is_needed(nginx, emulator, key_file,
                                               bucket, inside, methods,
                                               scope):
    emulator.put_object(bucket, "a", b"hi")
    server = nginx(conf(f"file %%KEY%%; {inside}",
                        auth=f"gcs_auth reader; {methods}"))
    assert server.get("/m/a").body == b"hi"
    token, = emulator.requests("token")
    assert token["assertion"]["claims"]["scope"] == scope


def test_the_timeout_of_a_fetch_is_heeded(nginx, emulator, key_file):
    emulator.fault(kind="token", hang=True, count=None)
    server = nginx(conf("file %%KEY%%; timeout 300ms;"))
    start = time.monotonic()
    assert server.get("/m/a").status == 502
    assert time.monotonic() - start < 3


def test_the_token_endpoint_is_verified(nginx, emulator, key_file, bucket,
                                        tmp_path):
    emulator.put_object(bucket, "a", b"hi")
    tls = "file %%KEY%%; token_endpoint %%EMULATOR_TLS%%/token;"
    server = nginx(conf(tls + "ssl_trusted_certificate %%CA%%;"))
    assert server.get("/m/a").body == b"hi"
    assert [r["tls"] for r in emulator.requests("token")] == [True]

    (tmp_path / "other").mkdir()
    other = certificates.create(str(tmp_path / "other"))[0]
    for ca in ("", f"ssl_trusted_certificate {other};"):
        emulator.reset_requests()
        server = nginx(conf(tls + ca))
        assert server.get("/m/a").status == 502
        assert emulator.counts() == {}
        assert re.search("certificate", server.log())


def test_the_environment_names_no_proxy(nginx, emulator, key_file, bucket):
    emulator.put_object(bucket, "a", b"hi")
    dead = f"http://127.0.0.1:{free_port()}"
    server = nginx(conf(), env={"http_proxy": dead, "https_proxy": dead,
                                "ALL_PROXY": dead},
                   main="env http_proxy; env https_proxy; env ALL_PROXY;")
    assert server.get("/m/a").body == b"hi"


def test_a_proxy_that_is_named_is_used(nginx, emulator, key_file, bucket):
    server = nginx(conf("file %%KEY%%; proxy http://127.0.0.1:%%DEAD%%;"),
                   DEAD=free_port())
    assert server.get("/m/a").status == 502
    assert emulator.counts() == {}


# nginx -t


@pytest.mark.parametrize("inside", [
    "file %%KEY%%;", "file %%KEY%%; token_endpoint %%EMULATOR_TLS%%/token;"])
def test_nginx_t_asks_nobody(nginx, emulator, key_file, inside):
    server = nginx(conf(inside), start=False)
    before = emulator.open_connections()
    for _ in range(3):
        tested = server.test()
        assert tested.returncode == 0, tested.stderr
    assert emulator.counts() == {}
    assert emulator.open_connections() == before


@without_sanitizers
def test_nginx_t_makes_no_connection_at_all(nginx, emulator, key_file):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    server = nginx(conf(), start=False)
    traced = subprocess.run(
        [strace, "-f", "-e", "trace=connect,sendto,sendmsg", binary(), "-t",
         "-p", str(server.dir), "-c", str(server.conf), "-e", "stderr"],
        capture_output=True, text=True)
    assert traced.returncode == 0, traced.stderr
    assert "AF_INET" not in traced.stderr
