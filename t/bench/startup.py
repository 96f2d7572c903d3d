"""Start-up and memory with many credentials and locations."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness.nginx import binary, wait_until

from .memory import pss
from .servers import UPSTREAMS, Bench, Server

PING = """
server {
    listen 127.0.0.1:%%%%PORT%%%%;
    location = /ping { return 204; }
%s
}
"""


@dataclass
class Measured:
    seconds: float              # from the start to the first answer
    size: int                   # bytes, of the master and its worker


def module(keys: list[Path], scheme: str) -> str:
    """As many identities, each with a location of its own."""
    endpoint = "http://127.0.0.1:%%HTTP%%" if scheme == "http" \
        else "https://127.0.0.1:%%TLS%% host=storage.googleapis.com"
    blocks = [f"gcs_endpoint {endpoint};",
              "gcs_ssl_trusted_certificate %%CA%%;"]
    places = []
    for number, key in enumerate(keys):
        blocks.append(f"gcs_credentials reader{number} {{ file {key}; "
                      "token_endpoint %%TOKEN%%; }")
        places.append(f"location /{number}/ {{ gcs_pass gs://bench/; "
                      f"gcs_auth reader{number}; }}")
    return "\n".join(blocks) + PING % "\n".join(places)


def control(keys: list[Path], scheme: str) -> str:
    """The same with pasted tokens."""
    places = [f"location /{number}/ {{ proxy_pass {scheme_url(scheme)}; "
              "proxy_http_version 1.1; proxy_set_header Connection \"\"; "
              f"proxy_set_header Authorization \"Bearer x{number}\"; }}"
              for number in range(len(keys))]
    return UPSTREAMS + PING % "\n".join(places)


def scheme_url(scheme: str) -> str:
    return "https://tls_origin/bench/" if scheme == "tls" \
        else "http://http_origin/bench/"


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.1 204 ")
    except OSError:
        return False


def start(server: Server, ready) -> Measured:
    """One start, timed; ready() tells when there are tokens."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [binary(), "-p", str(server.dir), "-c", str(server.conf), "-e",
         str(server.dir / "error.log"), "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
        # nginx takes that variable for sockets to inherit
        env={name: value for name, value in os.environ.items()
             if name != "NGINX"})
    try:
        while not answers(server.port):
            if process.poll() is not None or time.perf_counter() > begin + 60:
                raise SystemExit(f"nginx does not start:\n{server.words()}")
            time.sleep(0.0005)
        seconds = time.perf_counter() - begin

        wait_until(ready, 60, "no tokens")
        # what came to an end with the last token is given back
        time.sleep(0.3)
        return Measured(seconds, sum(map(pss, [
            process.pid, *server.children(process.pid)])))
    finally:
        process.terminate()
        process.wait(20)


def measure(bench: Bench, scheme: str, count: int, rounds: int) \
        -> list[dict[str, Measured]]:
    """Rounds of one start of each; count is of credentials and locations."""
    keys = [bench.key() for _ in range(count)]
    folder = f"start-{scheme}-{count}"
    servers = {}
    for name, http in (("module", module), ("defaults", control)):
        servers[name] = bench.make(f"{folder}-{name}", http(keys, scheme),
                                   bench.proxy_cores,
                                   module=name == "module")

    def tokens() -> int:
        return bench.emulator.counts().get("token", 0)

    done = []
    for _ in range(rounds):
        measured = {}
        for name, server in servers.items():
            wanted = tokens() + (count if name == "module" else 0)
            measured[name] = start(server, lambda: tokens() >= wanted)
        done.append(measured)
    return done
