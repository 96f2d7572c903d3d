"""nginx as a process: its configuration, its life, its logs.

Only the standard library, because the demo uses it too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterable

from . import checks
from .client import Connection, Headers, Response

# the file of suppressions: every nginx runs under valgrind, much slower
VALGRIND = os.environ.get("GCS_VALGRIND")
SLOWNESS = 10 if VALGRIND else 1

# Variables that Google's and AWS's clients read: a test sets its own.  (And to
# nginx NGINX means the sockets of an upgrade.)
IDENTITIES = ("GOOGLE_", "CLOUDSDK_", "GCE_", "NO_GCE_CHECK", "AWS_",
              "K_SERVICE", "CLOUD_RUN_JOB", "FUNCTION_NAME")

CONFIGURATION = """\
%(modules)s
%(user)s
worker_processes %(workers)d;
pid %(dir)s/nginx.pid;
error_log %(dir)s/error.log %(log_level)s;
%(main)s

events {
    worker_connections 1024;
    %(events)s
}

http {
    log_format test '$remote_addr "$request" $status $body_bytes_sent '
                    'time=$request_time up=$upstream_status '
                    'connect=$upstream_connect_time';
    access_log %(dir)s/access.log test;
    client_body_temp_path %(dir)s/client_temp;
    proxy_temp_path %(dir)s/proxy_temp;
    fastcgi_temp_path %(dir)s/fastcgi_temp;
    uwsgi_temp_path %(dir)s/uwsgi_temp;
    scgi_temp_path %(dir)s/scgi_temp;

%(http)s
}
"""

SERVER = """\
server {
    listen 127.0.0.1:%%%%PORT%%%%;
    server_name localhost;
%s
}
"""


class NginxError(Exception):
    """nginx did not do what it was told; the text has its own words."""


def binary() -> str:
    path = os.environ.get("NGINX") or shutil.which("nginx") \
        or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise NginxError("no nginx; set NGINX")
    return path


def _say(option: str) -> str:
    env = {name: os.environ[name] for name in os.environ if name != "NGINX"}
    return subprocess.run([binary(), option], capture_output=True, text=True,
                          check=True, env=env).stderr


def modules_path() -> Path:
    """Where nginx's own dynamic modules are."""
    said = _say("-V")
    match = re.search(r"--modules-path=([^ ']+)", said) \
        or re.search(r"--prefix=([^ ']+)", said)
    path = match.group(1) if match else "/usr/local/nginx"
    return Path(path if "modules-path" in said else path + "/modules")


def version() -> tuple[int, ...]:
    said = _say("-v")
    match = re.search(r"/(\d+)\.(\d+)\.(\d+)", said)
    assert match, said
    return tuple(int(part) for part in match.groups())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until(what: Callable[[], object], timeout: float = 10,
               message: str = "it did not happen in time") -> None:
    end = time.monotonic() + timeout * SLOWNESS
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(message)
        time.sleep(0.01)


