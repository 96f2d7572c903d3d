"""What tests tell the emulator, and ask it: JSON over a port of its own.

POST /NAME with a JSON object calls the function of that name. Bytes travel
as {"$bytes": BASE64}.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Callable

from .accounts import permissions_of
from .control_identity import IdentityControl
from .objects import Bucket, Data, GeneratedData, Object
from .wire import Request, Response

if TYPE_CHECKING:
    from .server import App


def encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$bytes"}:
            return base64.b64decode(value["$bytes"])
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


class Control(IdentityControl):

    def __init__(self, app: "App"):
        self.app = app

    def answer(self, request: Request) -> Response:
        name = request.path.decode("latin-1").strip("/")
        function: Callable[..., Any] | None = getattr(self, "do_" + name,
                                                      None)
        if function is None or request.method != "POST":
            return Response(404)
        try:
            arguments = decode(json.loads(request.body or b"{}"))
            result, status = function(**arguments), 200
        except Exception as error:         # told to the test, not swallowed
            result, status = f"{type(error).__name__}: {error}", 400
        return Response(status, [("Content-Type", "application/json")],
                        json.dumps(encode(result)).encode())

    # Storage

    def do_create_bucket(self, name: str, **attributes: Any) -> None:
        self.app.store.buckets[name] = Bucket(name, **attributes)

    def do_update_bucket(self, name: str, **attributes: Any) -> None:
        bucket = self.app.store.buckets[name]
        for key, value in attributes.items():
            if key not in {item.name for item in fields(Bucket)}:
                raise ValueError(f"unknown bucket attribute {key}")
            setattr(bucket, key, value)

    def do_put_object(self, bucket: str, name: bytes,
                      data: bytes | None = None, seed: int = 0,
                      size: int | None = None, generation: int | None = None,
                      **attributes: Any) -> dict[str, Any]:
        stored: Data
        if data is not None:
            stored = Data(data)
        elif size is not None:
            stored = GeneratedData(seed, size)
        else:
            raise ValueError("neither data nor size")

        item = Object(bucket, name, stored,
                      generation or self.app.store.next_generation(),
                      **attributes)
        self.app.store.buckets[bucket].put(item)
        return self._describe(item)

    def do_get_object(self, bucket: str, name: bytes) -> dict[str, Any]:
        item = self.app.store.buckets[bucket].find(name)
        if item is None:
            raise ValueError("no such object")
        described = self._describe(item)
        if not isinstance(item.data, GeneratedData):
            described["data"] = item.data.read(0, item.size)
        return described

    def do_delete_object(self, bucket: str, name: bytes) -> None:
        self.app.store.buckets[bucket].delete(name)

    @staticmethod
    def _describe(item: Object) -> dict[str, Any]:
        return {"bucket": item.bucket, "name": item.name, "size": item.size,
                "generation": item.generation,
                "metageneration": item.metageneration, "etag": item.etag,
                "content_type": item.content_type,
                "content_encoding": item.content_encoding,
                "content_language": item.content_language,
                "content_disposition": item.content_disposition,
                "storage_class": item.storage_class,
                "public": item.public,
                "cache_control": item.cache_control,
                "metadata": item.metadata, "created": item.created}

    # Accounts

    def do_add_account(self, email: str, key_id: str | None = None,
                       public_key: str | None = None,
                       grants: dict[str, list[str]] | None = None,
                       projects: list[str] | None = None) -> None:
        account = self.app.accounts.get_or_create(email)
        if key_id is not None and public_key is not None:
            self.app.accounts.add_key(email, key_id, public_key)
        if projects is not None:
            account.projects = set(projects)
        for bucket, roles in (grants or {}).items():
            account.grants[bucket] = permissions_of(roles)

    def do_grant(self, email: str, bucket: str, roles: list[str]) -> None:
        """Replaces what the account may do with the bucket.

        A federated principal, or a set of them, is granted to by its name.
        """
        accounts = self.app.accounts
        account = accounts.get_or_create(email) \
            if email.startswith("principal") or email == "allUsers" \
            else accounts.by_email[email]
        account.grants[bucket] = permissions_of(roles)

    def do_remove_account(self, email: str) -> None:
        del self.app.accounts.by_email[email]

    def do_remove_key(self, email: str, key_id: str) -> None:
        del self.app.accounts.by_email[email].keys[key_id]

    def do_mint_token(self, email: str, scopes: list[str],
                      lifetime: float) -> str:
        self.app.accounts.get_or_create(email)
        return self.app.accounts.mint(email, scopes, lifetime).value

    def do_revoke_tokens(self, email: str | None = None) -> int:
        return self.app.accounts.revoke_tokens(email)

    def do_tokens(self) -> list[dict[str, Any]]:
        return [{"value": t.value, "email": t.email,
                 "scopes": sorted(t.scopes), "expires": t.expires,
                 "state": t.state}
                for t in self.app.accounts.tokens.values()]

    # Behaviour

    def do_configure(self, **values: Any) -> dict[str, Any]:
        config = self.app.config
        known = {item.name for item in fields(config)}
        for key, value in values.items():
            if key not in known:
                raise ValueError(f"unknown setting {key}")
            setattr(config, key, value)
        return asdict(config)

    def do_fault(self, **values: Any) -> int:
        return self.app.faults.add(values)

    def do_clear_faults(self, kind: str | None = None) -> None:
        self.app.faults.clear(kind)

    def do_pending_faults(self) -> list[dict[str, Any]]:
        return self.app.faults.pending()

    # Observation

    def do_requests(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [r for r in self.app.records
                if kind is None or r["kind"] == kind]

    def do_violations(self) -> list[dict[str, Any]]:
        return self.app.violations

    def do_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for record in self.app.records:
            counts[record["kind"]] = counts.get(record["kind"], 0) + 1
        return counts

    def do_connections(self) -> dict[str, int]:
        used: dict[str, set[int]] = {}
        for record in self.app.records:
            used.setdefault(record["kind"], set()).add(record["connection"])
        return {kind: len(numbers) for kind, numbers in used.items()}

    def do_open_connections(self) -> int:
        return len(self.app.open)

    def do_reset_requests(self) -> None:
        self.app.records.clear()
        self.app.violations.clear()

    def do_close_connections(self, reset: bool = False) -> int:
        """Close every connection that is open, as an idle server does."""
        count = 0
        for connection in list(self.app.open):
            count += 1
            if reset:
                connection.reset()
            else:
                connection.writer.close()
        return count

    def do_reset(self) -> None:
        """Everything as it was at the start."""
        self.app.clear()
