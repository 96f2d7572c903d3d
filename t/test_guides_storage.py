"""The guides about who may reach a bucket are followed, in the emulator.

IP filters are played by a door before the emulator that knows addresses,
private ways by one with TLS that tells by which name it was asked, roles by a
gcloud that can make some.  Only addresses, ports and the places of files are
other ones than in the guides.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import test_docs as docs
from conftest import SANITIZE
from emulator import certificates, link_local
from emulator.accounts import permissions_of
from emulator.errors import StorageError
from harness.client import Connection
from harness.nginx import wait_until
from harness.studio import (Answer, Application, LabelStudio, Signer,
                            fileuri, redirect)
from test_docs import files  # noqa: F401  a fixture
from test_guides import (BODY, READER, VALUES, Cloud, blocks, commands,
                         gcloud, on_aws, section, text_of)  # noqa: F401
from test_guides import google as bucket_of_the_guides  # noqa: F401

GUIDES = [
    "ip-filter",
    "private-access",
    "least-privilege",
    "label-studio-settings",
    "presigned-or-proxied",
]
WRITER = "nginx-writer@my-project.iam.gserviceaccount.com"
OUTSIDE = "127.0.0.2"                      # nginx's address, in these tests

# the placeholders that test_guides does not know
MORE = {"NETWORK": "media-net", "SUBNET": "media-sub", "POLICY": "42",
        "ORGANIZATION_ID": "1234", "ADMIN": "me@example.com",
        "SIGNER": READER, "IDENTIFIER": "an-identifier",
        "LABELS": "http://labels", "TASK": "7", "TOKEN": "a-token"}

in_the_cloud = pytest.mark.skipif(
    SANITIZE, reason="the sanitizers' library must be the first one")


def filled(text: str) -> str:
    """With these and, by Cloud.follow(), those of test_guides replaced."""
    return re.sub(r"\b(" + "|".join(MORE) + r")\b",
                  lambda match: MORE[match[1]], text)


def row(name: str, words: str, title: str = "When it does not") -> list[str]:
    """The columns of the one row of a table that has these words."""
    [line] = [line for line in section(name, title).splitlines()
              if line.startswith("|") and words in line]
    return [column.strip() for column in line.strip("|").split(" | ")]


def words_of(name: str, words: str) -> list[str]:
    return re.findall(r"`(\w+)`", row(name, words)[1])


# a gcloud that knows more

class Storage(Cloud):
    """Bindings add up, roles can be made, files are read."""

    def __init__(self, emulator, folder: Path):
        super().__init__(emulator, folder)
        self.roles: dict[str, list[str]] = {}
        self.bound: dict[tuple[str, str], dict[str, dict | None]] = {}
        self.conditions: list[str] = []
        self.filters: dict[str, dict] = {}
        self.project: dict[str, list[str]] = {}
        self.levels: dict[str, str] = {}
        self.perimeters: dict[str, dict[str, str]] = {}
        self.records: dict[str, dict[str, str]] = {}
        self.zones: dict[str, dict[str, str]] = {}
        self.endpoints: dict[str, dict[str, str]] = {}
        self.addresses: dict[str, dict[str, str]] = {}
        self.folders: set[str] = set()
        self.looked: list[tuple[str, ...]] = []

    def follow(self, text: str) -> "Storage":
        return super().follow(filled(text))

    def write(self, name: str, text: str) -> None:
        """A file that the guide shows."""
        for key, value in {**MORE, **VALUES}.items():
            text = re.sub(rf"\b{key}\b", value, text)
        (self.folder / name).write_text(text)

    def permissions(self, role: str) -> set[str]:
        if role in self.roles:
            return set(self.roles[role])
        assert role.startswith("roles/"), f"no such role: {role}"
        return permissions_of([role])

    # roles and bindings

    def do_iam_roles_create(self, name, *, project, title, permissions,
                            stage="GA") -> None:
        assert re.fullmatch(r"[\w.]{3,64}", name) and title
        self.roles[f"projects/{project}/roles/{name}"] \
            = permissions.split(",")

    def do_iam_roles_delete(self, name, *, project) -> None:
        del self.roles[f"projects/{project}/roles/{name}"]

    def do_iam_roles_describe(self, name, *, project) -> None:
        assert f"projects/{project}/roles/{name}" in self.roles

    def do_projects_add_iam_policy_binding(self, project, *, member,
                                           role) -> None:
        assert role in self.roles
        self.project.setdefault(member, []).append(role)

    def do_storage_buckets_add_iam_policy_binding(
            self, bucket, *, member, role, condition_from_file=None) -> None:
        condition = None
        if condition_from_file:
            condition = json.loads(
                (self.folder / condition_from_file).read_text())
            self.conditions.append(condition["expression"])
        self.bound.setdefault((bucket, member), {})[role] = condition
        self._grant(bucket, member)

    def do_storage_buckets_remove_iam_policy_binding(self, bucket, *, member,
                                                     role) -> None:
        del self.bound[bucket, member][role]
        self._grant(bucket, member)

    def _grant(self, bucket: str, member: str) -> None:
        given: set[str] = set()
        for role, condition in self.bound[bucket, member].items():
            permissions = self.permissions(role)
            if condition:
                # it is the bucket that is listed, no object
                permissions -= {"storage.objects.list"}
            given |= permissions
        self.emulator.grant(member.removeprefix("serviceAccount:"),
                            bucket.removeprefix("gs://"), sorted(given))

    def do_iam_service_accounts_add_iam_policy_binding(
            self, email, *, project, role, member) -> None:
        policy = self.policies.setdefault(email, {})
        for name in self.roles.get(role, [role]):
            policy.setdefault(name, []).append(member)
        self.emulator.set_policy(email, policy)

    def do_storage_managed_folders_create(self, url) -> None:
        self.folders.add(url)

    def do_storage_managed_folders_add_iam_policy_binding(
            self, url, *, member, role) -> None:
        assert url in self.folders and self.permissions(role)

    # IP filters and perimeters

    def do_storage_buckets_update(self, bucket, *, ip_filter_file=None,
                                  clear_ip_filter=None) -> None:
        if clear_ip_filter is not None:
            del self.filters[bucket]
        else:
            self.filters[bucket] = json.loads(
                (self.folder / ip_filter_file).read_text())

    def do_access_context_manager_levels_create(
            self, name, *, policy, title, basic_level_spec) -> None:
        assert re.fullmatch(r"[A-Za-z]\w*", name) and title
        self.levels[f"accessPolicies/{policy}/accessLevels/{name}"] = (
            self.folder / basic_level_spec).read_text()

    def do_access_context_manager_levels_delete(self, name, *,
                                                policy) -> None:
        del self.levels[f"accessPolicies/{policy}/accessLevels/{name}"]

    def do_access_context_manager_perimeters_dry_run_create(
            self, name, *, policy, **options) -> None:
        assert options["perimeter_access_levels"] in self.levels
        assert options["perimeter_type"] == "regular"
        self.perimeters[name] = {**options, "mode": "dry run"}

    def do_access_context_manager_perimeters_dry_run_enforce(
            self, name, *, policy) -> None:
        self.perimeters[name]["mode"] = "enforced"

    def do_access_context_manager_perimeters_delete(self, name, *,
                                                    policy) -> None:
        del self.perimeters[name]

    # networks

    def do_compute_networks_subnets_update(self, name, *, region, project,
                                           enable_private_ip_google_access) \
            -> None:
        assert name == MORE["SUBNET"]

    def do_compute_routes_create(self, name, *, network, project,
                                 destination_range, next_hop_gateway) -> None:
        assert next_hop_gateway == "default-internet-gateway"
        self.addresses[name] = {"range": destination_range}

    def do_compute_addresses_create(self, name, **options) -> None:
        assert options["purpose"] == "PRIVATE_SERVICE_CONNECT"
        self.addresses[name] = options

    def do_compute_addresses_delete(self, name, **options) -> None:
        del self.addresses[name]

    def do_compute_forwarding_rules_create(self, name, **options) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9]{0,19}", name)
        assert options["address"] in self.addresses
        assert options["target_google_apis_bundle"] in ("all-apis", "vpc-sc")
        self.endpoints[name] = options

    def do_compute_forwarding_rules_delete(self, name, **options) -> None:
        del self.endpoints[name]

    def do_dns_managed_zones_create(self, name, **options) -> None:
        assert options["dns_name"].endswith(".")
        assert options["visibility"] == "private" and options["description"]
        self.zones[name] = options

    def do_dns_managed_zones_delete(self, name, *, project) -> None:
        del self.zones[name]

    def do_dns_record_sets_create(self, name, **options) -> None:
        assert name.endswith(self.zones[options["zone"]]["dns_name"])
        self.records[name] = options

    def do_dns_record_sets_delete(self, name, **options) -> None:
        assert self.records.pop(name)["type"] == options["type"]

    # what only looks

    def _look(self, *words, **options) -> None:
        self.looked.append(words)

    do_logging_read = do_storage_buckets_describe = do_storage_cat = _look
    do_access_context_manager_policies_list = do_projects_describe = _look
    do_version = _look


@pytest.fixture
def google(bucket_of_the_guides):  # noqa: F811
    """my-bucket, with a.txt; Google's own names lead here as well."""
    return bucket_of_the_guides


