"""The documents say what the code does, and what they show works.

Every configuration in them goes through nginx -t, every directive, variable
and error word has its section, every log line that they explain exists, and
every link leads somewhere.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest

from emulator import content, signing_key
from emulator.certificates import create

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "ngx_gcs_proxy_module"
PAGES = [ROOT / "README.md", ROOT / "CHANGES.md",
         *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [page for page in PAGES if page.name != "CHANGES.md"]

# what a key file has in common with one, as far as nginx -t looks
KEY = """{"type": "service_account", "private_key": %s,
          "client_email": "reader@my-project.iam.gserviceaccount.com"}"""

FEDERATION = {
    "type": "external_account", "audience": "//iam.googleapis.com/projects/1/"
    "locations/global/workloadIdentityPools/my-pool/providers/my-provider",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/var/run/token"}}

# The machine that runs the tests may know no other name than its own.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

int
getaddrinfo(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **res)
{
    size_t                len, tail;
    struct addrinfo       numeric;
    static const char     google[] = ".googleapis.com";
    int                 (*real)(const char *, const char *,
                                const struct addrinfo *, struct addrinfo **);

    real = (int (*)(const char *, const char *, const struct addrinfo *,
                    struct addrinfo **)) dlsym(RTLD_NEXT, "getaddrinfo");

    len = node ? strlen(node) : 0;
    tail = sizeof(google) - 1;

    if (len > tail && strcmp(node + len - tail, google) == 0) {
        memset(&numeric, 0, sizeof(numeric));
        numeric.ai_family = AF_INET;
        numeric.ai_socktype = SOCK_STREAM;
        numeric.ai_flags = AI_NUMERICHOST;

        return real("127.0.0.1", service, &numeric, res);
    }

    return real(node, service, hints, res);
}
"""


# reading C

def sources() -> str:
    return "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.c")))


def tables(kind: str) -> Iterator[tuple[str, str]]:
    """The tables of a structure: name and text."""
    for match in re.finditer(
            rf"^(?:static )?{kind}  (\w+)\[\] = \{{\n(.*?)^\}};",
            sources(), re.MULTILINE | re.DOTALL):
        yield match.group(1), match.group(2)


CONTEXTS = {"NGX_HTTP_MAIN_CONF": "http", "NGX_HTTP_SRV_CONF": "server",
            "NGX_HTTP_LOC_CONF": "location", "NGX_HTTP_LIF_CONF":
            "if in location"}


def directives() -> dict[str, str]:
    """Each directive of ours, and its contexts as the documents write them."""
    found = {}
    for table, text in tables("ngx_command_t"):
        for name, flags in re.findall(
                r'\{ ngx_string\("(\w+)"\),\s+([\w|\s]+?),', text):
            if "credentials" in table:
                found[name] = "gcs_credentials"
            elif name.startswith("gcs_"):
                found[name] = ", ".join(word for flag, word in
                                        CONTEXTS.items() if flag in flags)
    return found


def variables() -> set[str]:
    return {name for _, text in tables("ngx_http_variable_t")
            for name in re.findall(r'\{ ngx_string\("(\w+)"\)', text)
            if not name.startswith("__")}


def refused_directives() -> set[str]:
    return {name for _, text in tables("ngx_http_gcs_refused_t")
            for name in re.findall(r'\{ "(\w+)"', text)}


def error_words() -> set[str]:
    """The values of $gcs_error that are words of our own."""
    text = sources()
    return {*re.findall(r'ngx_str_set\(&ctx->error, "(\w+)"\)', text),
            *re.findall(r'ngx_gcs_api_refuse\([\w&>-]+,\s+\w+,\s+"(\w+)"',
                        text),
            *(word for _, table in tables("ngx_gcs_api_forbidden_t")
              for word in re.findall(r'ngx_string\("[^"]+"\), "(\w+)"',
                                     table)),
            *re.findall(r'ngx_http_gcs_refuse\(r, ctx, \w+,\s+"(\w+)"', text),
            *token_words()}


_PIECE = r'(?:"(?:\\.|[^"\\\n])*"|ngx_\w+_n|NGX_(?:HTTP_)?GCS_[A-Z_]+)'
_LITERALS = re.compile(rf"({_PIECE}(?:\s+{_PIECE})*)")


