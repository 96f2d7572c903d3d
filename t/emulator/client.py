"""The tests' side: runs the emulator as a process and talks to it.

A process of its own, so that the interpreter lock of a busy test does not
disturb what is measured.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import select
import subprocess
import sys
import threading
import uuid
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .control import decode, encode
from .credential_files import CredentialFiles
from .identities import Key

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"


class EmulatorError(Exception):
    """The emulator did not start, or refused a control call."""


@functools.lru_cache(maxsize=None)
def signing_key(name: str = "default") -> Key:
    """An RSA key; one per name and process, as making them is slow."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    public = key.public_key().public_bytes(
        pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Key(uuid.uuid4().hex + "fa57c0de", private.decode(),
               public.decode())


def _name(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name


class Emulator(CredentialFiles):
    """Starts with start() or as a context manager; stop() ends it.

    identities.py and credential_files.py hold what is about identities.
    """

    def __init__(self, tls: bool = False, *, port: int = 0,
                 tls_port: int = 0, state_dir: str | None = None,
                 hosts: tuple[str, ...] = (), log: bool = False,
                 **settings: Any):
        self._tls = tls
        self._port = port
        self._tls_port = tls_port
        self._state_dir = state_dir
        self._hosts = hosts
        self._log = log
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._control: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()
        self._accounts = 0
        self.http_port = 0
        self.https_port: int | None = None
        self.control_port = 0
        self.ca_file: str | None = None
        self.pid = 0

    @classmethod
    def attach(cls, ready_file: str) -> "Emulator":
        """Talk to an emulator that somebody else has started."""
        emulator = cls()
        with open(ready_file) as file:
            emulator._ready(json.load(file))
        return emulator

    def start(self) -> "Emulator":
        command = [sys.executable, "-m", "emulator", "--with-parent",
                   "--port", str(self._port),
                   "--tls-port", str(self._tls_port)]
        if self._tls:
            command.append("--tls")
        if self._state_dir:
            command += ["--state-dir", self._state_dir]
        if self._log:
            command.append("--log")
        for host in self._hosts:
            command += ["--host", host]

        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            [_PACKAGE_PARENT] + [p for p in
                                 [environment.get("PYTHONPATH")] if p])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE,
                                         env=environment)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 30)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self.stop()
            raise EmulatorError("the emulator did not start")

        self._ready(json.loads(line))
        if self._settings:
            self.configure(**self._settings)
        return self

    def _ready(self, values: dict[str, Any]) -> None:
        self.http_port = values["http_port"]
        self.https_port = values["https_port"]
        self.control_port = values["control_port"]
        self.ca_file = values["ca_file"]
        self.pid = values["pid"]

    def stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

        process, self._process = self._process, None
        if process is None:
            return

        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> "Emulator":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, name: str, /, **arguments: Any) -> Any:
        """One control call; the methods below are its polite forms."""
        body = json.dumps(encode(arguments))
        with self._lock:
            for attempt in (1, 2):
                if self._control is None:
                    self._control = http.client.HTTPConnection(
                        "127.0.0.1", self.control_port, timeout=60)
                try:
                    self._control.request("POST", "/" + name, body)
                    response = self._control.getresponse()
                    data = response.read()
                    break
                except (ConnectionError, http.client.HTTPException):
                    self._control.close()
                    self._control = None
                    if attempt == 2:
                        raise

        if response.status == 404:
            raise EmulatorError(f"no control call {name}")
        result = decode(json.loads(data))
        if response.status != 200:
            raise EmulatorError(result)
        return result

    # Where it is

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def https_url(self) -> str:
        return f"https://localhost:{self.https_port}"

    @property
    def token_uri(self) -> str:
        return self.url + "/token"

    # Storage

    def create_bucket(self, name: str, **attributes: Any) -> None:
        """public, requester_pays, versioning, cors, location, project."""
        self.call("create_bucket", name=name, **attributes)

    def update_bucket(self, name: str, **attributes: Any) -> None:
        self.call("update_bucket", name=name, **attributes)

    def put_object(self, bucket: str, name: str | bytes,
                   data: bytes | str | None = None, *,
                   size: int | None = None, seed: int = 0,
                   **attributes: Any) -> dict[str, Any]:
        """With `data`, or with `size` bytes of content(seed, ...).

        Attributes: content_type, content_encoding, content_language,
        content_disposition, cache_control, metadata, public, generation,
        metageneration, storage_class, created, composite, csek,
        etag_override.
        """
        if isinstance(data, str):
            data = data.encode()
        return self.call("put_object", bucket=bucket, name=_name(name),
                         data=data, size=size, seed=seed, **attributes)

    def get_object(self, bucket: str, name: str | bytes) -> dict[str, Any]:
        return self.call("get_object", bucket=bucket, name=_name(name))

    def delete_object(self, bucket: str, name: str | bytes) -> None:
        self.call("delete_object", bucket=bucket, name=_name(name))

    # Identity

    def service_account(self, email: str | None = None,
                        grants: dict[str, list[str] | str] | None = None, *,
                        key: str = "default", token_uri: str | None = None,
                        projects: list[str] | None = None,
                        registered: bool = True) -> str:
        """The JSON key file of an account, as text.

        `key` names the RSA key: another name, another key. An account that
        is not `registered` is one that Google has never heard of.
        """
        if email is None:
            self._accounts += 1
            email = (f"reader-{self._accounts}@demo-project"
                     ".iam.gserviceaccount.com")
        pair = signing_key(key)

        if registered:
            self.call("add_account", email=email, key_id=pair.id,
                      public_key=pair.public_pem, projects=projects,
                      grants={bucket: [r] if isinstance(r, str) else list(r)
                              for bucket, r in (grants or {}).items()})

        return json.dumps({
            "type": "service_account",
            "project_id": "demo-project",
            "private_key_id": pair.id,
            "private_key": pair.private_pem,
            "client_email": email,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri or self.token_uri,
            "universe_domain": "googleapis.com"}, indent=2)

    def grant(self, email: str, bucket: str, roles: list[str]) -> None:
        self.call("grant", email=email, bucket=bucket, roles=roles)

    def remove_account(self, email: str) -> None:
        self.call("remove_account", email=email)

    def remove_key(self, email: str, key: str = "default") -> None:
        self.call("remove_key", email=email, key_id=signing_key(key).id)

    def mint_token(self, email: str, scopes: tuple[str, ...] = (_READ_ONLY,),
                   lifetime: float = 3600) -> str:
        """An access token without the token endpoint."""
        return self.call("mint_token", email=email, scopes=list(scopes),
                         lifetime=lifetime)

    def revoke_tokens(self, email: str | None = None) -> int:
        return self.call("revoke_tokens", email=email)

    def tokens(self) -> list[dict[str, Any]]:
        return self.call("tokens")

    # Behaviour

    def configure(self, **settings: Any) -> dict[str, Any]:
        """token_lifetime, token_expires_in, if_range, strict, hosts, ..."""
        return self.call("configure", **settings)

    def fault(self, **members: Any) -> int:
        """Queue a fault; faults.py tells the members."""
        return self.call("fault", **members)

    def clear_faults(self, kind: str | None = None) -> None:
        self.call("clear_faults", kind=kind)

    def pending_faults(self) -> list[dict[str, Any]]:
        return self.call("pending_faults")

    def close_connections(self, reset: bool = False) -> int:
        return self.call("close_connections", reset=reset)

    def reset(self) -> None:
        """Forget buckets, accounts, tokens, faults, settings, records."""
        self.call("reset")
        if self._settings:
            self.configure(**self._settings)

    # Observation

    def requests(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Recorded requests: kind, method, target, headers, status, ..."""
        return self.call("requests", kind=kind)

    def violations(self) -> list[dict[str, Any]]:
        return self.call("violations")

    def counts(self) -> dict[str, int]:
        """Requests by kind; a kind not seen is missing."""
        return self.call("counts")

    def connections(self) -> dict[str, int]:
        """Distinct TCP connections by kind."""
        return self.call("connections")

    def open_connections(self) -> int:
        return self.call("open_connections")

    def reset_requests(self) -> None:
        self.call("reset_requests")
