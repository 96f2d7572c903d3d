"""The metadata server: Compute Engine's, GKE's and Cloud Run's."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .accounts import Token
from .faults import Fault
from .service import Context, Service
from .wire import Response

_ROOT = "/computeMetadata/v1/"
_CLOUD = "https://www.googleapis.com/auth/cloud-platform"

# A token is handed out again until it has this long left.
_RENEWAL = 300

_GKE_DENIED = """\
Unable to generate access token; IAM returned 403 Forbidden: Permission \
'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).
This error could be caused by a missing IAM policy binding on the target IAM \
service account.
For more information, refer to the Workload Identity documentation:
\thttps://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity\
#authenticating_to

"""

_MISSING_HEADER = 'Missing required header "Metadata-Flavor": "Google"'


@dataclass
class Attached:
    """An account that the metadata server gives tokens of."""

    email: str                             # or GKE's pseudo address
    scopes: list[str]
    members: frozenset[str] = frozenset()  # of a pod's principal
    principal: str | None = None           # whose token it is, if not email's
    linked: bool = False                   # GKE: the policy must allow it
    tokens: dict[frozenset[str], tuple[Token, float]] = \
        field(default_factory=dict)


@dataclass
class MetadataState:
    mode: str = "gce"                      # "gke", "cloud-run"
    accounts: dict[str, Attached] = field(default_factory=dict)
    project_id: str = "demo-project"
    project_number: str = "123456789012"
    universe: str | None = "googleapis.com"
    ready_at: float = 0
    not_ready: str = "reset"               # or "503", "hang"

    def find(self, name: str) -> Attached | None:
        for alias, attached in self.accounts.items():
            if name in (alias, attached.email):
                return attached
        return None


class Metadata(Service):
    kind = "metadata"
    hosts = frozenset(["metadata.google.internal", "metadata",
                       "169.254.169.254"])
    refuses_headers = True                 # says 403 itself

    def wants(self, context: Context) -> bool:
        request = context.request
        if request.path.startswith(b"/computeMetadata/"):
            return True
        # What clients call to see whether there is a metadata server.
        return request.path == b"/" \
            and request.get("metadata-flavor") is not None

    async def handle(self, context: Context) -> Response:
        state = context.app.metadata
        if time.time() < state.ready_at:
            return self._not_ready(context, state)

        request = context.request
        if request.get("x-forwarded-for") is not None \
                or request.get("metadata-flavor") != "Google":
            return _html(403, _MISSING_HEADER)
        if request.method != "GET":
            return _html(405, "Method Not Allowed")
        if request.path == b"/":
            return _text("computeMetadata/\n")

        path = unquote(request.path.decode("latin-1")).removeprefix(_ROOT)
        return self._path(context, state, path)

    @staticmethod
    def _not_ready(context: Context, state: MetadataState) -> Response:
        if state.not_ready == "503":
            return _html(503, "Service Unavailable")
        if context.fault is None:
            context.fault = Fault(hang=True) if state.not_ready == "hang" \
                else Fault(reset="before_headers")
        return Response(503)

    def _path(self, context: Context, state: MetadataState,
              path: str) -> Response:
        texts = {"project/project-id": state.project_id,
                 "project/numeric-project-id": state.project_number,
                 "instance/id": "4520031799277581759",
                 "instance/hostname": "demo.c.demo-project.internal",
                 "instance/zone": f"projects/{state.project_number}/zones/"
                                  "europe-west1-b"}
        if state.mode == "gke":
            texts.update({"instance/attributes/cluster-name": "demo-cluster",
                          "instance/attributes/cluster-location":
                          "europe-west1"})
        elif state.universe is not None:
            texts["universe/universe-domain"] = state.universe
        if path in texts:
            return _text(texts[path])

        parts = path.split("/")
        if parts[:2] != ["instance", "service-accounts"]:
            return _not_found()
        return self._accounts(context, state, parts[2:])

    def _accounts(self, context: Context, state: MetadataState,
                  parts: list[str]) -> Response:
        recursive = (context.request.parameter("recursive")
                     or "").lower() == "true"
        if parts in ([], [""]):
            if recursive:
                return _json({a.email: _described(state, a)
                              for a in state.accounts.values()})
            return _text("".join(f"{name}/\n" for name in state.accounts))

        attached = state.find(parts[0])
        if attached is None:
            return _not_found()

        what = parts[1] if len(parts) == 2 else None
        if what == "" and recursive or (what is None and recursive):
            return _json(_described(state, attached))
        if what == "":
            return _text("aliases\nemail\nidentity\nscopes\ntoken\n")
        if what == "email":
            return _text(attached.email)
        if what == "scopes":
            return _text("".join(s + "\n" for s in attached.scopes))
        if what == "token":
            return self._token(context, state, attached)
        return _not_found()

    @staticmethod
    def _token(context: Context, state: MetadataState,
               attached: Attached) -> Response:
        app, fault = context.app, context.fault
        scopes = attached.scopes
        asked = context.request.parameter("scopes")
        context.record["scopes"] = asked.split(",") if asked else None
        if asked and state.mode == "cloud-run":
            scopes = asked.split(",")

        name = attached.principal or attached.email
        context.record["account"] = name
        if attached.linked:
            account = app.accounts.find(attached.email)
            if account is None or not account.allows(
                    attached.members, "iam.serviceAccounts.getAccessToken"):
                return _html(403, _GKE_DENIED, "text/plain; charset=utf-8")

        lifetime = app.config.token_lifetime
        if fault is not None and fault.token_lifetime is not None:
            lifetime = fault.token_lifetime

        now, key = time.time(), frozenset(scopes)
        token, _ = attached.tokens.get(key, (None, 0.0))
        if token is None or token.expires - now < _RENEWAL \
                or token.state != "valid" or fault is not None:
            token = app.accounts.mint(
                name, sorted(scopes), lifetime, source="metadata",
                members=attached.members if attached.principal
                else frozenset())
            attached.tokens[key] = (token, now)

        told = app.config.token_expires_in
        members = {"access_token": token.value,
                   "expires_in": int(token.expires - now + 0.001)
                   if told is None else told,
                   "token_type": "Bearer"}
        if fault is not None and fault.token:
            members.update(fault.token)
            members = {k: v for k, v in members.items() if v is not None}
        context.record["credential"] = "ok"
        return _json(members)


def _described(state: MetadataState, attached: Attached) -> dict[str, Any]:
    aliases = [n for n, a in state.accounts.items()
               if a is attached and n != a.email]
    return {"aliases": aliases, "email": attached.email,
            "scopes": attached.scopes}


def _answer(status: int, body: str, content_type: str) -> Response:
    return Response(status, [
        ("Metadata-Flavor", "Google"), ("Content-Type", content_type),
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("Server", "Metadata Server for VM"), ("X-XSS-Protection", "0"),
        ("X-Frame-Options", "SAMEORIGIN")], body.encode())


def _text(body: str) -> Response:
    return _answer(200, body, "application/text")


def _json(value: Any) -> Response:
    return _answer(200, json.dumps(value), "application/json")


def _html(status: int, what: str,
          content_type: str = "text/html; charset=UTF-8") -> Response:
    body = what if content_type.startswith("text/plain") else (
        "<!DOCTYPE html>\n<html lang=en>\n"
        f"<title>Error {status}</title>\n<p><b>{status}.</b> {what}\n")
    response = _answer(status, body, content_type)
    if status == 403 and body is not what:
        response.remove("Metadata-Flavor")
    return response


def _not_found() -> Response:
    return _html(404, "The requested URL was not found on this server. "
                 "That's all we know.")