@pytest.fixture
def cloud(google, tmp_path):
    return Storage(google, tmp_path)


# doors

class Door:
    """Stands before the emulator and passes bytes, if it lets one in.

    allowed     networks, as an IP filter has them; None: everybody
    server_file a certificate with its key: then it speaks TLS, and `names` is
                what clients have asked for (SNI)
    """

    REFUSAL = StorageError(
        403, "AccessDenied", "There is an IP filtering condition that is "
        "preventing access to the resource.")

    def __init__(self, port: int, server_file: str | None = None):
        self.allowed: list | None = None
        self.peers: list[str] = []
        self.names: list[str | None] = []
        self._target = port
        self._tls = None
        if server_file:
            self._tls = certificates.server_context(server_file)
            self._tls.sni_callback = \
                lambda sock, name, context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, what, *arguments) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self._listener.close()

    def obey(self, text: dict | None) -> None:
        """The JSON of `--ip-filter-file`; the address of the guide's nginx
        is that of ours."""
        self.allowed = None
        if text is not None and text["mode"] == "Enabled":
            self.allowed = [
                ipaddress.ip_network(one.replace("203.0.113.7", OUTSIDE))
                for one in text["publicNetworkSource"]["allowedIpCidrRanges"]]
        for client in list(self._open):    # each request counts, not each
            with suppress(OSError):        # connection
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, (address, _) = self._listener.accept()
            except OSError:
                return
            self.peers.append(address)
            self._start(self._serve, client, address)

    def _serve(self, client: socket.socket, address: str) -> None:
        with suppress(OSError), client:
            self._open.add(client)
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            if self.allowed is not None and not any(
                    ipaddress.ip_address(address) in network
                    for network in self.allowed):
                self._refuse(client)
                return
            with socket.create_connection(("127.0.0.1",
                                           self._target)) as server:
                self._start(self._copy, server, client)
                self._copy(client, server)

    def _refuse(self, client: socket.socket) -> None:
        """Of requests without a body, as many as come."""
        data, answer = b"", self.REFUSAL.xml()
        while True:
            while b"\r\n\r\n" not in data:
                part = client.recv(65536)
                if not part:
                    return
                data += part
            body = b"" if data.startswith(b"HEAD ") else answer.body
            client.sendall(
                b"HTTP/1.1 403 Forbidden\r\n"
                b"Content-Type: application/xml; charset=UTF-8\r\n"
                b"Content-Length: %d\r\n\r\n" % len(answer.body) + body)
            data = data.partition(b"\r\n\r\n")[2]

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def door(google):
    door = Door(google.http_port)
    yield door
    door.close()


# the configurations

@pytest.fixture
def key(google, tmp_path):
    """The reader's key, who may read the bucket, at the place of the guides'
    own."""
    path = tmp_path / "key.json"
    path.write_text(google.service_account(
        READER, grants={"my-bucket": ["objectViewer"]}))
    return path


