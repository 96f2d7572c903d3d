"""One plain request to the emulator, for tests that look at its answers."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Emulator


def ask(google: "Emulator", method: str, path: str, body: Any = None,
        headers: dict[str, str] | None = None, *,
        form: dict[str, str] | None = None, token: str | None = None) \
        -> tuple[int, http.client.HTTPMessage, Any]:
    """Status, headers and the body: JSON if it says so."""
    headers = dict(headers or {})
    if form is not None:
        body = urllib.parse.urlencode(form)
        headers.setdefault("Content-Type",
                           "application/x-www-form-urlencoded")
    elif isinstance(body, dict):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    if token is not None:
        headers["Authorization"] = "Bearer " + token
    connection = http.client.HTTPConnection("127.0.0.1", google.http_port,
                                            timeout=10)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    if "json" in (response.getheader("content-type") or ""):
        data = json.loads(data)
    else:
        data = data.decode()
    return response.status, response.headers, data
