"""Several identities in one configuration, and what they have in common:
quota projects, universes, endpoints, and that there may be very many."""

from __future__ import annotations

import base64
import json
import re
import resource
import socket
import threading
import time
from typing import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from emulator import signing_key
from harness.nginx import SLOWNESS, wait_until

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
READ = AUTH + "devstorage.read_only"
CREATOR = "roles/iam.serviceAccountTokenCreator"
DOMAIN = "@demo-project.iam.gserviceaccount.com"
ATTACHED = "attached" + DOMAIN
TARGET = "target" + DOMAIN
PERSON = "someone@example.com"
KEY = signing_key("default")
SECRET = "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ"


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a", b"hi")
    return emulator


@pytest.fixture
def write(tmp_path):
    def make(name: str, file) -> str:
        path = tmp_path / name
        path.write_text(file if isinstance(file, str) else json.dumps(file))
        return str(path)
    return make


@pytest.fixture
def key(google, bucket, write) -> str:
    return write("key.json", google.service_account(
        "key" + DOMAIN, {bucket: ["objectViewer"]}))


def header(request, name: str) -> str | None:
    values = [v for n, v in request["headers"] if n.lower() == name]
    assert len(values) <= 1
    return values[0] if values else None


def locations(**auth: str) -> str:
    """A server with a location /NAME/ for each, with this in it."""
    return """
        gcs_endpoint %%EMULATOR%%;
        server {
            listen 127.0.0.1:%%PORT%%;
            add_header X-Error $gcs_error always;
        """ + "".join(f"location /{name}/ {{ gcs_pass gs://test-bucket; "
                      f"{text} }}\n" for name, text in auth.items()) + "}"


# side by side

def test_each_location_asks_as_its_own(nginx, google, bucket, write, key):
    """Every kind of identity in one configuration."""
    grants = {bucket: ["objectViewer"]}
    google.metadata_account(ATTACHED, grants=grants)
    google.add_service_account(TARGET, grants=grants, policy={
        CREATOR: ["serviceAccount:" + ATTACHED]})
    login = write("login.json", google.authorized_user_file(
        PERSON, grants=grants))
    provider = google.add_provider()
    subject = provider.principal("system:serviceaccount:default:reader")
    google.grant(subject, bucket, ["objectViewer"])
    token = write("token", google.oidc_token(provider))
    federated = write("federated.json", google.external_account_file(
        provider, google.file_source(token)))
    secret = write("secret", SECRET)
    server = nginx(f"""
        gcs_credentials key  {{ file {key}; }}
        gcs_credentials vm   {{ metadata_server {google.metadata_host}; }}
        gcs_credentials on   {{ metadata_server {google.metadata_host};
                                impersonate {TARGET};
                                iam_endpoint %%EMULATOR%%; }}
        gcs_credentials me   {{ file {login};
                                token_endpoint %%EMULATOR%%/token; }}
        gcs_credentials pool {{ file {federated}; }}
        gcs_credentials hmac {{ hmac_key GOOG1EXAMPLE {secret}; }}
        """ + locations(
            **{name: f"gcs_auth {name};" for name in
               ("key", "vm", "on", "me", "pool", "hmac", "anonymous")},
            default="") + "\n",
        env={"GCE_METADATA_HOST": google.metadata_host}, secrets=[SECRET])
    accounts = {"key": "key" + DOMAIN, "vm": ATTACHED, "on": TARGET,
                "me": PERSON, "pool": subject, "default": ATTACHED}
    for _ in range(2):
        for name, account in accounts.items():
            assert server.get(f"/{name}/a").body == b"hi", name
            assert google.requests("storage")[-1]["account"] == account
            assert server.lines("notice", f'location "/{name}/" uses gcs '
                                f'credentials "{name}"')
    google.reset_requests()
    server.get("/hmac/a")
    server.get("/anonymous/a")
    signed, plain = [header(r, "authorization")
                     for r in google.requests("storage")]
    assert plain is None
    assert signed.startswith("GOOG4-HMAC-SHA256 Credential=GOOG1EXAMPLE/")
    assert server.lines("warn") == []