@pytest.fixture
def run(nginx, google, tmp_path):
    """Starts nginx with a block of a guide, by default the last.

    `change` is done to the text; `endpoint` is where the objects are if the
    guide does not say it, in http { } as `more` is.
    """
    def make(name, index=-1, change=lambda text: text, more="",
             endpoint="%%EMULATOR%%", env=None, title=None, **kw):
        text = section(name, title) if title else text_of(name)
        text = change(blocks(text, "nginx")[index])
        _, http = docs.complete(docs.Block("", 1, text), set())
        assert len(re.findall(r"\blisten\s", http)) <= 1
        http = re.sub(r"\blisten\s+[^;]+;", "", http)
        http = re.sub(r"\bserver \{\n(?!\s*server )",
                      "server {\nlisten 127.0.0.1:%%PORT%%;\n", http)
        http = re.sub(r"/etc/nginx/(?:gcs/|gcs-)(\w+\.json)",
                      rf"{tmp_path}/\1", http)
        http = re.sub(r"(access_log|proxy_cache_path)(\s+)/\S*?([^/\s;]+)"
                      r"(?=[\s;])", r"\1\2%%DIR%%/\3", http)
        if endpoint:
            http = f"gcs_endpoint {endpoint};\n{http}"
        return nginx(f"{more}\n{http}", env=env, **kw)

    return make


def showing_the_word(text: str) -> str:
    """Also in the answer, where the guide has it in the log."""
    return re.sub(r"\bgcs_auth(\s+\w+;)",
                  r"add_header X-Error $gcs_error always; gcs_auth\1", text)


def served(server, path="/media/a.txt"):
    answer = server.get(path)
    assert (answer.status, answer.body) == (200, BODY), server.log()
    return answer


def lines_of(server, name="gcs.log", count=1) -> list[str]:
    path = server.dir / name
    wait_until(lambda: path.exists()
               and path.read_text().count("\n") >= count)
    return path.read_text().splitlines()


def browse(url: str, method="GET", headers=()):
    """What somebody gets who follows a signed URL, from 127.0.0.1."""
    parts = urlsplit(url)
    with Connection(parts.port) as connection:
        return connection.request(method, parts._replace(
            scheme="", netloc="").geturl(), headers)


def carried_out(text: str, server, paths=()) -> list[str]:
    """What the shell says to each of a guide's curl commands."""
    said = []
    for line in "".join(blocks(filled(text), "sh")).replace("\\\n", " ") \
            .splitlines():
        line = line.replace("http://127.0.0.1:8080", server.url("")) \
            .replace("OBJECT", VALUES["OBJECT"])
        for old, new in paths:
            line = line.replace(old, new)
        words = shlex.split(line)
        if words[0] == "curl":
            said.append(subprocess.run(words, capture_output=True, text=True,
                                       check=True).stdout)
    return said


# ip-filter.md

@pytest.fixture
def closed(cloud, door, key):
    """What "Close it" says is done: the door obeys the file of the guide."""
    text = section("ip-filter", "Close it")
    cloud.write("ip-filter.json", blocks(text, "json")[0])
    cloud.follow(text)
    door.obey(cloud.filters["gs://my-bucket"])
    return door


FROM_OUTSIDE = f"proxy_bind {OUTSIDE};"


def test_a_filter_lets_nginx_in_and_a_thief_with_a_good_token_not(
        run, closed, google):
    served(run("ip-filter", endpoint=closed.url, more=FROM_OUTSIDE))
    token = {"Authorization": "Bearer " + google.mint_token(READER)}
    answer = browse(closed.url + "/my-bucket/a.txt", headers=token)
    assert answer.status == 403
    assert row("ip-filter", "There is an IP filtering")[0].strip("`") \
        in answer.text
    assert set(closed.peers) == {OUTSIDE, "127.0.0.1"}
    assert browse(google.url + "/my-bucket/a.txt",
                  headers=token).body == BODY


def test_nginx_at_another_address_is_told_as_the_guide_says(run, closed,
                                                            google):
    server = run("ip-filter", endpoint=closed.url, change=showing_the_word)
    answer = server.get("/media/a.txt")
    assert answer.status == 403
    assert [answer.get("X-Error")] \
        == words_of("ip-filter", "There is an IP filtering")
    assert "filtering" not in answer.text
    line, = blocks(section("ip-filter", "When it does not"), "text")
    assert line.strip() in server.log()
    assert lines_of(server) == ['127.0.0.1 "GET /media/a.txt" 403 '
                                "gs://my-bucket/a.txt upstream=403 "
                                "AccessDenied"]
    assert google.counts().get("storage") is None


def test_a_refused_head_has_no_words(run, closed):
    server = run("ip-filter", endpoint=closed.url)
    assert server.request("HEAD", "/media/a.txt").status == 403
    assert 'gcs responded 403 "http_403"' in server.log()
    assert "filtering" not in server.log()


def test_a_signed_url_counts_the_address_of_the_browser(run, closed):
    server = run("ip-filter", endpoint=closed.url, more=FROM_OUTSIDE,
                 change=lambda text: text.replace("gcs_mode proxy",
                                                  "gcs_mode presign"))
    answer = server.get("/media/a.txt")
    assert answer.status == 303
    refused = browse(answer.get("Location"))
    assert refused.status == 403
    assert "IP filtering condition" in refused.text
    closed.obey(None)
    assert browse(answer.get("Location")).body == BODY


def test_a_redirect_that_is_taken_over_counts_the_address_of_nginx(
        nginx, closed, key):
    signer = Signer(key.read_text(), closed.url)
    with Application() as application:
        application.default = lambda asked: redirect(
            signer.url("my-bucket", "a.txt"))
        server = nginx(f"""
            gcs_endpoint {closed.url};
            gcs_takeover_hosts {closed.url[7:]};
            server {{
                listen 127.0.0.1:%%PORT%%;
                location /files/ {{
                    proxy_pass {application.url};
                    gcs_takeover @taken;
                }}
                location @taken {{
                    gcs_pass $gcs_takeover_url;
                    gcs_auth signature;
                    {FROM_OUTSIDE}
                }}
            }}""", secrets=signer.made)
        served(server, "/files/a")
        assert closed.peers == [OUTSIDE]


