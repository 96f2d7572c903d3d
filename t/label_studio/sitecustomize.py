"""Runs in Label Studio's process before it: nothing leaves this machine.

Python imports a module of this name at its start, from PYTHONPATH.  Google's
names lead to the emulator, so that Label Studio runs as it is, with its own
URLs, and its certificates are verified.  Whatever else it wants to reach is
refused, and told in its log, where a test looks for it.  It ends with who has
started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import Any

LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)
DEATH_OF_PARENT = 1                    # PR_SET_PDEATHSIG of prctl(2)
PORT = int(os.environ["GCS_EMULATOR_PORT"])      # with TLS

_getaddrinfo = socket.getaddrinfo


def refuse(what: str) -> None:
    sys.stderr.write(f"refused to reach {what}\n")
    sys.stderr.flush()
    raise OSError(f"{what} is not on this machine")


def getaddrinfo(host: Any, port: Any, *args: Any, **kw: Any) -> list:
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name.endswith(".googleapis.com"):
        return _getaddrinfo("127.0.0.1", PORT, *args, **kw)
    if name not in LOCAL:
        refuse(str(name))
    return _getaddrinfo(host, port, *args, **kw)


def audit(event: str, values: tuple) -> None:
    """What has an address without asking for one."""
    if event in ("socket.connect", "socket.sendto") \
            and isinstance(values[1], tuple) and values[1][0] not in LOCAL:
        refuse(str(values[1][0]))


socket.getaddrinfo = getaddrinfo
sys.addaudithook(audit)
ctypes.CDLL(None).prctl(DEATH_OF_PARENT, signal.SIGKILL)
