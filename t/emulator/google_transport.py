"""Lets Google's clients reach the emulator at Google's own names.

google-auth has some URLs built in (oauth2.googleapis.com/token for
authorized_user, iamcredentials.googleapis.com for impersonation). The
transport that it is given here keeps such a request as it is, Host included,
and only opens the connection elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import google.auth.transport.requests
import requests
import requests.adapters

if TYPE_CHECKING:
    from .client import Emulator

_OURS = (".googleapis.com", ".amazonaws.com", "169.254.169.254",
         "169.254.170.2", "169.254.170.23", "metadata.google.internal")


class _Adapter(requests.adapters.HTTPAdapter):

    def __init__(self, emulator: "Emulator"):
        super().__init__()
        self._base = urlsplit(emulator.url)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(request.url)
        name = parts.hostname or ""
        if name.endswith(_OURS):
            request.headers.setdefault("Host", name)
            request.url = urlunsplit((self._base.scheme, self._base.netloc,
                                      *parts[2:]))
        elif name not in ("127.0.0.1", "localhost"):
            raise requests.ConnectionError(f"{name} is not emulated")
        return super().send(request, *args, **kwargs)


def session(emulator: "Emulator") -> requests.Session:
    made = requests.Session()
    made.trust_env = False                 # no proxies of the environment
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter(emulator))
    return made


def transport(emulator: "Emulator") -> google.auth.transport.requests.Request:
    """For credentials.refresh(transport(emulator))."""
    return google.auth.transport.requests.Request(session(emulator))