def macros() -> dict[str, str]:
    """Those of the sources and headers that are a text."""
    text = sources() + "\n".join(
        path.read_text() for path in sorted(FOLDER.glob("*.h")))
    return dict(re.findall(
        r'^#define (NGX_(?:HTTP_)?GCS_\w+)\s+(?:\\\n\s+)?("[^"\n]*")$', text,
        re.MULTILINE))


def messages() -> dict[str, bool]:
    """The formats of all log lines but debug; True: at run time."""
    found, names = {}, macros()
    for match in re.finditer(
            r"\b(ngx_log_error|ngx_conf_log_error|ngx_http_gcs_conf_error"
            r"|ngx_http_gcs_conf_warn)"
            r"\((.*?)\);", sources(), re.DOTALL):
        call, arguments = match.groups()
        literal = _LITERALS.search(arguments)
        if literal and '"' in literal.group():
            text = re.sub(r"NGX_\w+", lambda name: names.get(
                name.group(), name.group()), literal.group())
            text = "".join(re.findall(r'"((?:\\.|[^"\\\n])*)"', text))
            found[text.replace('\\"', '"')] = \
                call == "ngx_log_error" and "NGX_LOG_EMERG" not in arguments
    return found


_VALUE = re.compile(r"%(?:V|s|d|[0-9]*u?[ixzO]|M|T|Xd)")


def shown(message: str) -> str:
    """A format as the documents write it: X and N for what varies."""
    return _VALUE.sub(
        lambda match: "X" if match.group() in ("%V", "%s") else "N", message)


# reading Markdown

def headings(text: str) -> list[tuple[int, str]]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [(len(marks), title) for marks, title in
            re.findall(r"^(#+) (.+)$", text, re.MULTILINE)]


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands below it, up to the next one."""
    parts = re.split(r"^#{2,} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def anchor(title: str) -> str:
    """The name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@dataclass
class Block:
    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> list[Block]:
    found = []
    for path in EXAMPLES:
        text = path.read_text()
        for match in re.finditer(
                rf"^([ ]*)```{language}\n(.*?)^\1```$", text,
                re.MULTILINE | re.DOTALL):
            indent = len(match.group(1))
            found.append(Block(path.name, text.count("\n", 0, match.start()),
                               "".join(line[indent:] for line in
                                       match.group(2).splitlines(True))))
    return found


# configurations

MAIN = {"http", "events", "user", "env", "worker_processes", "error_log"}
HTTP = {"server", "upstream", "map", "log_format", "proxy_cache_path",
        "gcs_credentials"}


def top_level(text: str) -> list[str]:
    """The names of the directives that stand in no block of the text."""
    names, depth, start = [], 0, True
    # quotes and comments go first; "(?<" and "{1,2}" stand in regexes only
    text = re.sub(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|#[^\n]*', " _ ", text)
    for word in re.findall(r"[;]|[{](?=\s)|(?<=\s)[}]|[^\s;]+", text):
        if word in ";{}":
            depth += {"{": 1, "}": -1, ";": 0}[word]
            start = True
        elif start:
            if depth == 0:
                names.append(word)
            start = False
    assert depth == 0, "braces do not match"
    return names


def unwrap(text: str, name: str) -> tuple[str, str]:
    """The contents of a block that stands at the top, and the rest."""
    match = re.search(rf"^{name} \{{\n(.*?)^\}}\n", text,
                      re.MULTILINE | re.DOTALL)
    if match is None:
        return "", text
    return match.group(1), text[:match.start()] + text[match.end():]


def complete(block: Block, inner: set[str]) -> tuple[str, str]:
    """What of an example belongs before, and what into, "http { }"."""
    text = re.sub(r"^load_module [^;]+;\n", "", block.text,
                  flags=re.MULTILINE)
    names = set(top_level(text))
    main = ""

    if names & MAIN:
        http, main = unwrap(text, "http")
        _, main = unwrap(main, "events")
    elif names & HTTP:
        http = text
    elif names & inner:
        http = f"gcs_credentials example {{\n{text}}}\n"
    elif "location" in names:
        http = f"server {{\n{text}}}\n"
    else:
        http = f"server {{\nlocation / {{\n{text}}}\n}}\n"

    if re.search(r"gcs_auth\s+reader;", http) \
            and "gcs_credentials reader" not in http:
        http = "gcs_credentials reader { file /etc/nginx/gcs-key.json; }\n" \
            + http
    return main, http


def here(text: str, folder: Path) -> str:
    """The text with the files and addresses of this machine's tests."""
    def listen(match: re.Match[str]) -> str:
        listen.count += 1
        return f"listen unix:{folder}/{listen.count}.sock"

    listen.count = 0
    text = re.sub(r"\blisten\s+[^\s;]+", listen, text)
    text = re.sub(r"\bfile(\s+)\S+/federation\.json;",
                  rf"file\1{folder}/federation.json;", text)
    text = re.sub(r"\bgcs_cors_file(\s+)\S+;",
                  rf"gcs_cors_file\1{folder}/cors.json;", text)
    text = re.sub(r"\bfile\s+(?!\S+/federation)\S+\.json;",
                  f"file {folder}/key.json;", text)
    text = re.sub(r"(\bhmac_key\s+\S+\s+)/[^\s;]+;",
                  rf"\1{folder}/hmac-secret;", text)
    text = re.sub(r"\b(\w*ssl\w*_certificate\w*)\s+/[^\s;]+;",
                  rf"\1 {folder}/server.pem;", text)
    return re.sub(r"(access_log|proxy_cache_path)(\s+)/[^\s;]+",
                  rf"\1\2{folder}/\1", text)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A key file, a certificate with its key, the shim."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "key.json").write_text(KEY % json.dumps(
        signing_key().private_pem))
    (folder / "federation.json").write_text(json.dumps(FEDERATION))
    (folder / "cors.json").write_text(next(
        block.text for block in blocks("json") if block.page == "cors.md"))
    (folder / "hmac-secret").write_text("x" * 40 + "\n")
    create(str(folder))

    (folder / "shim.c").write_text(SHIM)
    subprocess.run([*os.environ.get("CC", "cc").split(), "-shared", "-fPIC",
                    "-o", folder / "shim.so", folder / "shim.c", "-ldl"],
                   check=True)
    return folder