def test_a_map_chooses_by_the_bucket(nginx, google, write, key):
    google.create_bucket("films")
    google.put_object("films", "a", b"film")
    google.create_bucket("open", public=True)
    google.put_object("open", "a", b"open")
    other = write("films.json", google.service_account(
        "films" + DOMAIN, {"films": ["objectViewer"]}))
    server = nginx(f"""
        gcs_credentials reader {{ file {key}; }}
        gcs_credentials films  {{ file {other}; }}
        gcs_endpoint %%EMULATOR%%;
        map $gcs_bucket $who {{
            films films; open anonymous; default reader; }}
        server {{
            listen 127.0.0.1:%%PORT%%;
            location ~ ^/(?<bucket>[^/]+)/(?<object>.+)$ {{
                gcs_pass    gs://$bucket/$object;
                gcs_buckets films open test-bucket;
                gcs_auth    $who;
                add_header  X-Who $gcs_credentials;
            }}
        }}""")
    expected = {"test-bucket": ("reader", b"hi", "key" + DOMAIN),
                "films": ("films", b"film", "films" + DOMAIN),
                "open": ("anonymous", b"open", None)}
    for _ in range(3):
        for name, (who, body, account) in expected.items():
            answer = server.get(f"/{name}/a")
            assert (answer.body, answer.get("X-Who")) == (body, who)
            assert google.requests("storage")[-1]["account"] == account
    assert google.counts()["token"] == 2


@pytest.mark.parametrize("value", [
    "default", "signature", "nobody", "READER", "reader ", "", "$who"])
def test_a_value_that_no_block_declares_is_nobody(nginx, google, key, value):
    """A client must not be able to invent an identity."""
    server = nginx(
        f'gcs_credentials reader {{ file {key}; }}'
        'map $http_who $who { default $http_who; }'
        + locations(m="gcs_auth $who;"))
    google.reset_requests()
    assert server.get("/m/a", {"Who": "reader"}).body == b"hi"
    assert server.get("/m/a", {"Who": value}).status == (
        200 if value.strip() == "reader" else 500)
    assert len(google.requests("storage")) == (
        2 if value.strip() == "reader" else 1)


# one slot for one identity

def test_the_same_identity_is_fetched_once(nginx, google, bucket, write, key):
    grants = {bucket: ["objectViewer"]}
    google.metadata_account(ATTACHED, grants=grants)
    google.add_service_account(TARGET, grants=grants, policy={
        CREATOR: ["serviceAccount:key" + DOMAIN]})
    login = write("login.json", google.authorized_user_file(
        PERSON, grants=grants))
    blocks = {
        "key": f"file {key};",
        "vm": f"metadata_server {google.metadata_host};",
        "on": f"file {key}; impersonate {TARGET}; "
              "iam_endpoint %%EMULATOR%%;",
        "me": f"file {login}; token_endpoint %%EMULATOR%%/token;"}
    text, auth = "", {}
    for name, block in blocks.items():
        # a time-out, a name or what is the default anyway change nothing
        for i, more in enumerate(("", "timeout 3s;",
                                  "" if name == "me" else f"scope {READ};")):
            text += f"gcs_credentials {name}{i} {{ {block} {more} }}\n"
            auth[f"{name}{i}"] = f"gcs_auth {name}{i};"
    server = nginx(text + locations(**auth), workers=2)
    for name in auth:
        assert server.get(f"/{name}/a").body == b"hi", name
    counts = google.counts()
    # the key, the key for the account, the login
    assert (counts["token"], counts["iam"], counts["metadata"]) == (3, 1, 2)
    values = {(r["account"], header(r, "authorization"))
              for r in google.requests("storage")}
    assert len(values) == 4


