"""nginx between the double of an application and the emulator.

What the tests of it share; the fixtures are in studio_plugin.py.
"""

from __future__ import annotations

from . import Nginx, checks

BODY = b"0123456789"
APPLICATION = "signer@demo-project.iam.gserviceaccount.com"
READER = "reader@demo-project.iam.gserviceaccount.com"

# how the object is fetched: as the URL says, or by an identity of our own
MODES = ("signed", "named")

# clients who say who they are
ANN = {"Cookie": "sessionid=ann-and-a-signature"}
BOB = {"Cookie": "sessionid=bob-and-a-signature"}


def configuration(location: str = "", *, signed: str = "", named: str = "",
                  server: str = "", more: str = "", http: str = "") -> str:
    """/signed/ and /named/ are taken over; the server at PORT_PLAIN, which has
    all of this but "more", takes nothing over."""
    shared = """
        proxy_http_version 1.1;
        proxy_set_header   Host $http_host;
        proxy_set_header   X-Forwarded-Proto $scheme;
        proxy_set_header   Connection "";
        port_in_redirect   off;
    """
    return f"""
        gcs_credentials reader {{ file %%KEY%%; }}
        log_format takeover escape=json
            '$status|$gcs_takeover_status|$gcs_takeover_url|$upstream_status';
        upstream app {{ server %%APP%%; keepalive 16; }}
        {http}

        server {{
            listen             127.0.0.1:%%PORT%%;
            access_log         %%DIR%%/takeover.log takeover;
            gcs_endpoint       %%EMULATOR%%;
            gcs_takeover_hosts %%GCS%%;
            {shared}
            {server}
            {more}

            location = /ping {{
                access_log off;
                return     204;
            }}
            location / {{
                proxy_pass http://app;
            }}
            location /file_download/ {{
                internal;
                return 200 "nginx's own: $uri$is_args$args";
            }}
            location /signed/ {{
                proxy_pass   http://app;
                gcs_takeover @signed;
                {location}
            }}
            location /named/ {{
                proxy_pass   http://app;
                gcs_takeover @named;
                {location}
            }}
            location @signed {{
                gcs_pass     $gcs_takeover_url;
                gcs_auth     signature;
                {signed}
            }}
            location @named {{
                gcs_pass     $gcs_takeover_url;
                gcs_auth     reader;
                gcs_buckets  test-bucket;
                {named}
            }}
        }}

        server {{
            listen             127.0.0.1:%%PORT_PLAIN%%;
            {shared}
            {server}

            location / {{
                proxy_pass http://app;
            }}
            location /file_download/ {{
                internal;
                return 200 "nginx's own: $uri$is_args$args";
            }}
        }}
    """


def found_in_logs(server: Nginx, secrets: list[str]) -> list[str]:
    """Lines of any log with a secret."""
    return [f"{path.name}: {line}" for path in sorted(server.dir.glob("*.log"))
            for line in checks.leaks(path.read_text(errors="replace"),
                                     secrets)]


def gcs(emulator) -> list[dict]:
    """What was asked of Cloud Storage since the last time."""
    seen = emulator.requests("storage")
    assert not emulator.violations()
    emulator.reset_requests()
    return seen


def header(request: dict, name: str) -> str | None:
    values = [value for key, value in request["headers"]
              if key.lower() == name.lower()]
    assert len(values) < 2, values
    return values[0] if values else None


def taken(server: Nginx, count: int = 1) -> list[list[str]]:
    """The last lines of the access log: see log_format.

    A request is logged after it is answered, and before the next one.
    """
    server.get("/ping")
    text = (server.dir / "takeover.log").read_text()
    return [line.split("|") for line in text.splitlines()[-count:]]
