"""How long a small request takes while others keep the worker busy.

    python -m bench.pace probe PORT PATH RATE SECONDS
    python -m bench.pace load PORT FOLDER FIRST RATE SECONDS

Both send at a pace that does not depend on the answers: whoever waits for an
answer before the next request spares a server that is slow.  Each is a process
of its own, for two in one would wait for each other.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.client import Connection

# requests per second that are timed
PROBES = 400

# requests that may be under way; more would only wait in the kernel
CONNECTIONS = 64

# seconds of load before and after the time that is measured
MARGIN = 0.3


@dataclass
class Latency:
    p50: float                  # seconds
    p99: float
    kept: float = 1.0           # of the load's pace: 1 is all of it


def probe(port: str, path: str, rate: str, seconds: str) -> None:
    """By chance, as clients come: an even pace could fall into step."""
    chance = random.Random(1)
    times = []
    with Connection(int(port)) as connection:
        connection.get(path)
        gc.disable()
        due = time.monotonic()
        end = due + float(seconds)
        while due < end:
            due += chance.expovariate(float(rate))
            left = due - time.monotonic()
            if left > 0:
                time.sleep(left)
                # to wake up late is no one's fault but ours
                due = time.monotonic()
            assert connection.get(path).status == 200
            times.append(time.monotonic() - due)
    times.sort()
    json.dump({"p50": times[len(times) // 2],
               "p99": times[int(len(times) * 0.99)]}, sys.stdout)


class Client:
    """A connection with one request under way, or none."""

    def __init__(self, port: int):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""

    def read(self) -> bool:
        """Whether the answer has come to its end."""
        data = self.sock.recv(65536)
        assert data, "the server has closed the connection"
        self.answer += data
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found:
            return False
        assert head.startswith(b"HTTP/1.1 30"), head
        length = head.lower().partition(b"\r\ncontent-length: ")[2]
        if len(body) < int(length.split(b"\r\n", 1)[0]):
            return False
        self.answer = b""
        return True


def load(port: str, folder: str, first: str, rate: str,
         seconds: str) -> None:
    """Evenly; prints a line as soon as it runs, and then how it went."""
    clients = [Client(int(port)) for _ in range(CONNECTIONS)]
    idle, busy = clients[:], {}
    poll = select.epoll()
    for client in clients:
        poll.register(client.sock, select.EPOLLIN)
    by_number = {client.sock.fileno(): client for client in clients}

    gc.disable()
    print("running", flush=True)
    sent, begin = 0, time.monotonic()
    while (due := begin + sent / float(rate)) < begin + float(seconds):
        left = due - time.monotonic()
        if left > 0:
            time.sleep(left)
        for number, _ in poll.poll(0 if idle else -1):
            if by_number[number].read():
                idle.append(busy.pop(number))
        if not idle:
            continue
        client = idle.pop()
        client.sock.sendall(b"GET %s%09d.jpg HTTP/1.1\r\nHost: localhost\r\n"
                            b"\r\n" % (folder.encode(), int(first) + sent))
        busy[client.sock.fileno()] = client
        sent += 1
    json.dump({"rate": sent / (time.monotonic() - begin)}, sys.stdout)


def measure(port: int, path: str, folder: str, first: int, rate: float,
            seconds: int) -> Latency:
    """Of path, while so many objects of the folder are asked for a second."""
    command = [sys.executable, "-m", "bench.pace"]
    kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
          "text": True,
          "env": {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}}
    others = None
    try:
        if rate:
            others = subprocess.Popen(
                [*command, "load", str(port), folder, str(first), str(rate),
                 str(seconds + 3 * MARGIN)], **kw)
            if others.stdout.readline() != "running\n":
                raise SystemExit("the load does not run")
            time.sleep(MARGIN)

        done = subprocess.run([*command, "probe", str(port), path,
                               str(PROBES), str(seconds)], check=True, **kw)

        latency = Latency(**json.loads(done.stdout))
        if others is not None:
            output = others.communicate()[0]
            if others.returncode:
                raise SystemExit("the load has failed")
            latency.kept = json.loads(output)["rate"] / rate
        return latency
    finally:
        if others is not None and others.poll() is None:
            others.kill()
            others.wait()


if __name__ == "__main__":
    {"probe": probe, "load": load}[sys.argv[1]](*sys.argv[2:])
