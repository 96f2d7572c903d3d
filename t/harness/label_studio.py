"""A real Label Studio, beside the emulator, as its users run it.

Label Studio's words are law here: what it answers decides what the module has
to understand.  It runs out of an environment of its own (t/label_studio has
the versions), with SQLite in a folder of the tests, and believes that the
emulator is Google: sitecustomize.py there leads Google's names to it.

The fixtures of pytest are in label_studio_plugin.py.

Environment:
    GCS_LABEL_STUDIO_VENV   the virtual environment that it is installed in
                            (default: build/label-studio-venv)
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import quote, urlencode

from emulator import Emulator

from .client import Connection, Headers, Response
from .nginx import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = ROOT / "t" / "label_studio"
BUCKET = "media"
GOOGLE = "https://oauth2.googleapis.com/token"
USER, PASSWORD = "annotator@example.com", "a long pass-word 1"
PATIENCE = 100                         # seconds, for its start

# What it says by itself about a request, in two lines that are the same: one
# of its own logger and one of Django's.
LINE = re.compile(r'^\[.*\[django\.server::.*"([A-Z]+) (\S+) HTTP/1\.[01]" '
                  r'(\d{3}) \S+$', re.MULTILINE)

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="thing"/>
  </RectangleLabels>
</View>"""


class Refused(Exception):
    """Label Studio did not do what it was asked for."""


class Missing(Exception):
    """There is none."""


def environment() -> Path:
    """Its virtual environment, if it is installed."""
    venv = Path(os.environ.get("GCS_LABEL_STUDIO_VENV")
                or ROOT / "build" / "label-studio-venv")
    if not (venv / "bin" / "label-studio").exists():
        raise Missing(f"none is in {venv}; ./build.sh prepare installs it")
    return venv


def fileuri(uri: str) -> str:
    """As Label Studio writes it: the alphabet of URLs, padded."""
    return base64.urlsafe_b64encode(uri.encode()).decode()


@dataclass
class Project:
    """A project with a storage and a task."""
    id: int
    storage: int
    task: int

    def media(self, name: str, bucket: str = BUCKET, *,
              of: str = "tasks", by: str = "resolve") -> str:
        """The address of an object; any task of the project will do."""
        number = self.task if of == "tasks" else self.id
        return (f"/{of}/{number}/{by}/"
                f"?fileuri={fileuri(f'gs://{bucket}/{name}')}")