def test_what_was_cached_is_served_after_the_bucket_was_closed(run, closed,
                                                               cloud):
    text = section("ip-filter", "What remains open")
    assert "What nginx has cached" in text
    closed.obey(None)
    server = run(
        "ip-filter", endpoint=closed.url,
        more="proxy_cache_path %%DIR%%/cache keys_zone=gcs:1m;",
        change=lambda conf: conf.replace(
            "gcs_mode proxy;", "proxy_cache gcs; proxy_cache_valid 200 1h; "
            "proxy_ignore_headers Cache-Control Expires;"))
    served(server)
    closed.obey(cloud.filters["gs://my-bucket"])
    served(server)
    assert server.get("/media/other").status == 403


def test_a_bucket_is_opened_again(run, closed, cloud):
    server = run("ip-filter", endpoint=closed.url)
    assert server.get("/media/a.txt").status == 403
    cloud.follow("```sh\n" + blocks(section("ip-filter", "Go back"),
                                    "sh")[0] + "```\n")
    closed.obey(cloud.filters.get("gs://my-bucket"))
    served(server)


PERIMETER = [
    ("AccessDenied", "Access denied.", "Request is prohibited by "
     "organization's policy. vpcServiceControlsUniqueIdentifier: n0t-A_word"),
    ("SecurityPolicyViolated", "Request violates VPC Service Controls.",
     None)]


@pytest.mark.parametrize("code, message, details", PERIMETER)
def test_a_perimeter_is_told_with_its_identifier(run, key, google, code,
                                                 message, details):
    google.fault(kind="storage", status=403, count=None,
                 content_type="application/xml; charset=UTF-8",
                 body=StorageError(403, code, details,
                                   message=message).xml().body.decode())
    server = run("ip-filter", change=showing_the_word)
    answer = server.get("/media/a.txt")
    assert answer.status == 403
    assert answer.get("X-Error") == code
    assert code in words_of("ip-filter", "vpcServiceControls")
    cell = row("ip-filter", "vpcServiceControls")[0]
    assert all(any(told.rstrip(" …") in words for _, *both in PERIMETER
                   for words in both if words)
               for told in re.findall("`([^`]+)`", cell))
    assert f"\"gs://my-bucket/a.txt\": {details or message}; VPC Service " \
        "Controls do not let this machine in" in server.log()
    assert "n0t-A_word" not in answer.text


REFUSED_TOKEN = json.dumps({"error": {
    "code": 403, "status": "PERMISSION_DENIED", "message": "Request is "
    "prohibited by organization's policy. "
    "vpcServiceControlsUniqueIdentifier: n0t-A_word",
    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                 "reason": "SECURITY_POLICY_VIOLATED",
                 "domain": "googleapis.com"}]}})


@pytest.mark.parametrize("kind", ["iam", "sts"])
@in_the_cloud
def test_a_perimeter_around_the_services_of_tokens_is_told(
        run, cloud, google, tmp_path, on_aws, kind):  # noqa: F811
    gcloud(cloud)
    google.fault(kind=kind, status=403, body=REFUSED_TOKEN, count=None,
                 content_type="application/json; charset=UTF-8")
    text = blocks(text_of("aws"), "nginx")[-1]
    block = re.search(r" *gcs_credentials reader \{.*?\n    \}\n", text,
                      re.DOTALL)[0].replace(
        "{", "{ sts_endpoint %%EMULATOR%%/v1/token; "
        "iam_endpoint %%EMULATOR%%;", 1)
    library = link_local.library(tmp_path, google.http_port)
    server = run("ip-filter", change=lambda conf: showing_the_word(re.sub(
        r" *gcs_credentials reader \{.*?\}\n", block, conf,
        flags=re.DOTALL)), env={"LD_PRELOAD": str(library),
                                **on_aws("EC2")})
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    assert [answer.get("X-Error")] \
        == words_of("ip-filter", "a line about a token"), server.log()
    assert "prohibited by organization's policy" in server.log()
    assert "VPC Service Controls do not let this machine in" in server.log()


def test_the_perimeter_of_the_guide_is_made_tried_and_taken_away(cloud):
    text = section("ip-filter", "A perimeter")
    level, = blocks(text, "yaml")
    cloud.write("only-nginx.yaml", level)
    cloud.follow(text)
    assert cloud.perimeters["media"]["mode"] == "enforced"
    assert cloud.perimeters["media"]["perimeter_resources"] \
        == "projects/123456789012"
    assert level == "- ipSubnetworks:\n    - 203.0.113.7/32\n"
    cloud.filters["gs://my-bucket"] = {}
    cloud.follow(section("ip-filter", "Go back"))
    assert (cloud.perimeters, cloud.levels, cloud.filters) == ({}, {}, {})


def test_the_way_back_in_is_one_permission(cloud):
    cloud.follow(section("ip-filter", "A way back in"))
    role, = cloud.project["user:me@example.com"]
    assert cloud.roles[role] == ["storage.buckets.exemptFromIpFilter"]


def test_the_file_of_the_filter_has_what_google_knows():
    text = json.loads(blocks(section("ip-filter", "Close it"), "json")[0])
    assert set(text) == {"mode", "publicNetworkSource", "vpcNetworkSources",
                         "allowCrossOrgVpcs", "allowAllServiceAgentAccess"}
    ranges = text["publicNetworkSource"]["allowedIpCidrRanges"]
    for network in text["vpcNetworkSources"]:
        assert set(network) == {"network", "allowedIpCidrRanges"}
        ranges = ranges + network["allowedIpCidrRanges"]
    for one in ranges:
        ipaddress.ip_network(one)


# private-access.md

@pytest.fixture
def private(google, tmp_path, files):  # noqa: F811
    """A door with TLS, as Google's front end; its port, CA and names."""
    folder = tmp_path / "tls"
    folder.mkdir()
    ca, server_file = certificates.create(
        str(folder), ("storage-nginx.p.googleapis.com",))
    google.configure(hosts=["storage-nginx.p.googleapis.com"])
    door = Door(google.http_port, server_file)
    door.more = f"gcs_ssl_trusted_certificate {ca};"
    door.shim = f"{files}/shim.so"
    yield door
    door.close()


