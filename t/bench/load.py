"""Requests per second and processor time per request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .servers import SIZES, Bench, Target

# a range of 64 KiB somewhere in the first GiB
RANGES = """
local size, total = tonumber(os.getenv("RANGE")), %d
request = function()
    local first = math.random(0, total / size - 1) * size
    return wrk.format(nil, nil, {
        ["Range"] = string.format("bytes=%%d-%%d", first, first + size - 1)
    })
end
""" % SIZES["1g"]

# the result as JSON, which wrk itself does not print
DONE = """
done = function(summary)
    local e = summary.errors
    io.write(string.format(
        'RESULT {"requests": %d, "bytes": %d, "us": %d, "errors": %d}\\n',
        summary.requests, summary.bytes, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass
class Case:
    """One line of the table: what is asked for, over what."""

    name: str
    path: str
    size: int
    connections: int = 32
    ranged: bool = False


CASES = [
    Case("1 KiB", "/1k", 1 << 10),
    Case("64 KiB", "/64k", 64 << 10),
    Case("16 MiB", "/16m", 16 << 20, connections=4),
    Case("64 KiB of 1 GiB", "/1g", 64 << 10, ranged=True),
]


@dataclass
class Measured:
    rate: float                 # requests per second
    cpu: float                  # seconds of the worker per request


def cpu_time(pid: int) -> float:
    """Seconds that a process has run, with the finest clock there is."""
    try:
        # each thread has its own: with a thread pool there are some
        nanoseconds = sum(
            int(path.read_text().split()[0])
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        if nanoseconds:
            return nanoseconds / 1e9
    except FileNotFoundError:
        pass
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def burst(bench: Bench, target: Target, path: str, connections: int,
          seconds: int, script: str, **variables: int) \
        -> tuple[dict[str, int], float]:
    """One run of wrk: its result, and the seconds that the worker has run.

    The script reads the variables from its environment.
    """
    file = bench.dir / "wrk.lua"
    file.write_text(script + DONE)
    environment = {**os.environ, **{name: str(value) for name, value
                                    in variables.items()}}

    return run(target, target.url(path), environment,
               "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               "-s", str(file))


def swallow(target: Target, path: str, connections: int, seconds: int) \
        -> tuple[dict[str, int], float]:
    """The same of large objects, by a program that does not look at them."""

    return run(target, target.url(path), None,
               sys.executable, "-m", "bench.swallow",
               f"-c{connections}", f"-s{seconds}")


def run(target: Target, url: str, environment: dict[str, str] | None,
        *command: str) -> tuple[dict[str, int], float]:
    worker = target.server.worker
    before = cpu_time(worker)
    done = subprocess.run([*command, url], env=environment,
                          capture_output=True, text=True)
    cpu = cpu_time(worker) - before

    line = done.stdout.rpartition("RESULT ")[2]
    if done.returncode or not line.startswith("{"):
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    result = json.loads(line)
    if result["errors"] or not result["requests"]:
        raise SystemExit(f"{url}: {result}\n{target.server.words()}")
    return result, cpu


def measure(bench: Bench, target: Target, scheme: str, case: Case,
            seconds: int) -> Measured:
    """One burst of load on one proxy."""
    path = f"/{scheme}{case.path}"

    if case.size < 1 << 20:
        result, cpu = burst(bench, target, path, case.connections, seconds,
                            RANGES if case.ranged else "", RANGE=case.size)
        count: float = result["requests"]
    else:
        # many are under way at the end: parts of them count
        result, cpu = swallow(target, path, case.connections, seconds)
        count = result["bytes"] / case.size
    return Measured(count / result["us"] * 1e6, cpu / count)