@pytest.mark.parametrize("first, second", [
    ("", f"scope {CLOUD};"),
    (f"impersonate {TARGET};", ""),
    (f"impersonate {TARGET};", f"impersonate {TARGET}; token_lifetime 30m;"),
    (f"impersonate {TARGET};", f"impersonate {TARGET} key{DOMAIN};"),
    ("", "token_endpoint %%EMULATOR%%/token?x;"),
])
def test_what_decides_about_the_token_makes_another(nginx, google, bucket,
                                                    key, first, second):
    google.configure(token_audiences=[google.token_uri + "?x"])
    google.add_service_account(TARGET, grants={bucket: "objectViewer"},
                               policy={CREATOR: ["serviceAccount:key"
                                                 + DOMAIN]})
    google.set_policy("key" + DOMAIN, {CREATOR: ["serviceAccount:key"
                                                 + DOMAIN]})
    end = "iam_endpoint %%EMULATOR%%;"
    server = nginx(
        f"gcs_credentials a {{ file {key}; {first} {end} }}"
        f"gcs_credentials b {{ file {key}; {second} {end} }}"
        + locations(a="gcs_auth a;", b="gcs_auth b;"))
    assert server.get("/a/a").body == server.get("/b/a").body == b"hi"
    one, two = [header(r, "authorization")
                for r in google.requests("storage")]
    assert one != two and google.counts()["token"] == 2


# who pays

def paid_by(google) -> str | None:
    return header(google.requests("storage")[-1], "x-goog-user-project")


def test_the_quota_project_is_sent_and_the_locations_own_wins(nginx, google,
                                                              key):
    google.configure(projects=["demo-project", "other-project"])
    server = nginx(
        f"gcs_credentials paid {{ file {key}; quota_project demo-project; }}"
        f"gcs_credentials free {{ file {key}; }}"
        "map $arg_who $who { default free; paid paid; }"
        + locations(
            paid="gcs_auth paid;", free="gcs_auth free;",
            own="gcs_auth paid; gcs_user_project other-project;",
            var="gcs_auth paid; gcs_user_project $arg_p;",
            map="gcs_auth $who;"))
    for path, project in (
            ("/paid/a", "demo-project"), ("/free/a", None),
            ("/own/a", "other-project"), ("/map/a", None),
            ("/map/a?who=paid", "demo-project"), ("/map/a", None),
            ("/var/a?p=other-project", "other-project")):
        assert server.get(path).body == b"hi", path
        assert paid_by(google) == project, path
    # the same account, hence the same token
    assert google.counts()["token"] == 1


def test_requester_pays_is_paid_by_the_quota_project(nginx, google, bucket,
                                                     key):
    google.update_bucket(bucket, requester_pays=True)
    server = nginx(
        f"gcs_credentials paid {{ file {key}; quota_project demo-project; }}"
        f"gcs_credentials free {{ file {key}; }}"
        + locations(paid="gcs_auth paid;", free="gcs_auth free;"))
    assert server.get("/paid/a").body == b"hi"
    answer = server.get("/free/a")
    assert (answer.status, answer.get("X-Error")) == (502,
                                                      "UserProjectMissing")
    line, = server.lines("error", "UserProjectMissing")
    assert 'set "gcs_user_project"' in line


@pytest.mark.parametrize("value", ["'a b'", '""', "'$x'", "'a\tb'"])
def test_a_quota_project_that_cannot_be_is_refused(nginx, google, key,
                                                   value):
    line = nginx(f"gcs_credentials x {{ file {key}; "
                 f"quota_project {value}; }}", start=False).refusal()
    assert '"quota_project"' in line


# other universes

UD = "example.goog"


