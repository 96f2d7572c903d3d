"""A name whose address changes is followed, where nginx can do it."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from harness.nginx import free_port, version, wait_until

CONF = """
    resolver 127.0.0.1:%%DNS%% valid=1s ipv6=off;
    gcs_credentials reader { file %%KEY%%; }

    server {
        listen 127.0.0.1:%%PORT%%;

        location /media/ {
            gcs_pass gs://%%BUCKET%%/;
            gcs_auth reader;
            gcs_endpoint https://gcs.test:%%RELAY%% host=storage.googleapis.com;
            gcs_ssl_trusted_certificate %%CA%%;
            proxy_connect_timeout 2s;
        }
    }
"""


class Names(threading.Thread):
    """A name server that knows one name."""

    def __init__(self):
        super().__init__(daemon=True)
        self.addresses: list[str] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def run(self):
        while True:
            try:
                query, client = self.sock.recvfrom(512)
            except OSError:
                return
            end = query.index(b"\0", 12) + 5
            answers = self.addresses
            reply = query[:2] + struct.pack(
                ">HHHHH", 0x8180, 1, len(answers), 0, 0) + query[12:end]
            for address in answers:
                reply += struct.pack(">HHHIH", 0xc00c, 1, 1, 1, 4)
                reply += socket.inet_aton(address)
            self.sock.sendto(reply, client)


class Relay(threading.Thread):
    """Carries connections to the emulator, and counts them."""

    def __init__(self, address: str, port: int, target: int):
        super().__init__(daemon=True)
        self.count = 0
        self.target = target
        self.listener = socket.create_server((address, port))

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            server = socket.create_connection(("127.0.0.1", self.target))
            for one, two in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(one, two),
                                 daemon=True).start()

    @staticmethod
    def copy(one, two):
        try:
            while data := one.recv(65536):
                two.sendall(data)
        except OSError:
            pass
        for sock in (one, two):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def world(emulator):
    names, port = Names(), free_port()
    relays = [Relay(address, port, emulator.https_port)
              for address in ("127.0.0.2", "127.0.0.3")]
    for thread in (names, *relays):
        thread.start()
    yield names, relays, port
    names.sock.close()
    for relay in relays:
        relay.listener.close()


@pytest.mark.skipif(version() < (1, 27, 3),
                    reason="nginx resolves upstreams at run time since 1.27.3;"
                           " before it a reload does, see docs/directives.md")
def test_a_changed_address_is_followed_without_a_reload(
        nginx, emulator, bucket, key_file, world):
    names, relays, port = world
    emulator.put_object(bucket, "a", b"hello")
    names.addresses = ["127.0.0.2"]
    server = nginx(CONF, DNS=names.port, RELAY=port)

    wait_until(lambda: server.get("/media/a").status == 200, 5)
    assert [relay.count > 0 for relay in relays] == [True, False]

    names.addresses = ["127.0.0.3"]
    emulator.close_connections()

    def moved():
        assert server.get("/media/a").body == b"hello"
        emulator.close_connections()
        return relays[1].count

    wait_until(moved, 10)


@pytest.mark.skipif(version() < (1, 27, 3),
                    reason="nginx resolves upstreams at run time since 1.27.3;"
                           " before it a reload does, see docs/directives.md")
def test_a_dead_address_among_several_is_passed_over(
        nginx, emulator, bucket, key_file, world):
    names, relays, port = world
    emulator.put_object(bucket, "a", b"hello")
    names.addresses = ["127.0.0.4", "127.0.0.2", "127.0.0.5"]
    server = nginx(CONF, DNS=names.port, RELAY=port)

    wait_until(lambda: server.get("/media/a").status == 200, 5)
    for _ in range(6):
        assert server.get("/media/a").body == b"hello"
        emulator.close_connections()


@pytest.mark.skipif(version() >= (1, 27, 3),
                    reason="nginx 1.27.3 and later resolve at run time")
def test_without_that_a_name_that_does_not_resolve_is_told_at_start(
        nginx, emulator, bucket, key_file, world):
    names, _, port = world
    tested = nginx(CONF, DNS=names.port, RELAY=port, start=False).test()
    assert tested.returncode == 1
    assert 'gcs.test' in tested.stderr and '"gcs_endpoint"' in tested.stderr
    assert "nginx.conf:" in tested.stderr