class LabelStudio:
    """One Label Studio in a folder of its own.

    host      the address that its users see, if it is to know it; when that
              has a path, somebody before it has to take the path away
    env       further variables of its environment
    """

    def __init__(self, directory: Path, emulator: Emulator, *,
                 host: str = "", env: dict[str, str] | None = None):
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.emulator = emulator
        self.venv = environment()
        self.token = secrets.token_hex(20)
        self.prefix = re.sub(r"^https?://[^/]*", "", host).rstrip("/")
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._host = host
        self._env = env or {}

    # life

    def _environment(self, data: Path) -> dict[str, str]:
        """All of it: nothing of who runs the tests has any part in it."""
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.dir / "home"),
            "LANG": "C.UTF-8", "PYTHONPATH": str(GUARD),
            "PYTHONUNBUFFERED": "1", "TZ": "UTC",
            "GCS_EMULATOR_PORT": str(self.emulator.https_port),
            "REQUESTS_CA_BUNDLE": str(self.emulator.ca_file),
            "DEBUG": "0", "DJANGO_DB": "sqlite",
            "LABEL_STUDIO_BASE_DATA_DIR": str(data),
            "LABEL_STUDIO_HOST": self._host,
            "LABEL_STUDIO_USERNAME": USER,
            "LABEL_STUDIO_PASSWORD": PASSWORD,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "1",
            "COLLECT_ANALYTICS": "0", "LATEST_VERSION_CHECK": "0",
            "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "SENTRY_RATE": "0",
            "NO_GCE_CHECK": "true", **self._env}

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.venv / "bin" / "label-studio"), *arguments]

    def _database(self) -> Path:
        """One with all tables and no rows.

        Making it takes most of a minute, so it is kept with the version that
        has made it.
        """
        kept = self.venv / "empty.sqlite3"
        if kept.exists():
            return kept
        with tempfile.TemporaryDirectory(dir=self.dir) as data:
            done = subprocess.run(
                self._command("version"), env=self._environment(Path(data)),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=600)
            made = Path(data) / "label_studio.sqlite3"
            if done.returncode or not made.exists():
                raise Refused(f"no database:\n{done.stdout[-3000:]}")
            with contextlib.suppress(OSError):
                part = kept.with_suffix(f".{os.getpid()}")
                shutil.copy(made, part)
                os.replace(part, kept)
                return kept
            return Path(shutil.copy(made, self.dir / "empty.sqlite3"))

    def start(self) -> "LabelStudio":
        data = self.dir / "data"
        if not data.exists():
            data.mkdir()
            shutil.copy(self._database(), data / "label_studio.sqlite3")
        self.port = free_port()
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                self._command("start", "--no-browser", "--port",
                              str(self.port), "--internal-host", "127.0.0.1"),
                env=self._environment(data), cwd=self.dir,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        try:
            wait_until(self._is_up, PATIENCE, "Label Studio does not start")
        except (TimeoutError, Refused) as exc:
            self.stop()
            raise Refused(f"{exc}:\n{self.log()[-3000:]}") from None
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise Refused(f"it ended with {self.process.returncode}")
        try:
            return self.get("/health").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        for name in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, name)
            try:
                process.wait(10)
                return
            except subprocess.TimeoutExpired:
                pass

    def __enter__(self) -> "LabelStudio":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # requests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"}

    def request(self, method: str, target: str, headers: Headers = (),
                body: bytes | None = None, port: int | None = None) \
            -> Response:
        """As it answers itself; with `port`, as whoever is there does."""
        with Connection(port or self.port, timeout=60) as connection:
            return connection.request(method, target, headers, body)

    def get(self, target: str, headers: Headers = ()) -> Response:
        return self.request("GET", target, headers)

    def ask(self, target: str, **headers: str) -> Response:
        """With the user's token."""
        return self.get(target, {**self.authorization, **headers})

    def api(self, method: str, target: str, value: Any = None) -> Any:
        """A call of its API that has to succeed."""
        body = None if value is None else json.dumps(value).encode()
        answer = self.request(method, f"/api{target}", {
            **self.authorization, "Content-Type": "application/json"}, body)
        if answer.status >= 300:
            raise Refused(f"{method} {target}: {answer.status} "
                          f"{answer.text[:1000]}")
        return answer.json() if answer.body else None

    def login(self, port: int | None = None) -> dict[str, str]:
        """The cookies of a user who has typed his password.

        With `port` he does so at whoever stands before Label Studio.
        """
        target = (self.prefix if port else "") + "/user/login/"
        cookies = cookies_of(self.request("GET", target, port=port))
        form = urlencode({"email": USER, "password": PASSWORD,
                          "csrfmiddlewaretoken": cookies["csrftoken"]})
        answer = self.request("POST", target, {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": cookie(cookies)}, form.encode(), port=port)
        if answer.status != 302:
            raise Refused(f"no login: {answer.status} {answer.text[:500]}")
        return cookies | cookies_of(answer)

    # what a user sets up

    def project(self, *, presign: bool, bucket: str = BUCKET,
                key: str | None = None, config: str = CONFIG,
                tasks: list[dict] | None = None, **storage: Any) -> Project:
        """One with a storage, and with tasks that are imported.

        Without `key` a service account is made that may read the bucket.
        """
        made = self.api("POST", "/projects/", {
            "title": "pre-signed" if presign else "proxied",
            "label_config": config})["id"]
        connected = self.api("POST", "/storages/gcs/", {
            "project": made, "title": bucket, "bucket": bucket,
            "regex_filter": ".*", "use_blob_urls": True, "presign": presign,
            "presign_ttl": 15, "recursive_scan": True,
            "google_application_credentials":
                self.key(bucket) if key is None else key,
            "google_project_id": "demo-project", **storage})["id"]
        project = Project(made, connected, 0)
        if tasks is not None:
            self.api("POST", f"/projects/{made}/import", tasks)
            project.task = self.tasks(project)[0]["id"]
        return project

    def key(self, bucket: str = BUCKET) -> str:
        """What Label Studio's own manual wants of a key."""
        return self.emulator.service_account(
            grants={bucket: ["objectViewer", "legacyBucketReader"]},
            token_uri=GOOGLE)

    def upload(self, project: Project, name: str, data: bytes,
               content_type: str) -> Any:
        """As a file that is dropped into the import dialogue."""
        mark = secrets.token_hex(16)
        body = (f'--{mark}\r\nContent-Disposition: form-data; name="file"; '
                f'filename="{name}"\r\nContent-Type: {content_type}\r\n\r\n'
                ).encode() + data + f"\r\n--{mark}--\r\n".encode()
        answer = self.request(
            "POST", f"/api/projects/{project.id}/import", {
                **self.authorization,
                "Content-Type": f"multipart/form-data; boundary={mark}"},
            body)
        if answer.status != 201:
            raise Refused(f"no upload: {answer.status} {answer.text[:500]}")
        return answer.json()

    def sync(self, project: Project) -> dict[str, Any]:
        """As a click on "Sync Storage": without Redis it is done at once."""
        return self.api("POST", f"/storages/gcs/{project.storage}/sync", {})

    def tasks(self, project: Project) -> list[dict[str, Any]]:
        """Its tasks with their data, as a page gets them."""
        return self.api("GET", f"/tasks?project={project.id}&fields=all"
                               "&page_size=1000")["tasks"]

    # observation

    def log(self) -> str:
        try:
            return (self.dir / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def requests(self, path: str = "/") -> list[tuple[str, str, int]]:
        """Method, target and status of each request whose target begins so.

        All that came before this call was made are there: Label Studio
        writes them after it has answered, so it is asked once more.
        """
        mark = f"/health?{secrets.token_hex(8)}"
        self.get(mark)
        seen: list[tuple[str, str, int]] = []

        def settled() -> bool:
            seen[:] = [(line[1], line[2], int(line[3]))
                       for line in LINE.finditer(self.log())]
            return seen.count(("GET", mark, 200)) == 2 \
                and all(seen.count(one) % 2 == 0 for one in set(seen))

        wait_until(settled, 10, "Label Studio's log does not settle")
        kept: list[tuple[str, str, int]] = []
        odd: dict[tuple[str, str, int], bool] = {}
        for one in seen:
            odd[one] = not odd.get(one, False)
            if odd[one] and one[1].startswith(path):
                kept.append(one)
        return kept

    @contextlib.contextmanager
    def counted(self, path: str = "/tasks/") \
            -> Iterator[list[tuple[str, str, int]]]:
        """What it was asked for in this block, once the block has ended."""
        before = len(self.requests(path))
        said: list[tuple[str, str, int]] = []
        yield said
        said += self.requests(path)[before:]

    def refused(self) -> set[str]:
        """What it wanted to reach and is not on this machine."""
        return set(re.findall(r"^refused to reach (.*)$", self.log(),
                              re.MULTILINE))


def cookies_of(answer: Response) -> dict[str, str]:
    """What an answer sets; values as they are on the wire."""
    return dict(line.partition(";")[0].strip().split("=", 1)
                for line in answer.all("Set-Cookie"))


def cookie(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def wanted(name: str) -> str:
    """A name as it stands in the path of a signed URL."""
    return quote(name, safe="/~")


def by_label_studio(google: Emulator) -> int:
    """The bytes of media that Label Studio has fetched itself."""
    return sum(request["sent"] for request in google.requests("storage")
               if request["target"].startswith("/download/"))


def by_nginx(google: Emulator) -> list[dict[str, Any]]:
    """What nginx has asked for: Label Studio knows the JSON API only."""
    return [request for request in google.requests("storage")
            if not re.match("/(download|upload)?/?storage/",
                            request["target"])]