def at_port(port):
    """The guide's names and addresses, where the door is."""
    def change(text):
        text = re.sub(r"(gcs_endpoint\s+https://[\w.-]+\.com)",
                      rf"\1:{port}", text)
        return re.sub(r"199\.36\.153\.\d+:443", f"127.0.0.1:{port}", text)

    return change


def hosts(google) -> set[str]:
    return {one["host"] for one in google.requests("storage")}


@in_the_cloud
def test_private_access_goes_there_and_asks_for_cloud_storage(
        run, private, google, tmp_path):
    google.add_service_account(READER, policy={})
    google.grant(READER, "my-bucket", ["objectViewer"])
    google.metadata_account(READER)
    library = link_local.library(tmp_path, google.http_port)
    server = run("private-access", endpoint=None,
                 change=at_port(private.port), more=private.more,
                 env={"LD_PRELOAD": f"{library} {private.shim}"})
    served(server)
    assert set(private.names) == {"storage.googleapis.com"}
    assert hosts(google) == {"storage.googleapis.com"}
    assert google.counts().get("token") is None
    assert f"to=127.0.0.1:{private.port} upstream=200" in lines_of(server)[0]


@in_the_cloud
@pytest.mark.parametrize("index, change, name", [
    (0, None, "storage.googleapis.com"),
    (1, None, "storage.googleapis.com"),
    (1, r"\s+host=[^;]+", "storage-nginx.p.googleapis.com"),
    (2, None, "storage.googleapis.com")])
def test_each_way_of_writing_it_works(run, private, google, key, index,
                                      change, name):
    def changed(text):
        return at_port(private.port)(re.sub(change, "", text)
                                     if change else text)

    server = run("private-access", index, title="In nginx", endpoint=None,
                 change=changed, more=private.more,
                 env={"LD_PRELOAD": private.shim})
    served(server)
    assert set(private.names) == {name}
    assert {host.partition(":")[0] for host in hosts(google)} == {name}


def without_host(text: str) -> str:
    return re.sub(r"\s+host=[^;]+", "", text)


@in_the_cloud
def test_without_host_google_has_no_such_bucket(run, private, google, key):
    google.configure(hosts=[])
    server = run("private-access", title="In nginx", index=0, endpoint=None,
                 change=lambda text: showing_the_word(
                     at_port(private.port)(without_host(text))),
                 more=private.more, env={"LD_PRELOAD": private.shim})
    answer = server.get("/media/a.txt")
    assert answer.status == 404
    assert answer.get("X-Error") == "http_404"
    assert "http_404" in row("private-access", "gcs responded 404")[0]
    google.reset()                         # the emulator does not know it


@in_the_cloud
def test_a_host_that_is_not_google_s_is_no_reason_to_trust(run, private,
                                                           google, key):
    server = run("private-access", title="In nginx", index=0, endpoint=None,
                 change=lambda text: showing_the_word(
                     at_port(private.port)(text).replace(
                         "host=storage.googleapis.com",
                         "host=storage.example.com")),
                 more=private.more, env={"LD_PRELOAD": private.shim})
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    assert [answer.get("X-Error")] \
        == words_of("private-access", "certificate does not match")
    assert "upstream SSL certificate does not match" in server.log()
    assert google.counts().get("storage") is None


@in_the_cloud
def test_signed_urls_are_made_for_the_host_and_not_for_the_endpoint(
        run, private, key):
    text = section("private-access", "In nginx")
    assert "signed URLs" in text and "are made for HOST" in text
    for change, name in ((lambda text: text, "storage.googleapis.com"),
                         (without_host, "storage-nginx.p.googleapis.com")):
        server = run("private-access", title="In nginx", index=1,
                     endpoint=None, change=lambda text: change(text).replace(
                         "gcs_auth", "gcs_mode presign; gcs_auth"),
                     more=private.more, env={"LD_PRELOAD": private.shim})
        location = server.get("/media/a.txt").get("Location")
        assert urlsplit(location).netloc == name


def test_the_token_endpoint_is_the_audience_that_google_checks(run, google,
                                                               key, door):
    """Why the guide warns of token_endpoint."""
    other = door.url + "/token"            # leads to Google's, as it were
    server = run("private-access",
                 change=lambda text: showing_the_word(re.sub(
                     r" *gcs_endpoint [^;]+;\n", "", text).replace(
                     "metadata_server;",
                     f"file {key}; token_endpoint {other};")))
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    assert google.requests("token")[-1]["assertion"]["claims"]["aud"] == other
    words = row("private-access", "Failed audience check")
    assert words[0].strip("`") in server.log()
    assert f"`{answer.get('X-Error')}`" in words[1]


def test_objects_that_have_a_way_do_not_help_tokens_that_have_none(
        run, google, key):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    server = run("private-access",
                 change=lambda text: showing_the_word(re.sub(
                     r" *gcs_endpoint [^;]+;\n", "", text).replace(
                     "metadata_server;", f"file {key}; "
                     f"token_endpoint http://127.0.0.1:{port}/token;")))
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    assert answer.get("X-Error") \
        in words_of("private-access", "token could not be fetched")
    assert google.counts().get("storage") is None


def test_the_network_of_the_guide_fits_together_and_is_taken_away(cloud):
    for title in ("In a VPC network", "Private Service Connect"):
        cloud.follow(section("private-access", title))
    made = cloud.records["private.googleapis.com."]
    assert made["type"] == "A"
    network = ipaddress.ip_network(cloud.addresses.pop(
        "google-private")["range"])
    assert made["rrdatas"].split(",") == [str(one) for one in network]
    assert cloud.records["*.googleapis.com."]["rrdatas"] \
        == "private.googleapis.com."
    assert f"`{network.with_prefixlen}`".strip("`") \
        in row("private-access", "`private.googleapis.com`",
               "Which one")[1]
    endpoint, = cloud.endpoints
    assert f"https://storage-{endpoint}.p.googleapis.com" \
        in section("private-access", "In nginx")
    cloud.follow(section("private-access", "Go back"))
    assert not (cloud.zones or cloud.records or cloud.endpoints
                or cloud.addresses)