@pytest.fixture
def check(nginx, files):
    """Runs nginx -t on what belongs before and into "http { }"."""
    def run(main: str, http: str) -> subprocess.CompletedProcess[str]:
        instance = nginx(here(http, files), start=False, main=main)
        preload = instance._env.get("LD_PRELOAD", "")
        instance._env["LD_PRELOAD"] = f"{preload} {files}/shim.so".strip()
        return instance.test()

    return run


@pytest.mark.parametrize("block", blocks("nginx"), ids=str)
def test_an_example_passes_nginx_t(check, block):
    inner = {name for name, context in directives().items()
             if context == "gcs_credentials"}
    done = check(*complete(block, inner))
    assert done.returncode == 0, f"{block}\n{block.text}\n{done.stderr}"


def test_the_check_of_examples_sees_a_fault(check):
    block = Block("", 1, "location /a/ {\n gcs_pass gs://my-bucket/;\n"
                  "gcs_auth nobody;\n}\n")
    done = check(*complete(block, set()))
    assert 'unknown "gcs_auth" name "nobody"' in done.stderr


def test_there_are_examples_to_check():
    assert len(blocks("nginx")) > 25
    assert all(text.count("```") % 2 == 0
               for text in (path.read_text() for path in PAGES))


# what they promise

@pytest.fixture
def serve(nginx, emulator, key_file, files):
    """Runs an example against the emulator, with my-bucket to read."""
    emulator.create_bucket("my-bucket")
    emulator.grant(json.loads(key_file.read_text())["client_email"],
                   "my-bucket", ["objectViewer"])

    def run(containing: str):
        block, = [b for b in blocks("nginx") if containing in b.text]
        _, http = complete(block, set())
        http = here(http, files)
        http = re.sub(r"\blisten\s+[^;]+;", "", http)
        http = http.replace("server {", "server {\nlisten 127.0.0.1:%%PORT%%;")
        http = http.replace("https://storage.googleapis.com", "%%EMULATOR%%")
        http = http.replace(f"{files}/key.json", "%%KEY%%")
        return nginx("gcs_endpoint %%EMULATOR%%;\n" + http)

    return run


def test_the_example_of_caching_caches_what_google_calls_private(
        serve, emulator):
    emulator.put_object("my-bucket", "video/a.mp4", size=9 << 20, seed=1)
    server = serve("proxy_cache_lock")
    server.wait_log("token refreshed")
    first, second = (server.get("/video/a.mp4") for _ in range(2))
    assert first.body == second.body == content(1, 0, 9 << 20)
    assert second.get("X-Cache") == "HIT"
    assert [headers["range"] for headers in (
        {name.lower(): value for name, value in record["headers"]}
        for record in emulator.requests("storage"))] \
        == ["bytes=0-4194303", "bytes=4194304-8388607",
            "bytes=8388608-12582911"]


