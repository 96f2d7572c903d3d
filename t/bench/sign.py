"""Signed URLs: how many a worker makes, and who waits meanwhile.

Everything here runs on the worker's core, one at a time, and what it makes is
counted per second of processor time: it does not matter then whether the load
generator on the other core keeps up.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from harness.client import Connection

from . import pace
from .load import burst
from .servers import BUCKET, Bench, Target

HERE = Path(__file__).resolve().parent


@dataclass
class Setting:
    """A way to sign, and what it needs in nginx.conf."""

    name: str
    main: str = ""              # beside "http { }", such as a thread_pool
    presign: str = ""           # in each location that signs


SETTINGS = [
    Setting("as it comes"),
]

SIGNER = """
access_log off;
keepalive_requests 100000000;
gcs_credentials rsa { file %%KEY%%; token_endpoint %%TOKEN%%; }
gcs_credentials hmac { hmac_key %%HMAC_ID%% %%HMAC_SECRET%%; }
gcs_auth rsa;
gcs_endpoint https://127.0.0.1:%%TLS%% host=storage.googleapis.com;
server {
    listen 127.0.0.1:%%PORT%%;
    location /http/ {
        gcs_pass gs://bench/;
        gcs_endpoint http://127.0.0.1:%%HTTP%%;
    }
    location /rsa/ {
        gcs_pass gs://bench/;
        gcs_mode presign;
        %%PRESIGN%%
    }
    location /window/ {
        gcs_pass gs://bench/;
        gcs_mode presign;
        gcs_presign_window 5m;
        %%PRESIGN%%
    }
    location /hmac/ {
        gcs_pass gs://bench/;
        gcs_auth hmac;
        gcs_mode presign;
        %%PRESIGN%%
    }
}
"""

# what could not be faster in nginx: a URL that is always the same
FIXED = """
access_log off;
keepalive_requests 100000000;
server {
    listen 127.0.0.1:%%PORT%%;
    location / { return 302 "%%URL%%"; }
}
"""

# each request is for another object; the text is made here, for
# wrk.format() takes more time than the fastest of the servers
UNIQUE = """
local number, path = tonumber(os.getenv("FIRST")), wrk.path
request = function()
    number = number + 1
    return string.format(
        "GET %s%09d.jpg HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n",
        path, number)