def test_the_upstream_of_the_guide_has_the_whole_range():
    text = blocks(section("private-access", "In nginx"), "nginx")[2]
    assert re.findall(r"server +([\d.]+):443;", text) \
        == [str(one) for one in ipaddress.ip_network("199.36.153.8/30")]


# least-privilege.md

@pytest.fixture
def granted(cloud, google, tmp_path):
    """All that "Do it" says, but for the managed folder and signing."""
    cloud.follow(section("least-privilege", "Roles of your own"))
    cloud.follow(section("least-privilege", "On one bucket"))
    text = section("least-privilege", "On a part of a bucket")
    cloud.write("condition.json", blocks(text, "json")[0])
    cloud.follow(text)
    for email, name in ((READER, "reader"), (WRITER, "writer")):
        cloud.do_iam_service_accounts_keys_create(f"{name}.json",
                                                  iam_account=email)
    google.put_object("my-bucket", "images/a.txt", BODY)
    return cloud


def test_the_least_privilege_is_enough(granted, run, google, tmp_path):
    server = run("least-privilege")
    served(server)
    made = tmp_path / "made"
    made.write_text("made")
    assert carried_out(section("least-privilege", "See that it works"),
                       server, [("/etc/hostname", str(made))]) \
        == ["200\n", "404\n", "200\n", "405\n"]
    # over what is there, and away with it
    assert server.request("PUT", "/annotations/test", body=b"2").status == 200
    assert server.get("/annotations/test").body == b"2"
    assert server.request("DELETE", "/annotations/test").status == 204
    by = {(one["method"], one["account"])
          for one in google.requests("storage")}
    assert by == {("GET", READER), ("PUT", WRITER), ("GET", WRITER),
                  ("DELETE", WRITER)}


def test_below_a_condition_a_missing_object_is_403(granted, run):
    server = run("least-privilege", change=showing_the_word)
    answer = server.get("/annotations/not-there")
    assert answer.status == 403
    assert [answer.get("X-Error")] \
        == words_of("least-privilege", "an object that is not there")
    # a role that lists, and nothing else, without a condition
    granted.do_iam_roles_create(
        "nginxLister", project="my-project", title="lists",
        permissions="storage.objects.list")
    granted.do_storage_buckets_add_iam_policy_binding(
        "gs://my-bucket", member="serviceAccount:" + WRITER,
        role="projects/my-project/roles/nginxLister")
    assert server.get("/annotations/not-there").status == 404


def test_the_condition_is_about_the_folder_that_nginx_serves(granted):
    expression, = granted.conditions
    prefix, = re.findall(r'^resource\.name\.startsWith\("projects/_/buckets/'
                         r'my-bucket/objects/([^"]+)"\)$', expression)
    assert prefix.endswith("/")
    assert f"gcs_pass             gs://my-bucket/{prefix};" \
        in blocks(text_of("least-privilege"), "nginx")[-1]


def exactly(*names: str) -> list[str]:
    return ["storage.objects." + name for name in names]


def send(method: str, path: str):
    def ask(server):
        body = b"x" if method == "PUT" else None
        return server.request(method, path, body=body).status
    return ask


READ, MISSING = send("GET", "/all/a.txt"), send("GET", "/all/b.txt")
NEW, OVER = send("PUT", "/all/new"), send("PUT", "/all/a.txt")
AWAY, GONE = send("DELETE", "/all/a.txt"), send("DELETE", "/all/b.txt")


@pytest.mark.parametrize("words, ask, status, given, without", [
    ("GET, HEAD of an object", READ, 200, exactly("get"), 403),
    ("says 404", MISSING, 404, exactly("get", "list"), 403),
    ("PUT of a new object", NEW, 200, exactly("create"), 403),
    ("PUT over an object", OVER, 200, exactly("create", "delete"), 403),
    ("DELETE |", AWAY, 204, exactly("delete"), 403),
    ("DELETE |", GONE, 404, exactly("delete", "list"), 403)],
    ids=lambda value: value if isinstance(value, str) else "")
def test_each_permission_is_needed_and_enough(
        run, google, tmp_path, words, ask, status, given, without):
    (tmp_path / "key.json").write_text(google.service_account(
        READER, grants={"my-bucket": given}))
    cells = row("least-privilege", words, "What nginx asks for")
    for name in given[-1:] if words != "DELETE |" else given:
        assert f"`{name}`" in cells[1]
    server = run("key-file", change=lambda text: text.replace(
        "location /media/ {", "location /all/ { gcs_methods GET HEAD PUT "
        "DELETE;"))
    assert ask(server) == status, server.log()
    google.put_object("my-bucket", "a.txt", BODY)
    google.grant(READER, "my-bucket", given[:-1])
    assert ask(server) == without, server.log()


def test_a_read_only_token_writes_nothing_whatever_the_role(run, google,
                                                            tmp_path):
    (tmp_path / "key.json").write_text(google.service_account(
        READER, grants={"my-bucket": ["objectAdmin"]}))
    server = run("key-file", change=lambda text: showing_the_word(
        text.replace("key.json;", "key.json; scope https://www.googleapis"
                     ".com/auth/devstorage.read_only;").replace(
            "gcs_pass", "gcs_methods GET PUT; gcs_pass")))
    answer = server.request("PUT", "/media/new", body=b"x")
    assert answer.status == 403
    words = row("least-privilege", "Provided scope")
    assert words[0].strip("`") in server.log()
    assert f"`{answer.get('X-Error')}`" == words[1]


@in_the_cloud
def test_to_sign_one_permission_is_enough(run, cloud, google, tmp_path):
    google.add_service_account(READER, policy={})
    google.grant(READER, "my-bucket", exactly("get"))
    google.metadata_account(
        READER, scopes=["https://www.googleapis.com/auth/cloud-platform"])
    env = {"LD_PRELOAD": str(link_local.library(tmp_path,
                                                google.http_port))}

    def change(text):
        return showing_the_word(re.sub(
            r"file [^;]+;", "metadata_server; iam_endpoint %%EMULATOR%%;",
            text).replace("gcs_pass", "gcs_mode presign; gcs_pass"))

    server = run("key-file", change=change, env=env)
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    words = row("least-privilege", "signBlob' denied")
    assert f"`{answer.get('X-Error')}`" == words[1]
    assert words[0].strip("`").rstrip(" …") in server.log()

    cloud.follow(section("least-privilege", "To sign without a key"))
    server = run("key-file", change=change, env=env)
    answer = server.get("/media/a.txt")
    assert answer.status == 303, server.log()
    assert browse(answer.get("Location")).body == BODY