@pytest.fixture
def foreign(google, write) -> str:
    """A key of another universe."""
    file = json.loads(google.service_account("key" + DOMAIN))
    return write("foreign.json", {**file, "universe_domain": UD})


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_in_another_universe_the_key_signs_the_token_itself(
        nginx, google, foreign):
    server = nginx(
        f"gcs_credentials ud {{ file {foreign}; universe_domain {UD}; }}"
        + locations(m="gcs_auth ud;"))
    now = time.time()
    server.get("/m/a")                     # the emulator is not of it
    request = google.requests("storage")[0]
    assert google.counts().get("token") is None
    scheme, _, token = header(request, "authorization").partition(" ")
    assert scheme == "Bearer"
    head, claims, signature = token.split(".")
    assert json.loads(decoded(head)) == {
        "alg": "RS256", "typ": "JWT", "kid": KEY.id}
    told = json.loads(decoded(claims))
    assert abs(told.pop("iat") - now) < 5
    assert abs(told.pop("exp") - now - 3600) < 5
    assert told == {"iss": "key" + DOMAIN, "sub": "key" + DOMAIN,
                    "scope": READ}
    load_pem_public_key(KEY.public_pem.encode()).verify(
        decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())


def test_such_a_token_is_kept_while_it_is_valid(nginx, google, foreign):
    server = nginx(
        f"gcs_credentials ud {{ file {foreign}; universe_domain {UD}; }}"
        + locations(m="gcs_auth ud;"))
    google.fault(kind="storage", status=200, body="hi", count=None)
    assert {server.get("/m/a").body for _ in range(5)} == {b"hi"}
    assert len({header(r, "authorization")
                for r in google.requests("storage")}) == 1
    server.wait_log(r"refreshed, expires in 3[56]\d\d s")


@pytest.mark.parametrize("said, configured, word", [
    (UD, None, f'"{UD}", the configured "universe_domain" is '
     '"googleapis.com"'),
    ("googleapis.com", UD, '"googleapis.com", the configured '
     f'"universe_domain" is "{UD}"'),
    (None, UD, f'"googleapis.com", the configured "universe_domain" is '
     f'"{UD}"'),
    ("evil.goog", UD, f'"evil.goog", the configured "universe_domain" is '
     f'"{UD}"'),
])
def test_a_file_of_another_universe_is_refused(nginx, google, write, said,
                                               configured, word):
    """A file must not choose by itself whose endpoints are trusted."""
    file = json.loads(google.service_account())
    del file["universe_domain"]
    if said:
        file["universe_domain"] = said
    path = write("ud.json", file)
    more = f"universe_domain {configured};" if configured else ""
    line = nginx(f"gcs_credentials ud {{ file {path}; {more} }}",
                 start=False).refusal()
    assert 'member "universe_domain" is ' + word in line


def test_urls_in_a_file_are_pinned_to_the_universe(nginx, google, write):
    file = google.external_account_file(
        google.add_provider(), google.file_source("/nowhere"), google=True)
    for domain, url, good in (
            (UD, f"https://sts.{UD}/v1/token", True),
            (UD, "https://sts.googleapis.com/v1/token", False),
            ("googleapis.com", f"https://sts.{UD}/v1/token", False),
            (UD, f"https://sts.{UD}.evil.example/v1/token", False),
            (UD, "https://evilexample.goog/v1/token", False)):
        path = write("file.json", {**file, "universe_domain": domain,
                                   "token_url": url})
        server = nginx(f"gcs_credentials ud {{ file {path}; "
                       f"universe_domain {domain}; }}", start=False)
        if good:
            assert server.test().returncode == 0
        else:
            assert f'member "token_url" is not an https URL below "{domain}"' \
                in server.refusal()


def test_a_variable_needs_an_endpoint_beside_two_universes(nginx, google,
                                                           foreign, key):
    text = f"""
        gcs_credentials ud  {{ file {foreign}; universe_domain {UD}; }}
        gcs_credentials key {{ file {key}; }}
        map $arg_x $who {{ default key; }}
        """ + locations(m="gcs_auth $who;")
    assert nginx(text, start=False).test().returncode == 0
    line = nginx(text.replace("gcs_endpoint %%EMULATOR%%;", ""),
                 start=False).refusal()
    assert '"gcs_auth" with variables requires "gcs_endpoint"' in line
    assert '"ud"' in line


# Google's endpoints

