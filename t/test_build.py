"""build.sh as a stranger meets it: it works, or one line tells the remedy."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parent.parent
NAME = "ngx_http_gcs_proxy_module.so"


def build(*arguments: str, root: Path = ROOT, timeout: float = 300,
          **env: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("SANITIZE", "BUILD_DIR", "MODULES_PATH")}
    environment.update({name: str(value) for name, value in env.items()})
    return subprocess.run([root / "build.sh", *arguments], env=environment,
                          capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("build.sh: ")
    return lines[0]


@pytest.fixture
def compiler(tmp_path):
    """Makes a cc that cannot compile what has the text in it."""
    def make(text: str) -> Path:
        path = tmp_path / "cc"
        path.write_text(f"""#!/bin/sh
for file; do
    case $file in
        -)   cat > {tmp_path}/stdin.c; file={tmp_path}/stdin.c
             grep -q '{text}' "$file" && exit 1
             exec cc "$@" < "$file" ;;
        *.c) grep -qs '{text}' "$file" && exit 1 ;;
    esac
done
exec cc "$@"
""")
        path.chmod(0o755)
        return path

    return make


def test_build_tells_where_the_module_is_and_what_to_write():
    done = build()
    assert done.returncode == 0, done.stderr
    assert f"built: {ROOT}/build/{NAME}" in done.stdout
    assert f"    load_module {ROOT}/build/{NAME};" in done.stdout
    assert "    location /media/ { gcs_pass gs://my-bucket/;" in done.stdout


def test_a_second_build_compiles_nothing():
    build()
    path = ROOT / "build" / NAME
    before = path.stat()
    assert build().returncode == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_the_module_does_not_name_the_folder_of_its_sources():
    build()
    assert str(ROOT).encode() not in (ROOT / "build" / NAME).read_bytes()


@pytest.mark.parametrize("header, package", [
    ("curl/curl.h", "libcurl4-openssl-dev"),
    ("jansson.h", "libjansson-dev"),
    ("openssl/evp.h", "libssl-dev"),
])
def test_a_missing_header_is_named_with_its_package(compiler, tmp_path,
                                                    header, package):
    line = refused(build(CC=compiler(header), BUILD_DIR=tmp_path))
    assert f"missing: {package};" in line
    assert f"apt-get install --no-install-recommends {package}" in line


@pytest.mark.parametrize("old, library, package", [
    ("CURLOPT_QUICK_EXIT", "libcurl 7.87", "libcurl4-openssl-dev"),
    ("JANSSON_VERSION_HEX", "jansson 2.13", "libjansson-dev"),
    ("OPENSSL_VERSION_NUMBER < 0x3", "OpenSSL 3.0", "libssl-dev"),
])
def test_a_library_too_old_is_named_with_its_package(
        compiler, tmp_path, old, library, package):
    done = build(CC=compiler(old), BUILD_DIR=tmp_path)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert library in said[0] and f"the package {package}" in said[0]


def test_a_compiler_that_is_not_there_is_named(tmp_path):
    line = refused(build(CC="no-such-cc", BUILD_DIR=tmp_path))
    assert 'no compiler "no-such-cc"' in line


def test_a_folder_without_nginx_is_refused(tmp_path):
    line = refused(build(NGINX_SRC=tmp_path, BUILD_DIR=tmp_path / "b"))
    assert f'no nginx sources in "{tmp_path}"' in line
    assert "nginx-dev" in line


def test_an_nginx_too_old_is_refused(tmp_path):
    (tmp_path / "src/core").mkdir(parents=True)
    (tmp_path / "src/core/nginx.h").write_text(
        '#define NGINX_VERSION      "1.20.2"\n')
    (tmp_path / "configure").touch()
    line = refused(build(NGINX_SRC=tmp_path, BUILD_DIR=tmp_path / "b"))
    assert "nginx 1.20.2 is too old" in line and "1.22" in line


@pytest.mark.parametrize("command", ["build", "install"])
def test_an_nginx_of_another_version_is_refused(tmp_path, command):
    nginx = tmp_path / "nginx"
    nginx.write_text('#!/bin/sh\necho "nginx version: nginx/1.99.7" >&2\n')
    nginx.chmod(0o755)
    line = refused(build(command, NGINX=nginx))
    assert "nginx 1.99.7 is installed" in line and "NGINX_SRC" in line


def test_a_static_build_is_refused():
    done = subprocess.run(
        ["sh", "-c", "ngx_module_link=ADDON ngx_addon_dir=.; . ./config"],
        cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "only be built as a dynamic module" in done.stdout


def test_install_copies_the_module_into_the_module_folder(tmp_path):
    folder = tmp_path / "modules"
    done = build("install", MODULES_PATH=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / NAME).read_bytes() \
        == (ROOT / "build" / NAME).read_bytes()
    assert list(folder.iterdir()) == [folder / NAME]
    assert f"load_module {folder}/{NAME};" in done.stdout


def test_a_source_that_does_not_compile_shows_the_error(tmp_path):
    for name in ("build.sh", "config", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    folder = shutil.copytree(ROOT / "ngx_gcs_proxy_module",
                             tmp_path / "ngx_gcs_proxy_module")
    with open(folder / "ngx_gcs_escape.c", "a") as file:
        file.write("\n#error planted\n")
    done = build(root=tmp_path)
    assert done.returncode == 1
    assert "ngx_gcs_escape.c" in done.stderr and "planted" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "build.sh: the compiler failed, see ")


def test_demo_shows_its_requests_and_leaves_nothing_behind(tmp_path):
    done = build("demo", "--check", TMPDIR=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("HTTP/1.1 200 OK", "HTTP/1.1 206 Partial Content",
                 "HTTP/1.1 404 Not Found", "HTTP/1.1 405 Not Allowed",
                 "Content-Range: bytes 1000000-1000099/"):
        assert line in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["kill", "Ctrl-C"])
def test_demo_serves_until_it_is_told_to_stop(tmp_path, how):
    demo = subprocess.Popen(
        [ROOT / "build.sh", "demo"], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        said = ""
        for line in demo.stdout:
            said += line
            if "To stop it" in line:
                break
        page, video, *_ = re.findall(r"^  (http://\S+)$",
                                     said.partition("Open one")[2], re.M)
        assert "gallery.json" in requests.get(page).text
        names = requests.get(page + "media/gallery.json").json()
        assert len(names) > 5
        part = requests.get(video, headers={"Range": "bytes=-10"})
        assert part.status_code == 206 and len(part.content) == 10

        if how == "kill":
            os.kill(int(re.search(r'"kill (\d+)"', said).group(1)),
                    signal.SIGTERM)
        else:
            os.killpg(demo.pid, signal.SIGINT)
        rest, _ = demo.communicate(timeout=30)
        assert (demo.returncode, rest) == (0, "\nstopped\n")
        assert list(tmp_path.iterdir()) == []
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()


def test_help_and_unknown_commands():
    usage = build("help").stdout
    assert "NGINX_SRC" in usage
    for command in re.findall(r"^    ([a-z |]+)\)", (
            ROOT / "build.sh").read_text().partition("case $COMMAND in")[2],
            re.M):
        for name in command.split(" | "):
            assert re.search(rf"^    {name}\b", usage, re.M), name
    done = build("no-such-command")
    assert done.returncode == 2 and "usage:" in done.stderr


@pytest.mark.parametrize("script", ["build.sh", ".ci/run"])
def test_shell_scripts_are_clean(script):
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck")
    done = subprocess.run(["shellcheck", ROOT / script],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert os.access(ROOT / script, os.X_OK)