@in_the_cloud
def test_another_account_signs_with_one_permission_on_it(
        run, cloud, google, tmp_path):
    base = "nginx-base@my-project.iam.gserviceaccount.com"
    for email in (base, READER):
        google.add_service_account(email, policy={})
    google.grant(READER, "my-bucket", exactly("get"))
    google.metadata_account(
        base, scopes=["https://www.googleapis.com/auth/cloud-platform"])
    cloud.follow(section("least-privilege", "To sign without a key").replace(
        "member=serviceAccount:SIGNER", "member=serviceAccount:" + base))
    server = run("key-file", change=lambda text: re.sub(
        r"file [^;]+;", f"metadata_server; impersonate {READER}; "
        "iam_endpoint %%EMULATOR%%;", text).replace(
        "gcs_pass", "gcs_mode presign; gcs_pass"),
        env={"LD_PRELOAD": str(link_local.library(tmp_path,
                                                  google.http_port))})
    answer = server.get("/media/a.txt")
    assert answer.status == 303, server.log()
    assert browse(answer.get("Location")).body == BODY


@in_the_cloud
def test_the_five_fields_are_directives(run, cloud, google, tmp_path,
                                        on_aws):  # noqa: F811
    gcloud(cloud)
    google.put_object("my-bucket", "images/a.txt", BODY)
    text = blocks(section("least-privilege", "The five fields of Label "
                          "Studio's form"), "nginx")[0]
    named = re.findall(r"^\| ([^|]+) \| \[(\w+)\]\(", section(
        "least-privilege", "The five fields of Label Studio's form"),
        re.MULTILINE)
    assert len(named) == 6
    for _, directive in named:
        assert re.search(rf"^ *{directive} ", text, re.MULTILINE), directive

    library = link_local.library(tmp_path, google.http_port)
    server = run(
        "least-privilege", 0, env={"LD_PRELOAD": str(library),
                                   **on_aws("EC2")},
        change=lambda text: text.replace("label-studio-pool", "aws-pool")
        .replace("label-studio-app", "aws-provider").replace(
            "reader {", "reader { sts_endpoint %%EMULATOR%%/v1/token; "
            "iam_endpoint %%EMULATOR%%;"))
    served(server)
    assert google.requests("storage")[-1]["account"] == READER


def test_the_least_privilege_is_exchanged_without_a_gap(granted, run):
    server = run("least-privilege")
    first, second, _ = commands(section("least-privilege", "Go back"))
    granted.gcloud(first)
    served(server)
    granted.gcloud(second)
    served(server)


def test_a_managed_folder_is_made_before_it_is_given_away(granted):
    granted.follow(section("least-privilege", "A managed folder"))
    assert granted.folders == {"gs://my-bucket/annotations/"}


# label-studio-settings.md

@pytest.fixture
def studio(google):
    """Storages with pre-signed URLs on (tasks 1 and 3) and off (task 2)."""
    theirs = "label-studio@my-project.iam.gserviceaccount.com"
    google.put_object("my-bucket", "images/a.txt", BODY)
    google.create_bucket("my-films")
    google.put_object("my-films", "a.txt", BODY)
    signer = Signer(google.service_account(theirs, grants={
        "my-bucket": ["objectViewer"], "my-films": ["objectViewer"]}),
        google.url)
    with LabelStudio(google.url) as studio:
        studio.tokens["of-the-annotator"] = "annotator"
        studio.tasks.update({1: 1, 2: 2})
        studio.connect(1, "my-bucket", presign=signer)
        studio.connect(2, "my-films", token=lambda: google.mint_token(theirs))
        studio.default = Answer(200, [("Content-Type", "text/html")],
                                b"<title>Label Studio</title>")
        studio.signer = signer
        yield studio


USER = {"Authorization": "Token of-the-annotator"}


@pytest.fixture
def labels(run, studio, google, tmp_path):
    (tmp_path / "key.json").write_text(google.service_account(
        READER, grants={"my-bucket": ["objectViewer"],
                        "my-films": ["objectViewer"]}))
    return lambda **kw: run(
        "label-studio-settings", more="gcs_takeover_hosts "
        f"{google.url[7:]};", secrets=studio.signer.made,
        change=lambda text: text.replace("127.0.0.1:8080", studio.address),
        **kw)


def media(task: int, bucket: str, name: str) -> str:
    return f"/tasks/{task}/resolve/?fileuri={fileuri(bucket, name)}"


def test_pre_signed_or_not_the_browser_sees_no_difference(labels, studio):
    server = labels()
    server.wait_log("token refreshed")
    got = []
    for path in (media(1, "my-bucket", "images/a.txt"),
                 media(2, "my-films", "a.txt")):
        answer = server.get(path, USER)
        assert (answer.status, answer.body) == (200, BODY), server.log()
        answer = server.get(path, {**USER, "Range": "bytes=0-"})
        assert (answer.status, answer.body) == (206, BODY)
        got.append(answer.names)
        assert server.get(path).status == 401
    assert got[0] == got[1] and "location" not in got[0]
    log = "\n".join(lines_of(server, "media.log", 6))
    text = section("label-studio-settings", "See that it works")
    for word in ("takeover=redirect", "takeover=oracle"):
        assert word in log and f"`{word}`" in text


def test_the_life_of_the_signed_urls_has_no_effect(labels, studio):
    """A page that was open for hours asks again, and Label Studio signs."""
    server = labels()
    server.wait_log("token refreshed")
    sign = studio.signer.url
    studio.signer.url = lambda *names: sign(
        *names, at=time.time() - 10 * len(studio.requests))
    for _ in range(2):
        answer = server.get(media(1, "my-bucket", "images/a.txt"),
                            {**USER, "Cookie": f"n={len(studio.requests)}"})
        assert answer.body == BODY
    assert len(set(studio.signer.made)) == 2