class Proxy:
    """Notes to whom it is to connect, and connects to nobody."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[str] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                self.asked.append(sock.recv(4096).decode().split("\r\n")[0])
                sock.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


ENDPOINTS = [
    ("service_account", "oauth2"), ("authorized_user", "oauth2"),
    ("external_account", "sts"), ("federation", "sts"),
    ("external_account_authorized_user", "sts"),
    ("metadata", "iamcredentials")]


@pytest.mark.parametrize("kind, host, universe", [
    (kind, host, universe) for kind, host in ENDPOINTS
    for universe in ("googleapis.com", UD)
    if host != "oauth2" or universe != UD])    # there is none in another
def test_the_defaults_are_googles_own(nginx, google, write, proxy, universe,
                                      kind, host):
    """Or the universe's: as the proxy, which they are asked through, sees."""
    provider = google.add_provider()
    token = write("token", google.oidc_token(provider))
    google.metadata_account(ATTACHED)
    files = {
        "service_account": lambda: {
            k: v for k, v in json.loads(google.service_account()).items()
            if k != "token_uri"},
        "authorized_user": google.authorized_user_file,
        "external_account": lambda: google.external_account_file(
            provider, google.file_source(token), google=True),
        "external_account_authorized_user": lambda:
            google.external_account_authorized_user_file(google=True)}
    if kind in files:
        file = {**files[kind](), "universe_domain": universe}
        file.pop("token_url", None)
        source = f"file {write('file.json', file)};"
    elif kind == "metadata":
        source = (f"metadata_server {google.metadata_host};"
                  f"impersonate {TARGET};")
    else:
        source = ("workload_identity_pool p; workload_identity_provider x;"
                  f"project_number 123; subject_token file:{token};")
    server = nginx(f"""gcs_credentials x {{
        {source} universe_domain {universe};
        proxy http://127.0.0.1:{proxy.port}; }}""" + locations(
            m="gcs_auth x;"))
    server.wait_log("could not be fetched")
    assert set(proxy.asked) == {f"CONNECT {host}.{universe}:443 HTTP/1.1"}


# very many

MANY = 200


def test_two_hundred_start_at_once_and_live_their_own_lives(
        nginx, google, bucket, write):
    text, auth = "", {}
    for i in range(MANY):
        path = write(f"{i}.json", google.service_account(
            f"many-{i}{DOMAIN}", {bucket: ["objectViewer"]}))
        text += f"gcs_credentials c{i} {{ file {path}; }}\n"
        auth[f"c{i}"] = f"gcs_auth c{i};"

    # processor time, for the clock is also that of all other tests
    def parsed(text: str) -> float:
        server = nginx(text, start=False)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert server.test().returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime \
            + after.ru_stime - before.ru_stime

    alone = text.partition("\n")[0] + locations(c0=auth["c0"])
    text += locations(**auth)
    assert parsed(text) - parsed(alone) < 3 * SLOWNESS

    google.configure(token_lifetime=8)
    server = nginx(text, workers=2)

    def fetches() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for request in google.requests("token"):
            if request["account"] is not None:
                found.setdefault(request["account"], []).append(
                    request["time"])
        return found

    connection = server.connect()
    for i in range(MANY):
        assert connection.get(f"/c{i}/a").body == b"hi"
    assert [r["account"] for r in google.requests("storage")] \
        == [f"many-{i}{DOMAIN}" for i in range(MANY)]

    wait_until(lambda: len(fetches()) == MANY and min(
        map(len, fetches().values())) >= 3, 60)
    pauses = [b - a for times in fetches().values()
              for a, b in zip(times, times[1:])]
    # a quarter of the life before its end, more or less by a tenth of that
    assert all(4.5 < pause < 8 for pause in pauses), (min(pauses),
                                                      max(pauses))
    assert len({round(pause, 3) for pause in pauses}) > 50
    for i in range(0, MANY, 7):
        assert connection.get(f"/c{i}/a").body == b"hi"
    assert {r["status"] for r in google.requests("storage")} == {200}
    assert server.lines("warn") == server.lines("error") == []
    assert len(re.findall("token refreshed", server.log())) >= 3 * MANY
