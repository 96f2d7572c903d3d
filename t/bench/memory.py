"""The memory of downloads that wait for slow clients."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

from .servers import Bench, Target


def pss(pid: int) -> int:
    """Bytes of a process, with its share of what it has in common."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    assert match, text
    return int(match.group(1)) << 10


def slow_downloads(target: Target, path: str, count: int) -> int:
    """Bytes by which the worker grows while count clients hardly read."""
    worker = target.server.worker
    before = pss(worker)
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            client = socket.socket()
            clients.append(client)
            # a small window, so that what is under way is in the proxy
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", target.port))
            client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
                           % path.encode())

        for client in clients:
            client.settimeout(30)
            head = client.recv(1024)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"{path}: {head!r}\n{target.server.words()}")

        # a little from each, until nothing more comes into the proxy
        last, stable = 0, 0
        while stable < 3:
            for client in clients:
                client.recv(1024)
            time.sleep(0.2)
            now = pss(worker)
            stable = stable + 1 if abs(now - last) <= now // 200 else 0
            last = now

        return last - before

    finally:
        for client in clients:
            client.close()


def measure(bench: Bench, scheme: str, count: int, run: int) \
        -> dict[str, int]:
    """With fresh processes: a heap that has grown does not shrink."""
    targets = bench.targets(f"slow-{scheme}-{run}")
    try:
        return {name: slow_downloads(targets[name], f"/{scheme}/16m", count)
                for name in ("module", "tuned")}
    finally:
        for server in {id(t.server): t.server for t in targets.values()} \
                .values():
            bench.stop(server)
