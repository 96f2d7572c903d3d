"""nginx as the endpoint of Google's own clients, and what they may not do.

The clients have no credential.  Whatever reaches the emulator has to carry
nginx's token, and nothing that a client may have sent of its own.

The fixtures of pytest are in api_plugin.py.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulator import Emulator

from .client import Connection, Response
from .nginx import Nginx

ACCOUNT = "gateway@demo-project.iam.gserviceaccount.com"
BUCKET, OTHER, FOREIGN, LIMITED = ("test-bucket", "other-bucket",
                                   "foreign-bucket", "limited-bucket")
INSIDE = "inside/"                     # of LIMITED
SERVER = """
    gcs_credentials writer { file %%KEY%%; }
    client_max_body_size 0;

    server {
        listen 127.0.0.1:%%PORT%%;
        MORE_OF_SERVER

        location / {
            gcs_api      on;
            gcs_auth     writer;
            gcs_endpoint %%EMULATOR%%;
            gcs_buckets  test-bucket other-bucket limited-bucket/inside/;
            gcs_methods  METHODS;
            MORE_OF_LOCATION
        }
    }
"""

# what no request to Cloud Storage may have, whatever a client has sent
STRANGE = re.compile(r"cookie|proxy-|x-forwarded-|x-http-method|x-real-ip"
                     r"|x-goog-api-key|x-goog-acl|forwarded\Z|referer\Z"
                     r"|origin\Z", re.IGNORECASE)

BY_ITSELF = re.compile(
    r"/storage/v1/b/[^/?]+\?(fields=name&)?prettyPrint=false$")

# no proxy, no dot file and no identity of this machine decides anything
PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nowhere",
         "NO_GCE_CHECK": "true", "METADATA_SERVER_DETECTION": "none",
         "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1,localhost"}


def configuration(methods: str = "GET HEAD PUT DELETE", server: str = "",
                  location: str = "") -> str:
    return (SERVER.replace("MORE_OF_SERVER", server)
            .replace("MORE_OF_LOCATION", location)
            .replace("METHODS", methods))


def headers_of(record: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in record["headers"]}


@dataclass
class Gateway:
    """An nginx with a location of this kind."""

    server: Nginx
    emulator: Emulator
    secure: int = 0                        # the port with TLS

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def seen(self, method: str = "") -> list[dict[str, Any]]:
        """What Cloud Storage was asked for.

        The Python library looks at a bucket by itself, and not always, to
        tell why something has failed: not what a test has asked for.
        """
        return [record for record in self.emulator.requests("storage")
                if record["method"].startswith(method)
                and not BY_ITSELF.match(record["target"])]

    def targets(self, method: str = "") -> list[str]:
        return [record["target"] for record in self.seen(method)]

    def request(self, *arguments: Any, **more: Any) -> Response:
        with Connection(self.server.port) as connection:
            return connection.request(*arguments, **more)

    def wrong(self) -> list[str]:
        """What Cloud Storage must not have seen, and the log not say."""
        tokens = {f"Bearer {token['value']}"
                  for token in self.emulator.tokens()}
        wrong = []
        for record in self.emulator.requests("storage"):
            what = f"{record['method']} {record['target']}"
            headers = headers_of(record)
            bearer = headers.get("authorization")
            if bearer is not None and bearer not in tokens:
                wrong.append(f"{what} has the client's Authorization")
            if bearer is None and "upload_id=" not in record["target"]:
                wrong.append(f"{what} has no token")
            if record["account"] not in (ACCOUNT, None):
                wrong.append(f"{what} is of {record['account']}")
            wrong += [f"{what} has {name}" for name in headers
                      if STRANGE.match(name)]
            if re.search(r"[?&](key|access_token|oauth_token|"
                         r"predefinedAcl|destinationPredefinedAcl)=",
                         record["target"]):
                wrong.append(f"{what} has parameters of the client's")

        ids = set(re.findall(r"[?&]upload_id=([\w-]+)", " ".join(
            record["target"] for record in self.seen())))
        words = self.server.log()
        wrong += [f"the error log tells an upload's ID {name}"
                  for name in ids if name in words]
        return wrong


class ClientError(Exception):
    """What a client says when it fails."""

    def __init__(self, text: str, code: int | None):
        super().__init__(text)
        self.code = code


@dataclass
class Driver:
    """A program that does what it reads, one JSON array in a line.

    It answers each with {"ok": …} or {"error": text, "code": status}.
    """

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Driver":
        self.process = subprocess.Popen(
            self.command, env={**PLAIN, **self.env}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        return self

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.communicate(timeout=20)

    def __call__(self, operation: str, *arguments: Any) -> Any:
        process = self.process
        assert process is not None and process.stdin and process.stdout
        process.stdin.write(json.dumps([operation, *arguments]).encode()
                            + b"\n")
        process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], 60)
        line = process.stdout.readline() if readable else b""
        if not line:
            raise AssertionError(f"{self.command[0]}: no answer to "
                                 f"{operation} {arguments}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["error"], answer.get("code"))
        return answer["ok"]


def resident(server: Nginx) -> int:
    """KiB of memory that the workers have had at most."""
    text = "".join(Path(f"/proc/{pid}/status").read_text()
                   for pid in server.children())
    return sum(int(line.split()[1]) for line in text.splitlines()
               if line.startswith("VmHWM:"))