end
"""

FOLDER = "photos/"
ONE = f"{FOLDER}000000000.jpg"

# how many names a measurement may use up: no two have one in common
NAMES = 10_000_000
LAST = 10 ** 9


@dataclass
class Measured:
    rate: float                 # URLs per second
    cpu: float                  # URLs per second of processor time


class Missing(Exception):
    """Something cannot be measured here, and why."""


Measure = Callable[[int], Measured]

# a client leaves one request behind, which is work that nobody counts: with
# RSA, which takes so long, they must be few
CONNECTIONS, FEW = 32, 4


class Signing:
    """The servers and programs of the part; measures[name](seconds)."""

    def __init__(self, bench: Bench, go: bool):
        self.bench = bench
        self.first = itertools.count(0, NAMES)
        self.missing: dict[str, str] = {}
        self.signers = {setting.name: self._signer(setting)
                        for setting in SETTINGS}
        self.fixed = self._fixed()

        first = self.signers[SETTINGS[0].name]
        self.measures: dict[str, Measure] = {
            "openssl": self._openssl,
            **{f"rsa, {name}": self._unique(target, "/rsa/", FEW)
               for name, target in self.signers.items()},
            "hmac": self._unique(first, "/hmac/"),
            "window": self._same(first, "/window/"),
            "302, unique": self._unique(self.fixed, "/fixed/"),
            "302": self._same(self.fixed, "/fixed/"),
        }
        for name, command in (
                ("python", lambda: self._python()),
                ("go", lambda: self._go(go)),
                ("go, key parsed", lambda: [*self._go(go), "-parsed"])):
            try:
                self.measures[name] = self._program(name, command())
            except Missing as why:
                self.missing[name] = str(why)

    def stop(self) -> None:
        for target in (*self.signers.values(), self.fixed):
            self.bench.stop(target.server)

    # servers

    def _signer(self, setting: Setting) -> Target:
        bench = self.bench
        if "HMAC_ID" not in bench.names:
            name, secret = bench.emulator.hmac_key(
                self.account["client_email"],
                grants={BUCKET: ["objectViewer"]})
            path = bench.dir / "hmac-secret"
            path.touch(0o600)
            path.write_text(secret)
            bench.names.update(HMAC_ID=name, HMAC_SECRET=path)

        server = bench.start(f"sign-{setting.name.replace(' ', '-')}", SIGNER,
                             bench.proxy_cores, module=True,
                             main=setting.main, PRESIGN=setting.presign)
        target = Target(server, server.port)
        bench.ready(target, "/http/1k")
        for place in ("/rsa/", "/window/", "/hmac/"):
            url_of(target, place)
        return target

    def _fixed(self) -> Target:
        url = url_of(self.signers[SETTINGS[0].name], "/window/")
        server = self.bench.start("sign-fixed", FIXED, self.bench.proxy_cores,
                                  URL=url)
        target = Target(server, server.port)
        assert url_of(target, "/fixed/") == url
        return target

    def threads(self, setting: Setting) -> int:
        """How many the worker has, beside its own."""
        worker = self.signers[setting.name].server.worker
        return len(os.listdir(f"/proc/{worker}/task")) - 1

    @property
    def account(self) -> dict[str, str]:
        return json.loads(Path(str(self.bench.names["KEY"])).read_text())

    # by wrk

    def _unique(self, target: Target, place: str,
                connections: int = CONNECTIONS) -> Measure:
        def measure(seconds: int) -> Measured:
            return measured(*burst(self.bench, target, place + FOLDER,
                                   connections, seconds, UNIQUE,
                                   FIRST=next(self.first) % LAST))
        return measure

    def _same(self, target: Target, place: str) -> Measure:
        def measure(seconds: int) -> Measured:
            return measured(*burst(self.bench, target, place + ONE,
                                   CONNECTIONS, seconds, ""))
        return measure

    # programs

    def alone(self, command: list[str], **kw: object) \
            -> subprocess.CompletedProcess[str]:
        """On the core of the proxy, which has nothing to do meanwhile."""
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self.bench.proxy_cores),
            **kw)

    def _openssl(self, seconds: int) -> Measured:
        """Private operations of OpenSSL's own loop.

        It takes its user time, which is all that it needs.
        """
        done = self.alone(["openssl", "speed", "-mr", "-seconds",
                           str(seconds), "rsa2048"])
        # OpenSSL 3.0 prints what is for machines beside the errors
        match = re.search(r"^\+R1:(\d+):2048:([\d.]+)$",
                          done.stdout + done.stderr, re.MULTILINE)
        if done.returncode or not match:
            raise SystemExit(f"openssl speed failed:\n{done.stderr}")
        count = int(match.group(1))
        return Measured(count / seconds, count / float(match.group(2)))

    def _python(self) -> list[str]:
        done = self.alone([sys.executable, "-c",
                           "import google.cloud.storage"])
        if done.returncode:
            raise Missing("google-cloud-storage is missing: "
                          "./build.sh prepare installs it")
        return [sys.executable, "-m", "bench.google_client"]

    def _go(self, wanted: bool) -> list[str]:
        """The program in go/, made with the modules that its go.sum names."""
        if not wanted:
            raise Missing("left out, it takes minutes to build")
        if shutil.which("go") is None:
            raise Missing("no go")

        program = self.bench.dir / "sign-go"
        if not program.exists():
            done = subprocess.run(
                ["go", "build", "-mod=readonly", "-o", str(program), "."],
                cwd=HERE / "go", capture_output=True, text=True,
                stdin=subprocess.DEVNULL)
            if done.returncode:
                raise Missing("go build fails: "
                              + done.stderr.strip().splitlines()[-1])
        return [str(program)]

    def _program(self, name: str, command: list[str]) -> Measure:
        def measure(seconds: int) -> Measured:
            done = self.alone([
                *command, str(self.bench.names["KEY"]), BUCKET, FOLDER,
                str(next(self.first) % LAST), str(seconds)])
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr}")
            result = json.loads(done.stdout)
            ours = url_of(self.signers[SETTINGS[0].name], "/rsa/",
                          result["object"])
            if timeless(result["url"]) != timeless(ours):
                raise SystemExit(f"{name} signs something else:\n"
                                 f"{result['url']}\n{ours}")
            return Measured(result["count"] / result["seconds"],
                            result["count"] / result["cpu"])
        return measure

    # who waits

    def latency(self, setting: Setting, capacity: float, seconds: int,
                signing_first: bool) -> dict[str, pace.Latency]:
        """Of a proxied object, quiet and while URLs are being signed."""
        target = self.signers[setting.name]
        found = {}
        for name in ("signing", "quiet") if signing_first \
                else ("quiet", "signing"):
            rate = capacity / 2 if name == "signing" else 0
            found[name] = pace.measure(
                target.port, "/http/1k", "/rsa/" + FOLDER,
                next(self.first) % LAST, rate, seconds)
        return found


def measured(result: dict[str, int], cpu: float) -> Measured:
    return Measured(result["requests"] / result["us"] * 1e6,
                    result["requests"] / cpu)


def url_of(target: Target, place: str, name: str = ONE) -> str:
    """Where a request is sent to."""
    with Connection(target.port) as connection:
        answer = connection.get(place + name)
    if answer.status not in (302, 303) \
            or f"/{name}?" not in str(answer.get("Location")):
        raise SystemExit(f"{place + name} answers {answer.status}:\n"
                         + target.server.words())
    return str(answer.get("Location"))


def timeless(url: str) -> tuple[str, list[str]]:
    """A signed URL without what depends on the second it was made in.

    Go's client puts the signature among the other parameters.
    """
    address, _, query = url.partition("?")
    query = re.sub(r"(?<=Date=)\w+|(?<=Expires=)\d+|(?<=%2F)\d{8}(?=%2F)"
                   r"|(?<=Signature=)[0-9a-f]{512}", "", query)
    return address, sorted(query.split("&"))
