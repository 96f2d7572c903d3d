"""python3 -m emulator: run the emulator until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile

from .certificates import create, server_context
from .server import App, Config, listen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true", help="serve https too")
    parser.add_argument("--tls-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1",
                        help="for http and https; control stays local")
    parser.add_argument("--host", action="append", default=[],
                        help="one more Host to accept")
    parser.add_argument("--lenient", action="store_true",
                        help="record violations without refusing them")
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--state-dir", help="for ca.pem and server.pem")
    parser.add_argument("--ready-file",
                        help="write the ready line to this file as well")
    parser.add_argument("--with-parent", action="store_true",
                        help="stop at the end of standard input")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, directory: str) -> None:
    app = App(Config(hosts=arguments.host, log=arguments.log,
                     strict=not arguments.lenient))

    ca_file, context = None, None
    if arguments.tls:
        ca_file, server_file = create(directory, tuple(arguments.host))
        context = server_context(server_file)

    listeners = await listen(app, arguments.port, arguments.tls_port, context,
                             arguments.control_port, arguments.address)

    line = json.dumps({"http_port": listeners.http_port,
                       "https_port": listeners.https_port,
                       "control_port": listeners.control_port,
                       "ca_file": ca_file, "pid": os.getpid()})
    if arguments.ready_file:
        with open(arguments.ready_file + ".new", "w") as file:
            file.write(line + "\n")
        os.replace(arguments.ready_file + ".new", arguments.ready_file)
    print(line, flush=True)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    if arguments.with_parent:
        def stdin_ready() -> None:
            if not os.read(0, 4096):
                loop.remove_reader(0)
                stop.set()
        loop.add_reader(0, stdin_ready)

    await stop.wait()
    for server in listeners.servers:
        server.close()
    for connection in list(app.open):
        connection.writer.transport.abort()


def main() -> None:
    arguments = _arguments()
    if arguments.state_dir:
        os.makedirs(arguments.state_dir, exist_ok=True)
        asyncio.run(_run(arguments, arguments.state_dir))
        return
    with tempfile.TemporaryDirectory(prefix="emulator-") as directory:
        asyncio.run(_run(arguments, directory))


if __name__ == "__main__":
    sys.exit(main())
