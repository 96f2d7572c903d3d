"""Label Studio in its proxy mode, and with the module before it.

It is a real one, and it believes that an nginx with files is Google: buckets,
objects and tokens are the emulator's, asked once and then kept by that nginx,
media are files.  So Label Studio has its answers at once, and the module reads
the same files over the same TLS.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, TypeVar

from harness.label_studio import (BUCKET, GOOGLE, LabelStudio, Missing,
                                    Project, cookie, environment)
from harness.nginx import free_port, wait_until

from .browse import BEGINNING, SOUGHT, Broken, Player, look
from .servers import ANSWER, Bench, Server

T = TypeVar("T")

FILM = 85_000_000
PICTURE = 2_000_000
PICTURES = 25

# seconds until Google's answer begins, where it is not at once
FAR = 0.02

# Everything that Label Studio knows of Google.  The cache is for the JSON of
# bucket and objects.
ORIGIN = """
access_log off;
keepalive_requests 100000000;
upstream later { server 127.0.0.1:%%LATER%%; keepalive 64; }
proxy_cache_path %%DIR%%/cache keys_zone=json:1m inactive=1d;
server {
    listen 127.0.0.1:%%PORT%% ssl;
    ssl_certificate %%CERTIFICATE%%;
    ssl_certificate_key %%CERTIFICATE%%;
    ssl_session_cache shared:tls:1m;
    proxy_set_header Host $host;
    types { video/mp4 mp4; image/jpeg jpg; }
    sendfile on;
    set $who "$http_authorization $args";
    auth_request ASK;
    location = /later {
        internal;
        auth_request off;
        proxy_pass http://later;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass_request_headers off;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
    }
    location / {
        proxy_pass %%EMULATOR%%;
    }
    location /storage/v1/b/ {
        if ($who !~ "^Bearer .") { return 401; }
        proxy_pass %%EMULATOR%%;
        proxy_cache json;
        proxy_cache_valid 200 1d;
        proxy_ignore_headers Cache-Control Expires Vary;
    }
    location /download/storage/v1/b/media/o/ {
        if ($who !~ "^Bearer .") { return 401; }
        alias %%FILES%%/media/;
""" + ANSWER + """
    }
    location /media/ {
        if ($who !~ "^Bearer .|[ &]X-Goog-Signature=.") { return 401; }
        root %%FILES%%;
""" + ANSWER + """
    }
}
"""

# As Label Studio's image has it, whose own nginx passes everything on and is
# otherwise as nginx comes.
PAGES = """
access_log off;
sendfile on;
tcp_nopush on;
gzip on;
gzip_proxied any;
gzip_types text/plain text/css application/json application/javascript;
proxy_connect_timeout 90;
proxy_send_timeout 90;
proxy_read_timeout 90;
proxy_redirect off;
proxy_set_header Host $http_host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
"""

STOCK = PAGES + """
server {
    listen 127.0.0.1:%%PORT%%;
    location / { proxy_pass http://127.0.0.1:%%STUDIO%%; }
}
"""

# as the guide has it
MODULE = PAGES + """
gcs_endpoint https://127.0.0.1:%%GOOGLE%% host=storage.googleapis.com;
gcs_ssl_trusted_certificate %%CA%%;
gcs_credentials reader { file %%READER%%; token_endpoint %%TOKEN%%; }
server {
    listen 127.0.0.1:%%PORT%%;
    location / { proxy_pass http://127.0.0.1:%%STUDIO%%; }
    location ~ ^/(tasks|projects)/\\d+/(resolve|presign)/?$ {
        proxy_pass http://127.0.0.1:%%STUDIO%%;
        gcs_takeover @gcs %%VALUE%%;
        %%CACHE%%
    }
    location @gcs {
        gcs_pass $gcs_takeover_url;
        gcs_auth %%AUTH%%;
    }
}
"""


# what the guide has for storages with pre-signed URLs, and without
SIGNATURE = {"VALUE": "", "AUTH": "signature"}
ORACLE = {"VALUE": "$gcs_fileuri", "AUTH": "reader; gcs_buckets media"}

ALWAYS = {"CACHE": ""}
REMEMBERED = {"CACHE": "gcs_takeover_cache zone=verdicts:10m valid=5s;"}


def available() -> None:
    """Raises Missing if there is no Label Studio."""
    if os.environ.get("GCS_LABEL_STUDIO") == "0":
        raise Missing("GCS_LABEL_STUDIO is 0")
    environment()


class Served(LabelStudio):
    """By uWSGI with the settings of Label Studio's image, if there is one.

    Otherwise by Django's own server, as `label-studio start` does.  That one
    also makes the user, so it has to have run in the same folder before.
    """

    def __init__(self, processes: int, *arguments: object, **more: object):
        super().__init__(*arguments, **more)
        self.uwsgi = self.venv / "bin" / "pyuwsgi"
        self.processes = processes
        self.prepared = False
        self.stats = 0

    @property
    def server(self) -> str:
        if self._by_uwsgi:
            return f"uWSGI, {self.processes} processes of one thread"
        return "Django's own server, threads"

    @property
    def counts_all(self) -> bool:
        """Django's own server does not tell of those who have hung up."""
        return self._by_uwsgi

    @property
    def _by_uwsgi(self) -> bool:
        return self.prepared and self.uwsgi.exists()

    def _environment(self, data: Path) -> dict[str, str]:
        settings = {"DJANGO_SETTINGS_MODULE": "core.settings.label_studio"}
        return super()._environment(data) | (
            settings if self._by_uwsgi else {})

    def _command(self, *arguments: str) -> list[str]:
        if arguments[0] != "start" or not self._by_uwsgi:
            return super()._command(*arguments)
        [package] = self.venv.glob("lib/python3*/site-packages/label_studio")
        self.stats = free_port()
        # all processes from the start, and none of them ever anew
        return [str(self.uwsgi), "--http", f"127.0.0.1:{self.port}",
                "--stats", f"127.0.0.1:{self.stats}",
                "--chdir", str(package), "--module", "core.wsgi:application",
                "--processes", str(self.processes), "--threads", "1",
                *"--master --single-interpreter --enable-threads --lazy-apps "
                "--thunder-lock --need-app --die-on-term --ignore-sigpipe "
                "--ignore-write-errors --disable-write-exception "
                "--disable-logging --buffer-size 65535 --post-buffering 4096 "
                "--http-timeout 300 --harakiri 120".split()]

    def stop(self) -> None:
        """The master first, who then ends all others."""
        if self.process is not None and self._by_uwsgi:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        super().stop()

    def asked(self) -> int:
        """Requests so far."""
        if not self._by_uwsgi:
            return len(self.requests("/tasks/"))
        return sum(worker["requests"] for worker in self._workers())

    def _workers(self) -> list[dict[str, Any]]:
        if not self._by_uwsgi:
            return []
        with socket.create_connection(("127.0.0.1", self.stats), 10) as sock:
            text = b"".join(iter(lambda: sock.recv(65536), b""))
        return json.loads(text)["workers"]

    def cpu(self) -> float:
        """Seconds that all its processes have run, also ended threads."""
        assert self.process is not None
        total = 0.0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:
                    # what clock_getcpuclockid() makes of a process
                    total += time.clock_gettime(
                        ~int(path.parent.name) << 3 | 2)
        return total

    def settle(self) -> None:
        """What it still does for those who have hung up counts as well."""
        last = -1.0

        def idle() -> bool:
            nonlocal last
            before, last = last, self.cpu()
            time.sleep(0.05)
            return last - before < 0.002 and not any(
                worker["status"] == "busy" for worker in self._workers())

        wait_until(idle, 60, "Label Studio has no rest")


@dataclass
class Target:
    """One way to its media."""

    server: Server
    project: Project


@dataclass
class Size:
    """Of a measurement."""

    annotators: int
    pictures: int               # of each annotator
    openings: int               # of the film, to see how long that takes
    places: int                 # that one seeks in it
    processes: int              # of Label Studio, per processor


@dataclass
class Measured:
    """Seconds, and requests that reached Label Studio."""

    first: float                # of a film, see browse.Played
    begun: float
    whole: float
    asked: int
    film_cpu: float             # Label Studio's, per MB
    sought: float
    sought_asked: int
    look: float
    look_cpu: float             # per MB


class Studio:
    """Google, Label Studio, and all that stands before it."""

    def __init__(self, bench: Bench, size: Size):
        self.bench = bench
        self.size = size
        self.targets: dict[str, Target] = {}
        self.who = itertools.count()
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "Studio":
        # as on a machine with nothing else, each may run wherever it likes
        pinned = os.sched_getaffinity(0)
        self.stack.callback(os.sched_setaffinity, 0, pinned)
        os.sched_setaffinity(0, pinned | self.bench.proxy_cores)
        try:
            self._start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    # set up

    def _start(self) -> None:
        bench = self.bench
        self._files()
        self.google = google = self._server(
            "google", ORIGIN.replace("ASK", "off"), LATER=self._later(),
            EMULATOR=bench.emulator.url, CERTIFICATE=bench.certificate,
            FILES=bench.dir / "files",
            # Label Studio leaves connections open that it reads no more
            main="worker_shutdown_timeout 1s;\n")
        self.studio = Served(
            self.size.processes * len(os.sched_getaffinity(0)),
            bench.dir / "studio", bench.emulator, env={
                "GCS_EMULATOR_PORT": str(google.port),
                "REQUESTS_CA_BUNDLE": str(bench.ca)})
        with self.studio:
            projects = {presign: self.studio.project(
                presign=presign, tasks=[{"image": f"gs://{BUCKET}/film.mp4"}])
                for presign in (False, True)}
        self.studio.prepared = True
        self.stack.enter_context(self.studio)
        self.cookies = self.studio.login()

        names = {"STUDIO": self.studio.port, "GOOGLE": google.port,
                 "READER": self._reader()}
        for name, text, presign, more in (
                ("proxied", STOCK, False, {}),
                ("redirects", MODULE, True, {**SIGNATURE, **ALWAYS}),
                ("redirects-remembered", MODULE, True,
                 {**SIGNATURE, **REMEMBERED}),
                ("oracle", MODULE, False, {**ORACLE, **ALWAYS}),
                ("oracle-remembered", MODULE, False,
                 {**ORACLE, **REMEMBERED})):
            server = self._server(f"studio-{name}", text, text is MODULE,
                                  **names, **more)
            self.targets[name] = Target(server, projects[presign])

    def _files(self) -> None:
        """The same files for Google and for the nginx that stands for it."""
        emulator = self.bench.emulator
        emulator.configure(token_audiences=[GOOGLE])
        emulator.create_bucket(BUCKET)
        folder = self.bench.dir / "files" / BUCKET
        folder.mkdir()
        for name, size, content_type in (
                ("film.mp4", FILM, "video/mp4"),
                *((f"{number}.jpg", PICTURE, "image/jpeg")
                  for number in range(PICTURES))):
            (folder / name).write_bytes(os.urandom(size))
            emulator.put_object(BUCKET, name, size=size,
                                content_type=content_type)

    def _later(self) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.later", str(FAR)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def _reader(self) -> Path:
        path = self.bench.dir / "studio-reader.json"
        path.touch(0o600)
        path.write_text(self.bench.emulator.service_account(
            grants={BUCKET: ["objectViewer"]}))
        return path

    def _server(self, name: str, http: str, module: bool = False,
                **names: object) -> Server:
        bench = self.bench
        server = Server(bench.dir / name, http, log_level="error",
                        workers=len(os.sched_getaffinity(0)),
                        modules=[bench.module] if module else [],
                        **{**bench.names, **names})
        server.start()
        bench.running.append(server)
        self.stack.callback(bench.stop, server)
        return server

    def far(self, far: bool) -> None:
        """Google answers at once, or after a while."""
        self.google.configure(
            ORIGIN.replace("ASK", "/later" if far else "off"))
        self.google.reload(old_gone=True)
        self._check()

    # measure

    def _check(self) -> None:
        """Everybody delivers this very film; and all are warm then."""
        file = self.bench.dir / "files" / BUCKET / "film.mp4"
        wanted = hashlib.sha256(file.read_bytes()).digest()
        for name, target in self.targets.items():
            seen = hashlib.sha256()
            with self._words(name, target):
                self._player(target).play(FILM, seen.update)
            if seen.digest() != wanted:
                raise SystemExit(f"{name}: that is another film")
        self.studio.settle()

    def measure(self, name: str, turn: int) -> Measured:
        target, size = self.targets[name], self.size
        # the same in each round for all, but never twice
        chance = random.Random(turn)
        places = [chance.randrange(0, FILM - SOUGHT) & ~0x7fff
                  for _ in range(size.places)]
        pictures = [[target.project.media(f"{number}.jpg") for number
                     in chance.sample(range(PICTURES), size.pictures)]
                    for _ in range(size.annotators)]
        player = self._player(target)

        with self._words(name, target):
            opened = [self._player(target).play(BEGINNING)
                      for _ in range(size.openings)]
            self.studio.settle()
            film, asked, cpu = self._cost(lambda: player.play(FILM))
            sought, sought_asked, _ = self._cost(lambda: player.seek(places))
            seconds, _, look_cpu = self._cost(lambda: look(
                target.server.port, pictures, PICTURE, self.cookies))
        return Measured(
            statistics.median(one.first for one in opened),
            statistics.median(one.begun for one in opened),
            film.whole, asked, cpu / (FILM / 1e6),
            sought, sought_asked, seconds,
            look_cpu / (size.pictures * size.annotators * PICTURE / 1e6))

    def least(self) -> float:
        """Seconds of its processors for what it answers without looking."""
        count = 50
        target = f"/tasks/{self.targets['proxied'].project.task}/resolve/"
        headers = {"Cookie": cookie(self.cookies)}

        def ask() -> None:
            for _ in range(count):
                # no fileuri: but only to those who have logged in
                if self.studio.get(target, headers).status != 400:
                    raise SystemExit(f"{target} is not answered by 400")
        return self._cost(ask)[2] / count

    def _cost(self, action: Callable[[], T]) -> tuple[T, int, float]:
        """What it yields, and what it cost Label Studio."""
        asked, cpu = self.studio.asked(), self.studio.cpu()
        done = action()
        self.studio.settle()
        return done, self.studio.asked() - asked, self.studio.cpu() - cpu

    def _player(self, target: Target) -> Player:
        """Of somebody who has not been here before."""
        return Player(target.server.port, target.project.media("film.mp4"),
                      self.cookies | {"annotator": f"new-{next(self.who)}"})

    @contextlib.contextmanager
    def _words(self, name: str, target: Target) -> Iterator[None]:
        try:
            yield
        except (Broken, OSError) as exc:
            raise SystemExit(f"{name}: {exc}\n{target.server.words()}\n"
                             f"{self.studio.log()[-3000:]}") from None

