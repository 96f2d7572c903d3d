"""The origin, the proxy with the module, and the proxies to compare it with.

The origin is nginx with files behind it and answers with the headers of Cloud
Storage: the emulator, in Python, would be the slowest part and hide the rest.
Tokens are the emulator's.  The controls run in an nginx without the module,
with a token pasted into the configuration.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from emulator import Emulator, certificates
from harness import Nginx

BUCKET = "bench"
HOST = "storage.googleapis.com"

SIZES = {"1k": 1 << 10, "64k": 64 << 10, "16m": 16 << 20, "1g": 1 << 30}

# as Cloud Storage sends them with a small public object; what they say does
# not matter, but that they are there to be parsed and removed
ANSWER = """
    add_header x-guploader-uploadid AAIfwbench0000000000000000000000000000000;
    add_header x-goog-generation 1700000000000000;
    add_header x-goog-metageneration 1;
    add_header x-goog-stored-content-encoding identity;
    add_header x-goog-stored-content-length 1024;
    add_header x-goog-hash crc32c=AAAAAA==;
    add_header x-goog-hash md5=AAAAAAAAAAAAAAAAAAAAAA==;
    add_header x-goog-storage-class STANDARD;
    add_header alt-svc 'h3=":443"; ma=2592000';
    add_header Cache-Control "private, max-age=0";
