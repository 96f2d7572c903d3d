"""Credentials that change, and endpoints that fail, while nginx works: nobody
waits, nobody is refused, and nothing but a notice needs to be read."""

from __future__ import annotations

import ctypes
import grp
import hashlib
import hmac
import json
import os
import pwd
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import load
from harness.nginx import SLOWNESS, free_port, wait_until
from test_load import (Endpoint, compare, half_a_handshake,  # noqa: F401
                       silence, silent_name_server, trickle)

DOMAIN = "@demo-project.iam.gserviceaccount.com"
CREATOR = "roles/iam.serviceAccountTokenCreator"
TARGET = "target" + DOMAIN
FILE = 25       # seconds: files are looked at every 15, and then some

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def replace(path: Path, content) -> None:
    """As every tool should: no one ever sees half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(content if isinstance(content, str)
                   else json.dumps(content))
    os.replace(new, path)


def secret(number: int) -> str:
    return (f"{number}" * 8 + "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ")[:40]


def header(request, name: str) -> str:
    value, = [v for n, v in request["headers"] if n.lower() == name]
    return value


def signature(request, key: str) -> bool:
    """Whether this secret has signed the request, by Google's V4 process."""
    match = re.fullmatch(
        r"GOOG4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/storage/"
        r"goog4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        header(request, "authorization"))
    assert match, "not a signature"
    _, date, region, names, signed = match.groups()
    canonical = "\n".join([
        request["method"], *request["target"].partition("?")[::2],
        *(f"{name}:{header(request, name)}" for name in names.split(";")),
        "", names, header(request, "x-goog-content-sha256")])
    text = "\n".join([
        "GOOG4-HMAC-SHA256", header(request, "x-goog-date"),
        f"{date}/{region}/storage/goog4_request",
        hashlib.sha256(canonical.encode()).hexdigest()])
    made = b"GOOG4" + key.encode()
    for part in (date, region, "storage", "goog4_request", text):
        made = hmac.digest(made, part.encode(), "sha256")
    return made.hex() == signed


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a", b"hi")
    # for HMAC keys: whoever asks, it is there
    emulator.fault(kind="storage", path="^/signed-bucket/", status=200,
                   body="hi", count=None)
    return emulator


class Files:
    """Credentials of every kind that lives in a file."""

    names = ("key", "login", "pool", "broken", "gone", "hmac")

    def __init__(self, google, folder: Path):
        self.google, self.folder = google, folder
        self.provider = google.add_provider()
        (folder / "data1").mkdir()
        (folder / "data").symlink_to("data1")
        self.token(1, "data1")
        (folder / "pool").write_text(json.dumps(google.external_account_file(
            self.provider, google.file_source(folder / "data" / "token"))))
        for name in ("key", "broken", "gone"):
            self.key(name, 1)
        self.login(1)
        self.hmac(1)

    def key(self, name: str, number: int) -> None:
        replace(self.folder / name, self.google.service_account(
            f"{name}-{number}{DOMAIN}", {"test-bucket": ["objectViewer"]}))

    def login(self, number: int) -> None:
        replace(self.folder / "login", self.google.authorized_user_file(
            f"login-{number}@example.com",
            grants={"test-bucket": ["objectViewer"]}))

    def token(self, number: int, folder: str) -> None:
        """As the kubelet does it: a link changes, not the file."""
        subject = f"pool-{number}"
        self.google.grant(self.provider.principal(subject), "test-bucket",
                          ["objectViewer"])
        (self.folder / folder).mkdir(exist_ok=True)
        (self.folder / folder / "token").write_text(
            self.google.oidc_token(self.provider, subject) + "\n")
        (self.folder / "data.new").symlink_to(folder)
        os.replace(self.folder / "data.new", self.folder / "data")

    def hmac(self, number: int) -> None:
        replace(self.folder / "hmac", secret(number) + "\n")

    def configuration(self) -> str:
        text = "".join(
            f"gcs_credentials {name} {{ file {self.folder}/{name}; %s }}\n"
            % ("token_endpoint %%EMULATOR%%/token;" if name == "login"
               else "") for name in self.names if name != "hmac")
        text += f"""
            gcs_credentials hmac {{ hmac_key GOOG1X {self.folder}/hmac; }}
            gcs_endpoint %%EMULATOR%%;
            server {{
                listen 127.0.0.1:%%PORT%% reuseport;
                add_header X-Worker $pid always;
        """
        for name in self.names:
            bucket = "signed" if name == "hmac" else "test"
            text += (f"location /{name}/ {{ gcs_pass gs://{bucket}-bucket; "
                     f"gcs_auth {name}; }}\n")
        return text + "}"


@pytest.fixture
def files(google, tmp_path) -> Files:
    folder = tmp_path / "files"
    folder.mkdir()
    return Files(google, folder)


def asks(server, google, name: str, times: int = 1) -> list[dict]:
    """The storage requests of so many reads, on connections of their own."""
    before = len(google.requests("storage"))
    for _ in range(times):
        assert server.get(f"/{name}/a").body == b"hi"
    made = [r for r in google.requests("storage")[before:]
            if ("signed" in r["target"] if name == "hmac"
                else f"{name}-" in (r["account"] or ""))]
    assert len(made) >= times
    return made


def account(server, google, name: str) -> str:
    return asks(server, google, name)[-1]["account"].rpartition("/")[2] \
        .partition("@")[0]


def test_what_is_replaced_on_disk_is_used_without_a_reload(nginx, google,
                                                           files):
    """Three times, under load, by four workers."""
    server = nginx(files.configuration(), workers=4,
                   secrets=[secret(i) for i in range(1, 5)])
    asks_of = ("key", "login", "pool", "broken", "gone")
    assert {account(server, google, n) for n in asks_of} == {
        f"{n}-1" for n in asks_of}
    assert all(signature(r, secret(1))
               for r in asks(server, google, "hmac", 20))

    with load.Load(server.port, [f"/{n}/a" for n in asks_of], connections=4,
                   rate=20, expect=b"hi") as result:
        # the second
        files.key("key", 2)
        files.login(2)
        files.token(2, "data2")
        files.hmac(2)
        replace(files.folder / "broken", '{"type": "service_account",\n')
        (files.folder / "gone").unlink()
        for name in ("key", "login", "pool"):
            wait_until(lambda: account(server, google, name) == f"{name}-2",
                       FILE, f"{name} is not replaced")
        wait_until(lambda: all(signature(r, secret(2)) for r in
                               asks(server, google, "hmac", 20)), FILE)
        server.wait_log('"broken".*has been replaced, but', FILE)
        assert account(server, google, "broken") == "broken-1"
        assert account(server, google, "gone") == "gone-1"

        # the third; nobody uses the HMAC key in between
        files.key("key", 3)
        files.key("broken", 3)
        files.key("gone", 3)
        files.hmac(3)
        for name in ("key", "broken", "gone"):
            wait_until(lambda: account(server, google, name) == f"{name}-3",
                       FILE, f"{name} is not replaced")
        server.wait_log('"hmac": file ".*/hmac" has been replaced and is',
                        FILE, count=2)

        # the fourth
        files.hmac(4)
        replace(files.folder / "key", "")
        server.wait_log('"hmac": file ".*/hmac" has been replaced and is',
                        FILE, count=3)
        wait_until(lambda: all(signature(r, secret(4)) for r in
                               asks(server, google, "hmac", 20)), FILE)
        server.wait_log('"key".*has been replaced, but', FILE)
        assert account(server, google, "key") == "key-3"

    assert set(result.kinds) == {200} and result.total > 200
    # each of the broken ones is told once, whoever of the four saw it
    for name, why in (("broken", "not valid JSON: unexpected end in line 2"),
                      ("key", "the file is empty")):
        line, = server.lines("error", f'"{name}", file ".*" has been '
                             "replaced, but the old credential is kept: ")
        assert why in line
    for name, times in (("key", 2), ("login", 1), ("broken", 1)):
        assert len(server.lines("notice", f'"{name}": file ".*" has been '
                                "replaced and is used now")) == times, name
    assert "worker process" not in "".join(server.lines("alert"))
    assert not re.search("Worker|reconfiguring", server.log())


def test_a_new_file_of_the_same_content_costs_no_more_than_a_fetch(
        nginx, google, files):
    """A tool that writes it every second must not make a storm."""
    server = nginx(files.configuration(), workers=2)
    text = (files.folder / "key").read_text()
    server.wait_log("refreshed", count=5)
    google.reset_requests()
    for _ in range(40):
        replace(files.folder / "key", text)
        assert server.get("/key/a").body == b"hi"
    assert google.counts().get("token", 0) <= 2


# files that workers may not read

@pytest.fixture
def nobody() -> str:
    user = pwd.getpwnam("nobody")
    return f"nobody {grp.getgrgid(user.pw_gid).gr_name}"


@pytest.fixture
def open_folder(tmp_path):
    """That nobody may enter, unlike a test's own."""
    folder = Path(tempfile.mkdtemp(prefix="gcs-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


UNREADABLE = "cannot be read by worker processes; when it has been " \
    "replaced, reload nginx"


@as_root
def test_a_file_that_workers_may_not_read_is_noticed_at_start(
        nginx, google, bucket, open_folder, nobody):
    grants = {bucket: ["objectViewer"]}
    paths = {name: open_folder / name for name in
             ("closed", "open", "secret", "secret-open")}
    for name in ("closed", "open"):
        paths[name].write_text(google.service_account(
            f"{name}-1{DOMAIN}", grants))
    for name in ("secret", "secret-open"):
        paths[name].write_text(secret(1))
    for name, path in paths.items():
        path.chmod(0o644 if "open" in name else 0o600)

    server = nginx(f"""
        gcs_credentials closed {{ file {paths['closed']}; }}
        gcs_credentials again  {{ file {paths['closed']}; }}
        gcs_credentials open   {{ file {paths['open']}; }}
        gcs_credentials hmac   {{ hmac_key GOOG1X {paths['secret']}; }}
        gcs_credentials hmac2  {{ hmac_key GOOG1X {paths['secret-open']}; }}
        gcs_endpoint %%EMULATOR%%;
        server {{
            listen 127.0.0.1:%%PORT%%;
            location /closed/ {{ gcs_pass gs://test-bucket;
                                 gcs_auth closed; }}
            location /hmac/ {{ gcs_pass gs://signed-bucket; gcs_auth hmac; }}
        }}""", workers=4, user=nobody, secrets=[secret(1), secret(2)])
    # which the master has read
    assert account(server, google, "closed") == "closed-1"
    assert signature(asks(server, google, "hmac")[0], secret(1))
    for name, path in (("closed", paths["closed"]),
                       ("hmac", paths["secret"])):
        server.wait_log(UNREADABLE, count=2)
        assert len(server.lines("notice", f'"{name}": file "{path}" '
                                + UNREADABLE)) == 1
    assert len(server.lines("notice", "cannot be read")) == 2

    # and then it is as the notice says
    replace(paths["closed"], google.service_account(
        "closed-2" + DOMAIN, grants))
    replace(paths["secret"], secret(2))
    paths["closed"].chmod(0o600)
    paths["secret"].chmod(0o600)
    server.reload(old_gone=True)
    assert account(server, google, "closed") == "closed-2"
    assert signature(asks(server, google, "hmac")[0], secret(2))
    assert server.lines("error") == server.lines("warn") == []


@as_root
def test_a_subject_token_that_workers_may_not_read_is_an_error(
        nginx, google, open_folder, nobody):
    """It must be read again and again."""
    provider = google.add_provider()
    token = open_folder / "token"
    token.write_text(google.oidc_token(provider))
    token.chmod(0o600)
    file = open_folder / "file"
    file.write_text(json.dumps(google.external_account_file(
        provider, google.file_source(token))))
    server = nginx(f"""
        gcs_credentials pool {{ file {file}; }}
        gcs_endpoint %%EMULATOR%%;
        server {{
            listen 127.0.0.1:%%PORT%%;
            location /m/ {{ gcs_pass gs://test-bucket; gcs_auth pool;
                            add_header X-Error $gcs_error always; }}
        }}""", user=nobody)
    server.wait_log("could not be fetched")
    line, = server.lines("error", "could not be fetched")
    assert f'open() "{token}" failed (13: Permission denied)' in line
    answer = server.get("/m/a")
    assert (answer.status, answer.get("X-Error")) == (
        502, "invalid_subject_token")

    # once it may be read, it is
    token.chmod(0o644)
    google.grant(provider.principal("system:serviceaccount:default:reader"),
                 "test-bucket", ["objectViewer"])
    wait_until(lambda: server.get("/m/a").status == 200)


# what does not answer

def test_no_endpoint_that_hangs_slows_anybody_else(  # noqa: F811
        nginx, google, files, silent_name_server, tmp_path):
    """Every step of every kind, hung, slow, refused or unnamed, all of the
    time, and requests that wait for it."""
    keep = "keepalive_requests 1000000;"
    ping = """
        server { listen 127.0.0.1:%%PORT%%;
                 location = /ping { return 200 pong; } @@ }"""
    quiet = nginx("access_log off;" + keep + ping.replace("@@", ""))
    with Endpoint(silence) as silent, Endpoint(half_a_handshake) as half, \
            Endpoint(trickle) as slow:
        hung = f"http://127.0.0.1:{silent.port}"
        tls = f"https://127.0.0.1:{half.port}"
        drip = f"http://127.0.0.1:{slow.port}"
        dead = f"http://127.0.0.1:{free_port()}"
        google.set_policy("key-1" + DOMAIN, {})
        url = tmp_path / "url.json"
        url.write_text(json.dumps(google.external_account_file(
            files.provider, google.url_source(hung + "/token"))))
        key, pool = files.folder / "key", files.folder / "pool"
        blocks = [f"metadata_server 127.0.0.1:{silent.port};",
                  f"metadata_server 127.0.0.1:{slow.port};",
                  f"metadata_server {dead.partition('//')[2]};",
                  f"file {files.folder}/login; token_endpoint {tls}/token;",
                  f"file {url};"]
        for where in (hung, tls, drip, dead, "https://sts.invalid"):
            blocks.append(f"file {pool}; sts_endpoint {where}/v1/token;")
            blocks.append(f"file {key}; impersonate {TARGET}; "
                          f"iam_endpoint {where};")
        text = "access_log off; gcs_endpoint %%EMULATOR%%;" \
            "gcs_token_timeout 100s;" + keep
        places = ""
        for i, block in enumerate(blocks):
            text += f"gcs_credentials c{i} {{ {block} timeout 100s; }}\n"
            places += (f"location /{i}/ {{ gcs_pass gs://test-bucket; "
                       f"gcs_auth c{i}; }}\n")
        troubled = nginx(text + ping.replace("@@", places))
        troubled.graceful = False
        wait_until(lambda: len(silent.connections) >= 4
                   and len(slow.connections) >= 3
                   and len(half.connections) >= 3)
        for i in range(len(blocks)):
            for _ in range(6):
                troubled.connect().send(f"GET /{i}/a HTTP/1.1\r\nHost: a\r\n"
                                        "\r\n".encode())
        compare(quiet, troubled)
        # what failed is what was refused
        failed = {line.partition('credentials "')[2].partition('"')[0]
                  for line in troubled.lines("error", "could not be fetched")}
        refused = {f"c{i}" for i, b in enumerate(blocks) if dead in b}
        assert failed == refused and len(refused) == 2


def libcurl() -> tuple[int, ...]:
    version = ctypes.CDLL("libcurl.so.4").curl_version
    version.restype = ctypes.c_char_p
    match = re.match(rb"libcurl/(\d+)\.(\d+)", version())
    return tuple(map(int, match.groups()))


@pytest.mark.skipif(libcurl() < (7, 87), reason="this libcurl keeps nothing")
def test_the_certificates_of_the_system_are_read_once(nginx, google, files):
    """To parse them takes a time in which the worker does nothing else; by
    the processor time of 16 handshakes with them and with a single one."""
    ticks = os.sysconf("SC_CLK_TCK")

    def spent(more: str) -> float:
        with Endpoint(silence) as endpoint:
            server = nginx("".join(
                f"gcs_credentials c{i} {{ file {files.folder}/key; {more} "
                f"token_endpoint https://127.0.0.1:{endpoint.port}/?{i}; }}\n"
                for i in range(16)), server="location / { return 200; }")
            wait_until(lambda: len(endpoint.connections) == 16)
            server.get("/")
            worker, = server.children()
            text = Path(f"/proc/{worker}/stat").read_text()
            server.stop()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    one = spent("ssl_trusted_certificate %%CA%%;")
    assert spent("") < one + 0.2 * SLOWNESS


def test_all_comes_back_after_an_outage(nginx, google, bucket, files):
    """Of every endpoint at once; until then tokens are used to their end."""
    google.add_service_account(TARGET, grants={bucket: "objectViewer"},
                               policy={CREATOR: ["serviceAccount:key-1"
                                                 + DOMAIN]})
    google.metadata_account("attached" + DOMAIN,
                            grants={bucket: "objectViewer"})
    google.configure(token_lifetime=5)
    auth = {"key": f"file {files.folder}/key;",
            "login": f"file {files.folder}/login; "
                     "token_endpoint %%EMULATOR%%/token;",
            "pool": f"file {files.folder}/pool;",
            "vm": f"metadata_server {google.metadata_host};",
            "on": f"file {files.folder}/key; impersonate {TARGET}; "
                  "iam_endpoint %%EMULATOR%%;"}
    server = nginx(
        "".join(f"gcs_credentials {n} {{ {b} timeout 2s; }}\n"
                for n, b in auth.items())
        + "gcs_endpoint %%EMULATOR%%; server { listen 127.0.0.1:%%PORT%%;"
        + "".join(f"location /{n}/ {{ gcs_pass gs://test-bucket; "
                  f"gcs_auth {n}; }}\n" for n in auth) + "}", workers=2)

    def statuses() -> set[int]:
        return {server.get(f"/{name}/a").status for name in auth}

    assert statuses() == {200}
    for kind in ("token", "sts", "iam", "metadata"):
        google.fault(kind=kind, status=503, count=None)
    server.wait_log("could not be fetched", count=len(auth))
    assert statuses() == {200}
    assert server.lines("error", "could not be fetched") == []
    wait_until(lambda: statuses() == {502})
    google.clear_faults()
    wait_until(lambda: statuses() == {200}, 15)
    assert {r["status"] for r in google.requests("storage")} == {200}