def test_what_nginx_does_not_list_label_studio_delivers_itself(
        labels, studio, google):
    """It does not look at the prefix of a storage, so nginx's list is none
    of access."""
    google.put_object("my-bucket", "secret/a.txt", BODY)
    server = labels()
    answer = server.get(media(1, "my-bucket", "secret/a.txt"), USER)
    assert answer.status == 303
    assert browse(answer.get("Location")).body == BODY
    assert "takeover=passed" in lines_of(server, "media.log")[0]


def test_pages_exports_and_syncs_stay_label_studio_s(labels, studio):
    server = labels()
    for method, path in (("GET", "/projects/1/settings/storage"),
                         ("POST", "/api/storages/gcs/validate"),
                         ("POST", "/api/storages/gcs/1/sync"),
                         ("POST", "/api/storages/export/gcs/1/sync")):
        answer = server.request(method, path, USER, body=b"{}"
                                if method == "POST" else None)
        assert answer.status in (200, 405)
        assert studio.last().path == path


# presigned-or-proxied.md

@pytest.fixture
def three(run, google, key):
    """The whole configuration, with an application that signs."""
    signer = Signer(key.read_text(), google.url)
    with Application() as application:
        application.default = lambda asked: redirect(
            signer.url("my-bucket", asked.path.rpartition("/")[2]))
        server = run("presigned-or-proxied", more="gcs_takeover_hosts "
                     f"{google.url[7:]};", secrets=signer.made,
                     change=lambda text: text.replace("127.0.0.1:3000",
                                                      application.address))
        server.application = application
        yield server


def test_three_ways_serve_the_same_object(three, google):
    three.wait_log("token refreshed")
    served(three, "/media/a.txt")
    served(three, "/media/a.txt")
    assert len(google.requests("storage")) == 1      # the second is cached

    answer = three.get("/downloads/a.txt")
    assert (answer.status, answer.body[:1]) == (303, b"<")
    assert len(google.requests("storage")) == 1
    got = browse(answer.get("Location"))
    assert got.body == BODY
    assert got.get("Content-Disposition") == "attachment"

    answer = served(three, "/files/a.txt")
    assert "location" not in answer.names
    assert len(three.application.requests) == 1


def test_the_commands_show_which_is_which(three):
    said = carried_out(section("presigned-or-proxied", "See that it works"),
                       three)
    assert said == [f"200 {three.url('/media/a.txt')}\n", "303\n", "200\n"]


def test_a_signed_url_stays_the_same_within_its_window(three):
    """Unless the window ends in between, so three times."""
    urls = [three.get("/downloads/a.txt").get("Location") for _ in range(3)]
    assert len(set(urls)) < 3


def test_a_right_is_taken_back_at_once_or_with_the_role(three, google):
    url = three.get("/downloads/a.txt").get("Location")
    assert browse(url).body == BODY
    google.grant(READER, "my-bucket", [])
    answer = browse(url)
    assert answer.status == 403
    assert "does not have storage.objects.get access" in answer.text
    assert "does not have storage.objects.get access" \
        in row("presigned-or-proxied", "shows only when the URL is used")[0]
    # what it is about is not seen by nginx
    assert three.get("/downloads/a.txt").status == 303
    assert three.get("/media/other").status == 403


def test_what_goes_wrong_with_signed_urls_has_the_code_of_the_guide(
        three, google, key):
    url = three.get("/downloads/a.txt").get("Location")
    answer = browse(url, "HEAD")
    assert answer.status == 403
    answer = browse(url.replace("attachment", "inline"))
    assert answer.status == 403
    assert "SignatureDoesNotMatch" in answer.text
    assert "403" in row("presigned-or-proxied", "SignatureDoesNotMatch")[0]
    answer = browse(Signer(key.read_text(), google.url).url(
        "my-bucket", "a.txt", 60, at=1700000000))
    assert answer.status == 400
    assert "ExpiredToken" in answer.text
    assert "400" in row("presigned-or-proxied", "ExpiredToken")[0]


def test_a_map_chooses_by_name(run, google, key):
    google.put_object("my-bucket", "a.mp4", BODY)
    server = run("presigned-or-proxied", 0, title="Both at once")
    served(server)
    assert server.get("/media/a.mp4").status == 303


@pytest.mark.parametrize("network, status", [("127.0.0.0/8", 200),
                                             ("10.0.0.0/8", 303)])
def test_a_geo_chooses_by_address(run, google, key, network, status):
    server = run("presigned-or-proxied", 1, title="Both at once",
                 change=lambda text: text.replace("10.0.0.0/8", network))
    assert server.get("/media/a.txt").status == status


# all of them

@pytest.mark.parametrize("name", GUIDES)
def test_each_command_of_gcloud_is_one(name, google, tmp_path):
    known = Storage(google, tmp_path)
    for words in commands(filled(text_of(name))):
        if words[0] != "gcloud":
            continue
        plain = [word for word in words[1:] if not word.startswith("--")]
        assert any(hasattr(known, "do_" + "_".join(plain[:size])
                           .replace("-", "_"))
                   for size in range(1, len(plain) + 1)), words


@pytest.mark.parametrize("name", GUIDES)
def test_each_placeholder_is_explained(name):
    text = text_of(name)
    need = docs.sections(text)["What you need"]
    shell = "\n".join(blocks(text, "sh"))
    for word in {*VALUES, *MORE} - {"IDENTIFIER"}:
        if re.search(rf"\b{word}\b", shell):
            assert f"`{word}`" in need, word
    unknown = set(re.findall(r"(?<![\w$`-])[A-Z][A-Z_]{2,}\b(?![=\w-])",
                             shell)) - {*VALUES, *MORE}
    assert unknown <= {"AND", "CNAME", "PRIVATE_SERVICE_CONNECT"}


@pytest.mark.parametrize("name", GUIDES)
def test_a_table_has_as_many_columns_everywhere(name):
    """A cell with a bar in it would make one more."""
    for table in re.findall(r"(?:^\|.*\n)+", text_of(name), re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line))
                  for line in table.splitlines()}
        assert len(counts) == 1, table