def sanitizer_environment() -> dict[str, str]:
    """For the module built with sanitizers in an nginx built without."""
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"],
                             capture_output=True, text=True, check=True)
    return {
        "LD_PRELOAD": library.stdout.strip(),
        # every dynamic module has an ngx_modules[] of its own
        "ASAN_OPTIONS": "detect_odr_violation=0:detect_leaks=0:"
                        "detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def under_valgrind(directory: Path) -> list[str]:
    """What stands before nginx in a command; workers are checked too."""
    if not VALGRIND:
        return []
    return ["valgrind", "--quiet", "--vgdb=no", "--trace-children=yes",
            # a test's, before nginx; valgrind runs nothing that is setuid
            "--trace-children-skip=*/mount",
            "--num-callers=30", "--leak-check=full",
            "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
            f"--suppressions={VALGRIND}", "--gen-suppressions=all",
            f"--log-file={directory}/valgrind.%p.log"]


class Nginx:
    """One nginx in a folder of its own.

    http      what stands in "http { }"
    server    what stands in a "server { }" of it that listens at %%PORT%%
    main      what stands before "events { }"
    modules   the dynamic modules to load, paths or names of nginx's own
    daemon    on, as services are; upgrade() works only so
    env       variables of the environment; without HOME that is a folder
              that is not there, and none of ours is about identities
    names     values of placeholders: NAME="x" replaces %%NAME%%

    %%PORT%%, and any other %%PORT_something%%, is a free port; self.ports has
    them by name.  %%DIR%% is the folder.
    """

    def __init__(self, directory: Path, http: str = "", *,
                 server: str | None = None, main: str = "", events: str = "",
                 workers: int = 1, log_level: str = "info",
                 modules: Iterable[str | Path] = (), user: str | None = None,
                 daemon: bool = False,
                 env: dict[str, str] | None = None, **names: object):
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.workers = workers
        self.ports: dict[str, int] = {}
        self.connections: list[Connection] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.expected: list[str] = []      # patterns of alerts, see expect()
        self.graceful = True               # how the test's end stops it
        self._names = names
        self._daemon = daemon
        self._env = self._environment(env or {})
        self._settings = {
            "main": self._keep(env) + main, "events": events,
            "workers": workers, "log_level": log_level,
            "modules": self._load(modules), "user": self._user(user),
            "dir": str(self.dir),
        }
        self.configure(http, server)

    def _environment(self, env: dict[str, str]) -> dict[str, str]:
        """Ours, without what tells programs who they are, and with `env`."""
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(IDENTITIES) and name != "NGINX"}
        return {**kept, "HOME": str(self.dir / "home"), **env}

    @staticmethod
    def _load(modules: Iterable[str | Path]) -> str:
        lines = []
        for module in modules:
            if "/" not in str(module):
                module = modules_path() / module
            lines.append(f"load_module {module};")
        return "\n".join(lines)

    @staticmethod
    def _keep(env: dict[str, str] | None) -> str:
        # nginx clears its environment before it starts a new binary
        names = [name for name in env or {}
                 if name == "LD_PRELOAD" or name.endswith("SAN_OPTIONS")]
        return "".join(f"env {name};\n" for name in names)

    @staticmethod
    def _user(user: str | None) -> str:
        # without it the workers of root's nginx are nobody's, who may not
        # enter a test's folder
        if os.geteuid() != 0:
            return ""
        return f"user {user or 'root'};"

    # configuration

    def configure(self, http: str = "", server: str | None = None) -> None:
        """Write another configuration; reload() or start() makes it real."""
        if server is not None:
            http += "\n" + SERVER % server
        self._template = CONFIGURATION % {**self._settings, "http": http}
        self._write()

    def _write(self) -> None:
        self.conf.write_text(self.expand(self._template))

    def expand(self, text: str) -> str:
        """Fill the placeholders in."""
        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in self._names:
                return str(self._names[name])
            if name == "DIR":
                return str(self.dir)
            if name == "PORT" or name.startswith("PORT_"):
                return str(self.ports.setdefault(name, free_port()))
            raise KeyError(f"%%{name}%% has no value")

        return re.sub(r"%%([A-Z0-9_]+)%%", value, text)

    @property
    def conf(self) -> Path:
        return self.dir / "nginx.conf"

    @property
    def port(self) -> int:
        return self.ports["PORT"]

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _command(self, *more: str) -> list[str]:
        return [*under_valgrind(self.dir), binary(), "-p", str(self.dir),
                "-c", str(self.conf), "-e", str(self.dir / "error.log"),
                *more]

    def test(self) -> subprocess.CompletedProcess[str]:
        """nginx -t: its exit code, and what it says in stderr."""
        return subprocess.run(
            [*under_valgrind(self.dir), binary(), "-t", "-p", str(self.dir),
             "-c", str(self.conf), "-e", "stderr"],
            capture_output=True, text=True, env=self._env,
            timeout=60 * SLOWNESS, stdin=subprocess.DEVNULL)

    def refusal(self, lines: int = 1) -> str:
        """The one line (or so many) by which nginx -t refuses itself."""
        tested = self.test()
        said = [line for line in tested.stderr.splitlines()
                if "[emerg]" in line]
        assert tested.returncode == 1, f"it is accepted:\n{tested.stderr}"
        assert len(said) == lines, tested.stderr
        assert not checks.leaks(tested.stderr, ())
        return "\n".join(said)

    # life

    def start(self) -> "Nginx":
        for attempt in range(3):
            try:
                return self._start()
            except NginxError as exc:
                # someone was faster and has one of our ports
                if "Address already in use" not in str(exc) or attempt == 2:
                    raise
                self.ports.clear()
                (self.dir / "error.log").unlink()
                self._write()
        raise AssertionError

    def _start(self) -> "Nginx":
        with open(self.dir / "stderr.log", "ab") as stderr:
            self.process = subprocess.Popen(
                self._command("-g", f"daemon {self._on_off};"),
                env=self._env, stdin=subprocess.DEVNULL, stdout=stderr,
                stderr=stderr,
                # a terminal's Ctrl-C is for us, who then end it in order
                start_new_session=True)
        self.pid = self.process.pid
        if self._daemon and self.process.wait() == 0:
            wait_until(self._pid_in_file)
            self.pid = self._pid_in_file()
        try:
            wait_until(self._is_up, 20)
        except TimeoutError:
            self.kill()
            raise NginxError(f"nginx does not start:\n{self.words()}") \
                from None
        return self

    @property
    def _on_off(self) -> str:
        return "on" if self._daemon else "off"

    def _pid_in_file(self) -> int:
        text = self._read("nginx.pid").strip()
        return int(text) if text else 0

    def _is_up(self) -> bool:
        if not self.running:
            raise NginxError(f"nginx does not start:\n{self.words()}")
        if len(self.children()) < self.workers:
            return False
        for port in self.ports.values():
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    def children(self, pid: int | None = None) -> list[int]:
        """The workers (and helper processes) of the master, by pid."""
        pid = pid or self.pid
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(child) for child in text.split()]

    def signal(self, name: str, pid: int | None = None) -> None:
        """Send a signal, such as "HUP", to the master or to pid."""
        os.kill(pid or self.pid, getattr(signal, "SIG" + name))

    def reload(self, timeout: float = 20, old_gone: bool = False) -> None:
        """HUP, and wait for the new workers (and for the old ones' end)."""
        old = set(self.children())
        seen = len(self.log())
        self.signal("HUP")

        def done() -> bool:
            new = self.log()[seen:]
            if "[emerg]" in new:
                raise NginxError(f"nginx refuses to reload:\n{new}")
            now = set(self.children())
            return len(now - old) >= self.workers \
                and not (old_gone and now & old)

        wait_until(done, timeout, "no new workers after a reload")

    def upgrade(self, timeout: float = 20) -> None:
        """Exchange the binary as nginx's manual says: USR2, then QUIT."""
        assert self._daemon, "with \"daemon off\" nginx ignores USR2"
        old = self.pid
        self.signal("USR2")
        wait_until(lambda: self._pid_in_file() not in (0, old), timeout,
                   "no new master")
        self.pid = self._pid_in_file()
        wait_until(lambda: len(self.children()) >= self.workers, timeout,
                   "no new workers after an upgrade")
        self.signal("QUIT", old)
        wait_until(lambda: self._gone(old), timeout,
                   "the old master did not end")

    def _gone(self, pid: int) -> bool:
        if self.process is not None and pid == self.process.pid:
            return self.process.poll() is not None
        try:
            state = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        return state.rpartition(")")[2].split()[0] == "Z"

    @property
    def running(self) -> bool:
        return self.pid != 0 and not self._gone(self.pid)

    def quit(self, timeout: float = 20) -> None:
        """A graceful end."""
        self._end("QUIT", timeout)

    def stop(self, timeout: float = 20) -> None:
        """A fast end."""
        self._end("TERM", timeout)

    def _end(self, name: str, timeout: float) -> None:
        if self.running:
            self.signal(name)
            wait_until(lambda: not self.running, timeout,
                       f"nginx did not end {timeout} s after SIG{name}")

    def kill(self) -> None:
        """The end of what did not end by itself: master and workers."""
        for pid in [*self.children(), self.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            self.process.wait()

    def finish(self, secrets: Iterable[str] = ()) -> list[str]:
        """End it and say what was wrong with its life, if anything."""
        wrong = []
        for connection in self.connections:
            connection.close()

        if self.running:
            try:
                if self.graceful:
                    self.quit(10)
                else:
                    self.stop(10)
            except TimeoutError as exc:
                wrong.append(str(exc))
                self.kill()

        if self.process is not None and self.process.poll() not in (0, None):
            wrong.append(f"nginx ended with code {self.process.returncode}")

        wrong += checks.alerts(self.words(), self.expected)
        wrong += checks.sanitizers(self.words())
        for path in sorted(self.dir.glob("valgrind.*.log")):
            wrong += checks.valgrind(path.read_text(errors="replace"))
        for name in ("stderr.log", "error.log", "access.log"):
            wrong += checks.leaks(self._read(name), secrets)
        return wrong

    def expect(self, pattern: str) -> None:
        """An alert that this test provokes, as a regular expression."""
        self.expected.append(pattern)

    # logs

    def _read(self, name: str) -> str:
        try:
            return (self.dir / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def log(self) -> str:
        """error.log so far."""
        return self._read("error.log")

    def words(self) -> str:
        """error.log, and what went to stderr before it was open."""
        return self._read("stderr.log") + self.log()

    def lines(self, level: str, pattern: str = "") -> list[str]:
        """Lines of error.log of this level in which the pattern is found."""
        return [line for line in self.log().splitlines()
                if f"[{level}]" in line and re.search(pattern, line)]

    def access_log(self) -> str:
        return self._read("access.log")

    def wait_log(self, pattern: str, timeout: float = 10, *, count: int = 1,
                 name: str = "error.log") -> list[re.Match[str]]:
        """Wait for lines in a log; nginx writes some after it has answered."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found[:] = re.finditer(pattern, self._read(name))
            return len(found) >= count

        try:
            wait_until(there, timeout)
        except TimeoutError:
            raise TimeoutError(f"{len(found)} times {pattern!r} in {name}:\n"
                               f"{self._read(name)[-2000:]}") from None
        return found

    def wait_access_log(self, pattern: str, timeout: float = 10, *,
                        count: int = 1) -> list[re.Match[str]]:
        return self.wait_log(pattern, timeout, count=count,
                             name="access.log")

    # requests

    def connect(self, port: int | None = None, **kw: object) -> Connection:
        """A connection that lives until it is closed or the test ends."""
        connection = Connection(port or self.port, **kw)
        self.connections.append(connection)
        return connection

    def request(self, method: str, target: str | bytes,
                headers: Headers = (), body: bytes | None = None, *,
                version: str = "1.1", port: int | None = None,
                timeout: float = 30) -> Response:
        """One request on a connection of its own; the target goes as is."""
        with Connection(port or self.port, timeout=timeout) as connection:
            return connection.request(method, target, headers, body, version)

    def get(self, target: str | bytes, headers: Headers = (),
            **kw: object) -> Response:
        return self.request("GET", target, headers, **kw)

    def head(self, target: str | bytes, headers: Headers = (),
             **kw: object) -> Response:
        return self.request("HEAD", target, headers, **kw)

    def raw(self, data: bytes, method: str = "GET", *,
            port: int | None = None, timeout: float = 30) -> Response:
        """Send these bytes, read one answer."""
        with Connection(port or self.port, timeout=timeout) as connection:
            connection.send(data)
            return connection.response(method)
