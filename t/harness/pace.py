"""How long a small request takes at a steady pace, of several servers in turn.

    python -m harness.pace ROUNDS COUNT RATE TARGET PORT...

A process of its own, for other threads of a test would take its time.  In
each round every server gets COUNT requests, RATE a second, on one connection;
what else the machine does meets all of them.  A request's time begins when it
was due, not when it could be sent: who has to wait for the one before waits,
too, and that is what users feel.  Prints, in JSON, for each round the 99th
percentile of each server in seconds.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .client import Connection


def one_round(connection: Connection, target: str, count: int,
              rate: float) -> float:
    """The 99th percentile."""
    times = []
    start = time.monotonic() + 0.01
    for number in range(count):
        due = start + number / rate
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        assert connection.get(target).status == 200
        times.append(time.monotonic() - due)
    return sorted(times)[int(count * 0.99)]


def measure(ports: list[int], target: str, rounds: int, count: int,
            rate: float) -> list[list[float]]:
    """For each round the 99th percentile of each server."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.pace", str(rounds), str(count),
         str(rate), target, *map(str, ports)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE, check=True, timeout=600,
        stdin=subprocess.DEVNULL)
    return json.loads(done.stdout)


def main(rounds: str, count: str, rate: str, target: str,
         *ports: str) -> None:
    connections = [Connection(int(port)) for port in ports]
    gc.disable()
    for connection in connections:
        one_round(connection, target, int(count), float(rate))

    results = []
    for number in range(int(rounds)):
        # who comes first comes second the next time
        order = list(range(len(ports)))[::-1 if number % 2 else 1]
        result = [0.0] * len(ports)
        for i in order:
            result[i] = one_round(connections[i], target, int(count),
                                  float(rate))
        results.append(result)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
