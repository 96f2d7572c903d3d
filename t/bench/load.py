"""Requests per second and processor time per request, by wrk."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .servers import SIZES, Bench, Target

# a range of 64 KiB somewhere in the first GiB, if asked for; the result as
# JSON, which wrk itself does not print
SCRIPT = """
local size, total = tonumber(os.getenv("RANGE")), %d
if size then
    request = function()
        local first = math.random(0, total / size - 1) * size
        return wrk.format(nil, nil, {
            ["Range"] = string.format("bytes=%%d-%%d", first, first + size - 1)
        })
    end
end
done = function(summary)
    local e = summary.errors
    io.write(string.format(
        'RESULT {"requests": %%d, "bytes": %%d, "us": %%d, "errors": %%d}\\n',
        summary.requests, summary.bytes, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout))
end
""" % SIZES["1g"]


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
        nanoseconds = int(Path(f"/proc/{pid}/schedstat").read_text()
                          .split()[0])
        if nanoseconds:
            return nanoseconds / 1e9
    except FileNotFoundError:
        pass
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(bench: Bench, target: Target, scheme: str, case: Case,
            seconds: int) -> Measured:
    """One burst of load on one proxy."""
    script = bench.dir / "wrk.lua"
    script.write_text(SCRIPT)
    environment = dict(os.environ)
    environment.pop("RANGE", None)
    if case.ranged:
        environment["RANGE"] = str(case.size)

    worker = target.server.worker
    before = cpu_time(worker)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s",
         "-s", str(script), target.url(f"/{scheme}{case.path}")],
        env=environment, capture_output=True, text=True)
    cpu = cpu_time(worker) - before

    line = done.stdout.rpartition("RESULT ")[2]
    if done.returncode or not line.startswith("{"):
        raise SystemExit(f"wrk failed:\n{done.stdout}{done.stderr}")
    result = json.loads(line)
    if result["errors"] or not result["requests"]:
        raise SystemExit(f"{target.url(case.path)}: {result}\n"
                         + target.server.words())

    # of large ones many are under way at the end: parts of them count
    count = result["requests"] if case.size < 1 << 20 \
        else result["bytes"] / case.size
    return Measured(count / result["us"] * 1e6, cpu / count)
