"""URLs that a key signs in a thread, and $gcs_signed_url in all its places.

An nginx built without threads signs in the event loop; there is none here to
be tested.
"""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from harness.client import Connection, request_bytes
from harness.nginx import wait_until

ATTACHED = "attached@demo-project.iam.gserviceaccount.com"
CREATOR = "roles/iam.serviceAccountTokenCreator"

CONF = """
    gcs_credentials key {{ file %%KEY%%; }}
    gcs_credentials machine {{ metadata_server {metadata};
                               iam_endpoint %%EMULATOR%%; }}
    {http}
    server {{
        listen       127.0.0.1:%%PORT%% backlog=4096;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     {who};
        {server}
        location /media/ {{
            gcs_pass gs://test-bucket/;
            gcs_mode presign;
            {more}
        }}
        location /ping {{ return 200 pong; }}
    }}"""
PLACES = ["key", "machine"]


@pytest.fixture
def google(emulator, bucket):
    """A machine whose account signs for itself."""
    emulator.put_object(bucket, "a.txt", b"0123456789",
                        content_type="text/plain")
    emulator.metadata_account(ATTACHED, grants={bucket: "objectUser"})
    emulator.set_policy(ATTACHED, {CREATOR: ["serviceAccount:" + ATTACHED]})
    return emulator


@pytest.fixture
def serve(nginx, google, key_file):
    def start(more="", server="", http="", who="key", **kw):
        return nginx(CONF.format(more=more, server=server, http=http, who=who,
                                 metadata=google.metadata_host), **kw)
    return start


def signatures(emulator) -> list[dict]:
    return [record for record in emulator.requests("iam")
            if record["target"].endswith(":signBlob")]


def url_of(response) -> str:
    assert response.status in (303, 307), response.status
    return response.get("Location")


def fields(url: str) -> dict[str, str]:
    return {name: values[0] for name, values
            in parse_qs(urlsplit(url).query).items()}


def works(url: str, session=requests) -> bool:
    answer = session.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"0123456789"), \
        answer.text
    return True


def ask(server, paths) -> list[Connection]:
    """Send a request on a connection each, and read nothing."""
    made = []
    for path in paths:
        connection = server.connect()
        connection.send(request_bytes("GET", path, connection.host))
        made.append(connection)
    return made


# threads

@pytest.mark.parametrize("workers", [1, 2])
def test_many_urls_at_once_are_each_right(serve, google, workers):
    """Of one object, but each with a parameter of its own."""
    server = serve("gcs_presign_query generation $arg_g;", workers=workers)
    right = google.get_object("test-bucket", "a.txt")["generation"]
    waiting = ask(server, [f"/media/a.txt?g={number}"
                           for number in range(300)]
                  + [f"/media/a.txt?g={right}"])
    urls = [url_of(connection.response()) for connection in waiting]
    for number, url in enumerate(urls[:300]):
        assert fields(url)["generation"] == str(number)
    with requests.Session() as session:
        assert works(urls[300], session)
        for url in urls[:300:10]:
            # signed well, and no such generation
            assert session.get(url, timeout=10).status_code == 404
    assert google.counts().get("iam", 0) == 0