def test_the_example_of_gcs_object_waits_for_the_token(serve, emulator):
    emulator.put_object("my-bucket", "reports/today.pdf", b"%PDF")
    emulator.fault(kind="token", delay=0.5)
    server = serve("location = /report")
    assert server.get("/report", {"Cookie": "secret"}).body == b"%PDF"
    request, = emulator.requests("storage")
    assert request["target"] == "/my-bucket/reports/today.pdf"
    assert not {"cookie", "range"} & {name.lower()
                                      for name, _ in request["headers"]}


def test_the_example_of_token_variables_tells_the_token_and_its_end(serve):
    server = serve("location = /token")
    server.wait_log("token refreshed")
    status, end = server.get("/token").text.split(" until ")
    assert status == "valid"
    assert 3500 < int(end) - time.time() < 3700


# directives

def described() -> dict[str, str]:
    """The sections of directives.md that describe one."""
    return {title: text for title, text in
            sections(page("directives.md")).items() if "**Syntax:**" in text}


def test_each_directive_has_a_section_and_each_section_a_directive():
    assert set(described()) == set(directives())


@pytest.mark.parametrize("name", sorted(described()))
def test_a_directive_is_described_as_nginx_org_does(name):
    text = described()[name]
    for word in (rf"\*\*Syntax:\*\* `{name}(?: [^`]+|;)`",
                 r"\*\*Default:\*\* ",
                 r"This directive appeared in version \d+\.\d+\.\d+\.",
                 r"^```nginx$"):
        assert len(re.findall(word, text, re.MULTILINE)) == 1, word


@pytest.mark.parametrize("name", sorted(described()))
def test_a_directive_is_allowed_where_its_section_says(name):
    context = re.search(r"\*\*Context:\*\* (.+)", described()[name])
    assert context.group(1) == directives()[name]


def test_the_example_of_a_directive_uses_it():
    for name, text in described().items():
        example = re.search(r"^```nginx\n(.*?)^```", text,
                            re.MULTILINE | re.DOTALL)
        assert re.search(rf"\b{name}[\s;]", example.group(1)), name


def test_the_list_of_refused_directives_is_the_codes_own():
    table = sections(page("directives.md"))["Stock directives"] \
        .split("| refused | instead |")[1]
    listed = re.findall(r"`(proxy_\w+)`",
                        "".join(line.split("|")[1]
                                for line in table.splitlines()[2:] if line))
    assert set(listed) == refused_directives() | {"proxy_cache_key"}


def test_the_white_lists_are_the_codes_own():
    text = sections(page("directives.md"))["Headers"]
    sent, passed = text.split("To the client go:")
    code = sources()

    names = {name for _, table in tables("ngx_http_gcs_default_t")
             for name in re.findall(r'\{ "([\w-]+)", (?!"")', table)}
    assert set(re.findall(r"`([A-Z][\w-]*[a-z])`", sent)) \
        == {name for name in names if name[0].isupper()} | {"Host"}
    for name in names:
        assert f"`{name}`" in sent, name

    table = re.search(r"ngx_http_gcs_pass_headers\[\] = \{(.*?)/\*", code,
                      re.DOTALL).group(1)
    assert {name.lower() for name in re.findall(r"`([A-Z][\w-]+)`", passed)} \
        == set(re.findall(r'"([\w-]+)"', table))


# variables

def test_each_variable_has_a_section_and_each_section_a_variable():
    assert {title for title in sections(page("variables.md"))} \
        == {"$" + name for name in variables()}


def test_each_word_of_gcs_error_is_explained():
    text = sections(page("variables.md"))["$gcs_error"]
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert listed == error_words()


def token_words() -> set[str]:
    """The words of a token that could not be had."""
    text = sources()
    value = r'(?:NULL|(?:"[^"]*"\s*)+)'
    return {"token_timeout", "token_unavailable",
            *re.findall(r'grant->word = "(\w+)"', text),
            *re.findall(rf'\{{ NGX_GCS_EXPLAIN_[\w|\s]+,\s+\w+,\s+{value},'
                        rf'\s+{value},\s+"(\w+)",', text)}