"""

ORIGIN = """
access_log off;
keepalive_requests 100000000;
server {
    listen 127.0.0.1:%%PORT%%;
    listen 127.0.0.1:%%PORT_TLS%% ssl;
    ssl_certificate %%CERTIFICATE%%;
    ssl_certificate_key %%CERTIFICATE%%;
    ssl_session_cache shared:tls:1m;
    if ($http_authorization !~ "^Bearer .") { return 401; }
    location / {
        root %%FILES%%;
        sendfile on;
""" + ANSWER + """
    }
}
"""

PROXY = """
access_log off;
keepalive_requests 100000000;
gcs_credentials reader { file %%KEY%%; token_endpoint %%TOKEN%%; }
gcs_auth reader;
gcs_ssl_trusted_certificate %%CA%%;
server {
    listen 127.0.0.1:%%PORT%%;
    location /http/ {
        gcs_pass gs://bench/;
        gcs_endpoint http://127.0.0.1:%%HTTP%%;
    }
    location /tls/ {
        gcs_pass gs://bench/;
        gcs_endpoint https://127.0.0.1:%%TLS%% host=storage.googleapis.com;
    }
}
"""

# what one would write without the module, and does once one has found out
UPSTREAMS = """
upstream http_origin { server 127.0.0.1:%%HTTP%%; keepalive 64; }
upstream tls_origin { server 127.0.0.1:%%TLS%%; keepalive 64; }
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_set_header Host storage.googleapis.com;
proxy_set_header Authorization "Bearer %%BEARER%%";
proxy_ssl_verify on;
proxy_ssl_trusted_certificate %%CA%%;
proxy_ssl_server_name on;
proxy_ssl_name storage.googleapis.com;
proxy_ssl_session_reuse on;
"""

CONTROL = """
access_log off;
keepalive_requests 100000000;
""" + UPSTREAMS + """
server {
    listen 127.0.0.1:%%PORT%%;
    location /http/ { proxy_pass http://http_origin/bench/; }
    location /tls/ { proxy_pass https://tls_origin/bench/; }
}
server {
    listen 127.0.0.1:%%PORT_TUNED%%;
    proxy_buffering off;
    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    location /http/ { proxy_pass http://http_origin/bench/; }
    location /tls/ { proxy_pass https://tls_origin/bench/; }
}
"""


class Server(Nginx):
    """nginx with room for thousands of connections."""

    def _write(self) -> None:
        super()._write()
        self.conf.write_text(self.conf.read_text().replace(
            "worker_connections 1024", "worker_connections 8192"))

    @property
    def worker(self) -> int:
        return self.children()[0]


@dataclass
class Target:
    """What a load goes to: module, defaults or tuned."""

    server: Server
    port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def cores() -> tuple[set[int], set[int]]:
    """A core for the proxy alone, if there are two, and those for the rest.

    So the proxy is what is slowest, and its work is what is measured.
    """
    here = sorted(os.sched_getaffinity(0))
    return {here[-1]}, set(here[:-1]) or {here[-1]}


class Bench:
    """All that one run needs, in a folder; a context manager."""

    def __init__(self, directory: Path, module: Path):
        self.dir = directory
        self.module = module
        self.running: list[Server] = []
        self.proxy_cores, self.other_cores = cores()

    def __enter__(self) -> "Bench":
        os.sched_setaffinity(0, self.other_cores)
        self._files()
        self.emulator = Emulator().start()
        try:
            self._origin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.running[::-1]:
            self.stop(server)
        self.emulator.stop()

    def _files(self) -> None:
        folder = self.dir / "files" / BUCKET
        folder.mkdir(parents=True)
        for name, size in SIZES.items():
            with open(folder / name, "wb") as file:
                if size <= 16 << 20:
                    file.write(os.urandom(size))
                else:
                    file.truncate(size)

        tls = self.dir / "tls"
        tls.mkdir()
        self.ca, self.certificate = certificates.create(str(tls))

    def _origin(self) -> None:
        self.emulator.create_bucket(BUCKET)
        key = self.key()
        email = json.loads(key.read_text())["client_email"]
        self.names = {
            "KEY": key, "TOKEN": self.emulator.token_uri, "CA": self.ca,
            "BEARER": self.emulator.mint_token(email, lifetime=86400),
        }
        self.origin = self.start("origin", ORIGIN, self.other_cores,
                                 CERTIFICATE=self.certificate,
                                 FILES=self.dir / "files")
        self.names.update(HTTP=self.origin.ports["PORT"],
                          TLS=self.origin.ports["PORT_TLS"])

    def key(self) -> Path:
        """The key of one more service account."""
        text = self.emulator.service_account(
            grants={BUCKET: ["objectViewer"]})
        path = self.dir / f"{json.loads(text)['client_email']}.json"
        path.touch(0o600)
        path.write_text(text)
        return path

    def make(self, name: str, http: str, cores: set[int],
             module: bool = False, main: str = "",
             **names: object) -> Server:
        mask = "".join("1" if core in cores else "0"
                       for core in range(max(cores), -1, -1))
        return Server(self.dir / name, http, log_level="error",
                      main=f"worker_rlimit_nofile 16384;\n"
                           f"worker_cpu_affinity {mask};\n{main}",
                      modules=[self.module] if module else [],
                      **{**self.names, **names})

    def start(self, name: str, http: str, cores: set[int],
              module: bool = False, **names: object) -> Server:
        server = self.make(name, http, cores, module, **names)
        server.start()
        self.running.append(server)
        return server

    def stop(self, server: Server) -> None:
        self.running.remove(server)
        wrong = server.finish()
        if wrong:
            raise SystemExit("\n".join(wrong))

    def targets(self, name: str = "proxy") -> dict[str, Target]:
        """The proxies, ready: the module has its token."""
        module = self.start(name, PROXY, self.proxy_cores, module=True)
        stock = self.start(name + "-stock", CONTROL, self.proxy_cores)
        targets = {"module": Target(module, module.port),
                   "defaults": Target(stock, stock.port),
                   "tuned": Target(stock, stock.ports["PORT_TUNED"])}
        for target in targets.values():
            for path in ("/http/1k", "/tls/1k"):
                self.ready(target, path)
        return targets

    @staticmethod
    def ready(target: Target, path: str) -> None:
        end = time.monotonic() + 20
        while True:
            answer = target.server.get(path, port=target.port)
            if answer.status == 200 and len(answer.body) == SIZES["1k"]:
                return
            if time.monotonic() > end:
                raise SystemExit(f"{target.url(path)} answers "
                                 f"{answer.status}:\n{target.server.words()}")
            time.sleep(0.05)