def test_a_worker_answers_others_while_it_signs(serve, google):
    server = serve("gcs_presign_query response-content-type t/$arg_g;")
    ping = server.connect()
    waiting = ask(server, [f"/media/a.txt?g={n}" for n in range(400)])
    times = []
    for _ in range(40):
        begin = time.monotonic()
        assert ping.get("/ping").body == b"pong"
        times.append(time.monotonic() - begin)
    assert {c.response().status for c in waiting} == {303}
    # one signature is some 0.7 ms: all of them would be 300 ms
    assert sorted(times)[len(times) // 2] < 0.05


def on_processor(worker: int) -> tuple[int, int]:
    """Nanoseconds of the event loop, and of all the other threads."""
    times = {int(task.name): int((task / "schedstat").read_text().split()[0])
             for task in Path(f"/proc/{worker}/task").iterdir()}
    loop = times.pop(worker)
    return loop, sum(times.values())


def test_not_the_event_loop_signs_but_other_threads(serve, google):
    server = serve("gcs_presign_query response-content-type t/$arg_g;")
    worker, = server.children()
    url_of(server.get("/media/a.txt?g=x"))
    loop, others = on_processor(worker)
    with server.connect() as connection:
        for number in range(200):
            url_of(connection.get(f"/media/a.txt?g={number}"))
    loop, others = (after - before for after, before
                    in zip(on_processor(worker), (loop, others)))
    # a signature is the most of it
    assert others > loop and others > 200 * 100_000


def test_a_key_may_be_replaced_while_it_signs(serve, google, key_file):
    """By another one of the same account, again and again."""
    email = json.loads(key_file.read_text())["client_email"]
    google.configure(token_lifetime=2)     # each fetch looks at the file
    keys = [google.service_account(email, {"test-bucket": ["objectViewer"]},
                                   key=name) for name in ("one", "two")]
    server = serve("gcs_presign_query response-content-type t/$arg_g;")
    over = threading.Event()

    def replace() -> None:
        for turn in range(1000):
            if over.wait(0.1):
                return
            new = key_file.with_name("new.json")
            new.touch(0o600)
            new.write_text(keys[turn % 2])
            new.replace(key_file)

    urls = []
    thread = threading.Thread(target=replace)
    thread.start()
    try:
        end = time.monotonic() + 2.5
        number = 0
        while time.monotonic() < end:
            paths = [f"/media/a.txt?g={number + n}" for n in range(30)]
            number += 30
            waiting = ask(server, paths)
            urls += [url_of(c.response()) for c in waiting]
            for connection in waiting:
                connection.close()
    finally:
        over.set()
        thread.join()
    assert "has been replaced and is used now" in server.log()
    with requests.Session() as session:
        for url in [*urls[::20], urls[-1]]:
            assert works(url, session)


def test_clients_may_go_away_while_a_thread_signs(serve, google):
    server = serve("gcs_presign_query response-content-type t/$arg_g;")
    waiting = ask(server, [f"/media/a.txt?g={n}" for n in range(200)])
    for connection in waiting[::2]:
        connection.close()
    for connection in waiting[1::2]:
        assert connection.response().status == 303
    assert works(url_of(server.get("/media/a.txt?g=x")))


@pytest.mark.parametrize("how", ["QUIT", "TERM", "HUP"])
def test_nginx_ends_in_order_while_threads_sign(serve, google, how):
    """Gracefully with all the answers."""
    server = serve("gcs_presign_query response-content-type t/$arg_g;")
    waiting = ask(server, [f"/media/a.txt?g={n}" for n in range(200)])
    waiting[0].response()                  # so others have been accepted
    server.signal(how)
    answers = 0
    for connection in waiting[1:]:
        try:
            answers += connection.response().status == 303
        except ConnectionError:
            pass
    # who was still in the line of the listening socket is lost
    assert answers > 0 or how == "TERM"
    if how == "HUP":
        assert works(url_of(server.get("/media/a.txt?g=1")))
    else:
        wait_until(lambda: not server.running)


# the variable

def variable(place: str, mode: str = "") -> str:
    return f"""location /page {{
        gcs_object gs://test-bucket/a.txt; {mode}
        {place} }}"""


def page(server) -> None:
    """A file that nginx itself serves at /page."""
    folder = server.dir / "html"
    folder.mkdir(exist_ok=True)
    (folder / "page").write_text("<a href='HERE'>")


@pytest.mark.parametrize("mode", ["", "gcs_mode presign;"])
@pytest.mark.parametrize("who", PLACES)
def test_the_variable_is_in_a_header(serve, google, who, mode):
    server = serve(who=who, server=variable(
        "root %%DIR%%/html; add_header X-Url $gcs_signed_url;", mode))
    page(server)
    answer = server.get("/page")
    assert (answer.status, answer.body) == (200, b"<a href='HERE'>")
    assert works(answer.get("X-Url"))


def test_where_the_mode_is_proxy_only_what_costs_nothing_is_signed(serve,
                                                                   google):
    where = variable("root %%DIR%%/html; add_header X-Url $gcs_signed_url;",
                     "gcs_mode proxy;")
    server = serve(server=where + where.replace("/page", "/other").replace(
        "gcs_mode", "gcs_auth machine; gcs_mode"))
    page(server)
    (server.dir / "html/other").write_text("x")
    assert works(server.get("/page").get("X-Url"))
    answer = server.get("/other")
    assert (answer.status, answer.get("X-Url")) == (200, None)
    assert signatures(google) == []


@pytest.mark.parametrize("who", PLACES)
def test_the_variable_is_in_a_body(serve, google, who):
    server = serve(who=who, server=variable("""
        root %%DIR%%/html; sub_filter_types *;
        sub_filter HERE $gcs_signed_url;"""))
    page(server)
    body = server.get("/page").text
    assert works(re.fullmatch("<a href='(.*)'>", body)[1])


@pytest.mark.parametrize("who", PLACES)
def test_the_variable_is_where_a_proxy_goes(serve, google, who):
    server = serve(who=who, server=variable("proxy_pass $gcs_signed_url;"))
    for _ in range(2):
        assert server.get("/page").body == b"0123456789"
    assert google.requests("storage")[-1]["credential"] == "signed URL"


def test_the_variable_is_in_a_page_of_ssi(serve, google):
    """No line of the configuration names it: the mode tells."""
    server = serve(who="machine", server=variable(
        "root %%DIR%%/html; ssi on; ssi_types *;", "gcs_mode presign;"))
    page(server)
    (server.dir / "html/page").write_text(
        '<a href=\'<!--# echo var="gcs_signed_url" encoding="none" -->\'>')
    body = server.get("/page").text
    assert works(re.fullmatch("<a href='(.*)'>", body)[1])


def test_return_has_the_url_of_a_key(serve, google):
    server = serve(server=variable('return 302 $gcs_signed_url;'))
    answer = server.get("/page")
    assert answer.status == 302 and works(answer.get("Location"))


def test_return_comes_too_early_for_iam(serve, google):
    server = serve(who="machine", server=variable(
        'return 200 "<$gcs_signed_url>";'))
    assert server.get("/page").body == b"<>"
    line, = server.lines("error")
    assert '"machine" cannot sign URLs before the access phase: IAM signs' \
        in line
    assert signatures(google) == []


def test_return_comes_too_early_for_iam_also_with_an_account(serve, google):
    server = serve(who="machine", server=variable(
        'return 200 "<$gcs_signed_url>";'))
    url_of(server.get("/media/other.txt"))
    assert server.get("/page").body == b"<>"
    server.expect("cannot sign URLs before the access phase: IAM signs")
    assert len(signatures(google)) == 1


def test_a_url_that_is_there_already_is_in_return_as_well(serve, google):
    """From the cache: nobody has to be asked."""
    server = serve(who="machine", server="""
        location /early { gcs_object gs://test-bucket/a.txt;
                          return 200 $gcs_signed_url; }""" + variable(
        "root %%DIR%%/html; add_header X-Url $gcs_signed_url;"))
    page(server)
    while 300 - time.time() % 300 < 5:
        time.sleep(0.1)
    url = server.get("/page").get("X-Url")
    assert server.get("/early").text == url
    assert len(signatures(google)) == 1


REFUSED = [{"status": 403, "body": "{}"}, {"status": 200, "body": "{}"},
           {"hang": True}]


@pytest.mark.parametrize("fault", REFUSED, ids=str)
@pytest.mark.parametrize("mode", ["", "gcs_mode presign;"])
def test_a_page_without_a_signature_is_still_a_page(serve, google, fault,
                                                    mode):
    google.fault(kind="iam", count=None, **fault)
    server = serve(who="machine", server=variable("""root %%DIR%%/html;
        gcs_token_timeout 500ms; add_header X-Url "<$gcs_signed_url>";""",
        mode))
    page(server)
    answer = server.get("/page")
    assert (answer.status, answer.get("X-Url")) == (200, "<>")
    assert server.lines("error", "no signed URL of gcs credentials")


def test_a_request_that_goes_on_at_once_does_not_look_out_for_its_client(
        serve, google):
    """As one that waits does: nginx's proxy has been told not to."""
    google.fault(kind="iam", count=None, status=403, body="{}")
    google.fault(kind="storage", count=None, status=200, body="late",
                 delay=0.5)
    server = serve(who="machine", server=variable(
        "proxy_ignore_client_abort on; proxy_pass %%EMULATOR%%/b/o; "
        "add_header X-Url $gcs_signed_url;"))
    assert server.get("/page?first").status == 200
    client = server.connect()
    client.send(request_bytes("GET", "/page?second", "a"))
    time.sleep(0.1)
    client.close()
    logged = server.wait_access_log(r'/page\?second HTTP/1.1" (\d+)')[0]
    assert logged[1] != "499"
    assert len(signatures(google)) == 1    # the second has not asked


def test_a_page_without_a_token_for_signing_is_still_a_page(serve, google):
    """As without a signature: the token is for nothing else here."""
    google.fault(kind="metadata", count=None, status=500)
    server = serve(who="machine", server=variable("""root %%DIR%%/html;
        gcs_token_timeout 500ms; add_header X-Url "<$gcs_signed_url>";""",
        "gcs_mode presign;"))
    page(server)
    answer = server.get("/page")
    assert (answer.status, answer.get("X-Url")) == (200, "<>")


def test_an_account_is_asked_for_one_url_by_many_places(serve, google):
    server = serve(who="machine", server=variable("""
        root %%DIR%%/html; add_header X-One $gcs_signed_url;
        add_header X-Two $gcs_signed_url; sub_filter_types *;
        sub_filter HERE $gcs_signed_url; gcs_presign_cache off;"""))
    page(server)
    answer = server.get("/page")
    url = answer.get("X-One")
    assert url == answer.get("X-Two") and url in answer.text and works(url)
    assert len(signatures(google)) == 1


def test_only_a_location_that_uses_the_mode_waits_for_no_token(serve, google):
    """Beside gcs_object: the account's own token is of no use there."""
    google.fault(kind="token", count=None, status=500)
    server = serve(server=variable(
        "root %%DIR%%/html; add_header X-Url $gcs_signed_url;",
        "gcs_mode presign;") + variable(
        "root %%DIR%%/html; gcs_token_timeout 300ms;").replace(
            "/page", "/other"))
    page(server)
    (server.dir / "html/other").write_text("x")
    assert works(server.get("/page").get("X-Url"))
    assert server.get("/other").status in (502, 504)


# subrequests

def test_an_error_in_a_subrequest_leaves_the_page_alone(serve, google):
    google.fault(kind="iam", count=None, status=403, body="{}")
    server = serve(who="machine", server="""
        location /page { root %%DIR%%/html; ssi on; ssi_types *; }""")
    page(server)
    (server.dir / "html/page").write_text(
        'a<!--# include virtual="/media/a.txt" -->b'
        '<!--# include virtual="/ping" -->c')
    body = server.get("/page").text
    assert body.startswith("a") and body.endswith("bpongc")
    assert "502" in body
    server.wait_log("no signed URL of gcs credentials")


@pytest.mark.parametrize("who", PLACES)
def test_a_subrequest_waits_for_its_signature(serve, google, who):
    google.fault(kind="iam", delay=0.5)
    server = serve(who=who, server="""
        location /page { root %%DIR%%/html; ssi on; ssi_types *; }
        location /url/ { gcs_pass gs://test-bucket/; gcs_mode presign;
                         gcs_presign_answer json; }""")
    page(server)
    (server.dir / "html/page").write_text(
        '[<!--# include virtual="/url/a.txt" -->,'
        '<!--# include virtual="/url/a.txt" -->]')
    first, second = json.loads(server.get("/page").body)
    assert works(first["url"]) and works(second["url"])


# first who may ask, then the signature

HTPASSWD = "user:{PLAIN}secret\n"
GUARDS = {"auth_basic": 'auth_basic x; auth_basic_user_file %%DIR%%/users;',
          "auth_request": "auth_request /no;", "deny": "deny all;"}
PRESIGN = "gcs_pass gs://test-bucket/; gcs_mode presign;"
OBJECT = ("gcs_object gs://test-bucket/a.txt; root %%DIR%%/html; "
          "add_header X-Url $gcs_signed_url always;")


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("what", [PRESIGN, OBJECT],
                         ids=["presign", "variable"])
def test_who_is_refused_costs_no_signature(serve, google, guard, what):
    server = serve(who="machine", server=f"""
        location /page {{ {what} {GUARDS[guard]} }}
        location = /no {{ internal; return 403; }}""", start=False)
    (server.dir / "users").write_text(HTPASSWD)
    server.start()
    page(server)
    answer = server.get("/page")
    assert answer.status == (401 if guard == "auth_basic" else 403)
    assert answer.get("Location") is None
    assert not re.search("X-Goog-", answer.head.decode())
    assert signatures(google) == []


def test_who_may_ask_gets_a_signature(serve, google):
    server = serve(who="machine", server=f"""
        location /page {{ {PRESIGN} {GUARDS["auth_basic"]} }}""", start=False)
    (server.dir / "users").write_text(HTPASSWD)
    server.start()
    answer = server.get("/page/a.txt", {"Authorization":
                                        "Basic dXNlcjpzZWNyZXQ="})
    assert works(url_of(answer).replace("//a.txt", "/a.txt"))
    assert len(signatures(google)) == 1
