"""Brings the addresses of metadata servers, 169.254.0.0/16, to the emulator.

A library to preload: the program believes that it is on a machine of a cloud.
Without a port it is on none, and every connection is refused.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int
connect(int fd, const struct sockaddr *address, socklen_t len)
{
    int                (*real)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_in   to;

    real = (int (*)(int, const struct sockaddr *, socklen_t))
               dlsym(RTLD_NEXT, "connect");

    if (address->sa_family == AF_INET) {
        memcpy(&to, address, sizeof(to));

        if (ntohl(to.sin_addr.s_addr) >> 16 == 0xa9fe) {

            if (PORT == 0) {
                errno = ECONNREFUSED;
                return -1;
            }

            to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            to.sin_port = htons(PORT);

            return real(fd, (struct sockaddr *) &to, sizeof(to));
        }
    }

    return real(fd, address, len);
}
"""


def library(folder: Path, port: int = 0) -> Path:
    """The path of the library, which is made in the folder."""
    source, made = folder / "link-local.c", folder / "link-local.so"
    source.write_text(SOURCE)
    subprocess.run([*os.environ.get("CC", "cc").split(), "-shared", "-fPIC",
                    f"-DPORT={port}", "-o", made, source, "-ldl"],
                   check=True)
    return made