def test_each_word_of_a_token_that_does_not_come_is_explained():
    text = sections(page("identities.md"))["When no token comes"]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) \
        == token_words()


def words_of_troubles() -> list[tuple[str, str]]:
    """The second column of the tables "When it does not" of the guides."""
    found = []
    for path in sorted((ROOT / "docs" / "guides").glob("*.md")):
        rows = re.findall(r"^\|[^|]*\|([^|]*)\|", sections(path.read_text())[
            "When it does not"], re.MULTILINE)
        found += [(path.stem, word) for row in rows[2:]
                  for word in re.findall(r"`(\w+)`", row)]
    return found


@pytest.mark.parametrize("guide,word", sorted(set(words_of_troubles())))
def test_each_word_in_a_guide_is_one(guide, word):
    assert word in error_words() or re.fullmatch(r"([A-Z][a-z]+)+", word)


# log lines

def explained() -> list[str]:
    """The lines in the headings; some have several."""
    return [line for heading in re.findall(r"^### (`.+`)$",
                                           page("troubleshooting.md"),
                                           re.MULTILINE)
            for line in re.findall(r"`([^`]+)`", heading)]


@pytest.mark.parametrize("line", explained())
def test_a_log_line_that_is_explained_exists(line):
    assert line in {shown(message) for message in messages()}


def test_each_line_about_a_failed_request_is_explained():
    """All of layer 2 and the token store but what only a bug can cause."""
    told = set(explained())
    missing = {shown(message) for message, at_run_time in messages().items()
               if at_run_time and "gcs" in message} - told
    assert missing == set()


# links and words

def links() -> list[tuple[str, str]]:
    return [(path.relative_to(ROOT).as_posix(), target)
            for path in PAGES
            for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text())
            if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("source,target", links())
def test_a_link_leads_somewhere(source, target):
    name, _, fragment = target.partition("#")
    path = (ROOT / source).parent / name if name else ROOT / source
    assert path.exists()
    if fragment:
        titles = headings(path.read_text())
        assert fragment in [anchor(title) for _, title in titles]


def test_each_page_can_be_reached_from_the_readme():
    known, new = {ROOT / "README.md"}, {ROOT / "README.md"}
    while new:
        path = new.pop()
        for target in re.findall(r"\]\(([^)\s#:]+\.md)", path.read_text()):
            other = (path.parent / target).resolve()
            if other not in known:
                known.add(other)
                new.add(other)
    assert {path.resolve() for path in PAGES} <= known


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_a_path_of_somebodys_machine(path):
    text = path.read_text()
    own = str(ROOT)
    assert own not in text
    assert re.findall(r"(?<![\w.-])/(?:work|tmp|root|home)/[\w.]*", text) == []


def test_no_page_has_a_secret_in_it():
    for path in PAGES:
        assert not re.search(r"-----BEGIN|ya29\.\w|eyJ\w{8}",
                             path.read_text()), path


# commands

def commands() -> list[str]:
    return [line.split(" #")[0].strip()
            for block in blocks("sh")
            for line in block.text.replace("\\\n", " ").splitlines()
            if line.split(" #")[0].strip()]


@pytest.mark.parametrize("line", [
    line for line in commands() if "build.sh" in line])
def test_a_command_of_build_sh_is_one_that_it_knows(line):
    usage = subprocess.run([ROOT / "build.sh", "help"], capture_output=True,
                           text=True, check=True).stdout
    words = line[line.index("build.sh"):].split()[1:]
    options = [word for word in words if word.startswith("--")]
    names = [word for word in words if not word.startswith("-")][:1]
    for word in options + names:
        assert re.search(rf"(^|\W){re.escape(word)}\b", usage), word


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_a_shell_understands(line):
    done = subprocess.run(["bash", "-n", "-c", line], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_files_that_the_pages_name_exist():
    """Those in backquotes that look like ours: t/…, docs/…, config."""
    for path in PAGES:
        for name in re.findall(r"`((?:t|docs|build\.sh|ngx_gcs_proxy_module)"
                               r"/[\w./-]+)`", path.read_text()):
            assert (ROOT / name).exists() or "*" in name, (path.name, name)


def test_the_environment_variables_of_the_pages_are_read_by_somebody():
    text = (ROOT / "build.sh").read_text() + "".join(
        path.read_text() for path in (ROOT / "t").glob("*.py"))
    for line in commands():
        for name in re.findall(r"(?:^| )([A-Z_]+)=", line):
            assert name in text, line
