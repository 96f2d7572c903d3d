"""Unit and fuzz tests of the pure C files (layer 0), without an nginx.

The files are compiled with AddressSanitizer and UndefinedBehaviorSanitizer
against nginx's headers and a shim of its pools and strings: Debian's
nginx-dev ships no sources to link.  The only thing made from nginx's tree is
its generated headers, in a folder of our own.

Environment: NGINX_SRC, the nginx source tree; GCS_FUZZ_SECONDS, how long
each fuzz target runs (0: only its corpus); CI, nothing may be skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest

TESTS = Path(__file__).resolve().parent
MODULE = TESTS.parent / "ngx_gcs_proxy_module"
UNIT = TESTS / "unit"
FUZZ = TESTS / "fuzz"

NGINX_SRC = Path(os.environ.get("NGINX_SRC", "/usr/share/nginx/src"))
FUZZ_SECONDS = int(os.environ.get("GCS_FUZZ_SECONDS", "5"))

# a large one may be split: ngx_gcs_NAME.c, ngx_gcs_NAME_PART.c
PURE = [
    source
    for name in ("escape", "object", "crypto", "credentials", "jwt",
                 "explain", "grant", "sign", "aws", "cors", "unescape",
                 "fileuri", "redirect", "seal", "metrics", "check", "list",
                 "api")
    for source in sorted(MODULE.glob(f"ngx_gcs_{name}*.c"))
    if source.stem == f"ngx_gcs_{name}"
    or source.stem.startswith(f"ngx_gcs_{name}_")
]
SUPPORT = [UNIT / f"{name}.c" for name in ("shim", "support", "files", "walk")]

UNIT_TESTS = sorted(p.stem for p in UNIT.glob("test_*.c"))
FUZZ_TARGETS = sorted(p.stem for p in FUZZ.glob("fuzz_*.c"))

WARNINGS = [
    "-Wall", "-Wextra", "-Wpointer-arith", "-Wno-unused-parameter", "-Werror",
]
SANITIZE = [
    "-g", "-O1", "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
]
LIBRARIES = ["-ljansson", "-lcrypto", "-lcurl"]

# a kind of objects, their compiler and its flags
CLANG = ("clang", "clang",
         WARNINGS + SANITIZE + ["-fsanitize=fuzzer-no-link"])

# what nginx's own configure gives to gcc for the files of a module
NGINX_FLAGS = [
    "-O", "-W", "-Wall", "-Wpointer-arith", "-Wno-unused-parameter",
    "-Werror", "-g",
]


def run(command: list[str | Path], **kwargs) -> str:
    """Runs a command and returns its output, or fails the test with it."""

    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="backslashreplace",
        timeout=300 + FUZZ_SECONDS, **kwargs,
    )

    if done.returncode != 0:
        pytest.fail(
            f"{' '.join(map(str, command))}\n"
            f"exit code {done.returncode}\n{done.stdout}",
            pytrace=False,
        )

    return done.stdout


class Toolbox:
    """Compiles a program from the pure files, each of them once."""

    def __init__(self, folder: Path, includes: list[str]) -> None:
        self.folder = folder
        self.includes = includes
        self.libraries: dict[str, list[Path]] = {}

    def compile(self, compiler: str, flags: list[str], source: Path,
                folder: Path) -> Path:
        target = folder / (source.stem + ".o")
        run([compiler, *flags, "-D_GNU_SOURCE", *self.includes,
             "-c", source, "-o", target])
        return target

    def objects(self, kind: str, compiler: str,
                flags: list[str]) -> list[Path]:
        """The pure files and the shim, compiled in one way."""

        if kind not in self.libraries:
            folder = self.folder / kind
            folder.mkdir(exist_ok=True)

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self.libraries[kind] = list(pool.map(
                    lambda source: self.compile(
                        compiler, flags, source, folder),
                    PURE + SUPPORT,
                ))

        return self.libraries[kind]

    def program(self, kind: str, compiler: str, flags: list[str],
                sources: list[Path], link: list[str]) -> Path:
        objects = self.objects(kind, compiler, flags)
        target = self.folder / kind / sources[0].stem

        run([compiler, *flags, *link, "-D_GNU_SOURCE", *self.includes,
             *sources, *objects, *LIBRARIES, "-o", target])

        return target


def configure_nginx(folder: Path) -> list[str]:
    """Makes nginx's generated headers in folder; returns the -I options.

    configure reads its parts from the current folder and writes there, too:
    links to the tree keep the tree itself as it is, read-only or not.
    """

    configure = NGINX_SRC / "configure"

    if not configure.exists():
        configure = NGINX_SRC / "auto" / "configure"

    if not configure.exists():
        pytest.fail(f"no nginx sources in {NGINX_SRC}: install nginx-dev or "
                    "set NGINX_SRC", pytrace=False)

    for name in ("auto", "src"):
        (folder / name).symlink_to(NGINX_SRC / name)

    # Debian's flags when there are any; it is a file for bash
    script = f"""
        set -e
        NGX_CONF_FLAGS=(--with-compat --with-http_ssl_module
                        --without-http_rewrite_module
                        --without-http_gzip_module)
        test -f "$1/conf_flags" && . "$1/conf_flags"
        sh "$2" "${{NGX_CONF_FLAGS[@]}}" --builddir="$3"
    """

    objs = folder / "objs"
    run(["bash", "-c", script, "bash", NGINX_SRC, configure, objs],
        cwd=folder)

    return [
        f"-I{MODULE}", f"-I{UNIT}",
        *(f"-isystem{folder / 'src' / name}"
          for name in ("core", "event", "event/modules", "event/quic",
                       "os/unix")),
        f"-isystem{objs}",
    ]


@pytest.fixture(scope="session")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Toolbox:
    nginx = tmp_path_factory.mktemp("nginx")
    return Toolbox(tmp_path_factory.mktemp("unit"), configure_nginx(nginx))


def corpus(target: str) -> list[Path]:
    folder = FUZZ / "corpus" / target.removeprefix("fuzz_")
    files = sorted(folder.iterdir())
    assert files, f"{folder} has no seed"
    return files


def sanitizers() -> dict[str, str]:
    """A leak, an overrun or undefined behaviour each end the program."""

    return {
        **os.environ,
        "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


@pytest.mark.parametrize("name", UNIT_TESTS)
def test_the_checks_of_this_program_hold(toolbox: Toolbox, name: str) -> None:
    program = toolbox.program(
        "gcc", "gcc", WARNINGS + SANITIZE, [UNIT / f"{name}.c"], [])
    run([program], env=sanitizers())


@pytest.mark.parametrize("source", PURE, ids=lambda source: source.stem)
def test_the_flags_of_nginx_give_no_warning(toolbox: Toolbox, source: Path,
                                            tmp_path: Path) -> None:
    toolbox.compile("gcc", NGINX_FLAGS, source, tmp_path)


CONTEXTS = {"ngx_gcs_crypto": {"ngx_gcs_crypto_kept"}}


@pytest.mark.parametrize("source", PURE, ids=lambda source: source.stem)
def test_a_pure_file_exports_only_names_of_its_own(
        toolbox: Toolbox, source: Path, tmp_path: Path) -> None:
    """And keeps no mutable state: nothing of it may survive a reload.

    But for OpenSSL's contexts, which are costly to make and know nothing of a
    configuration.
    """

    target = toolbox.compile("gcc", NGINX_FLAGS, source, tmp_path)
    symbols = [line.split()[-2:] for line in run(["nm", target]).splitlines()]

    exported = [name for kind, name in symbols
                if kind.isupper() and kind != "U"]

    assert exported
    assert [name for name in exported if not name.startswith("ngx_gcs_")] == []
    kept = {name.partition(".")[0] for kind, name in symbols
            if kind in "BbC"}
    assert kept == CONTEXTS.get(source.stem, set())


@pytest.mark.parametrize("target", FUZZ_TARGETS)
def test_the_corpus_keeps_every_promise(toolbox: Toolbox,
                                        target: str) -> None:
    program = toolbox.program(
        "gcc", "gcc", WARNINGS + SANITIZE,
        [FUZZ / f"{target}.c", FUZZ / "replay.c"], [])
    run([program, *corpus(target)], env=sanitizers())


def fuzz(toolbox: Toolbox, target: str, folder: Path) -> str:
    """Runs a target from its corpus on; returns what it prints."""

    program = toolbox.program(
        *CLANG, [FUZZ / f"{target}.c"], ["-fsanitize=fuzzer"])

    # new inputs go to a folder of the run, never to the tree
    found = folder / "found"
    found.mkdir()

    return run(
        [program, f"-max_total_time={FUZZ_SECONDS}", "-max_len=4096",
         "-timeout=10", "-print_final_stats=1",
         f"-artifact_prefix={folder}/", found,
         FUZZ / "corpus" / target.removeprefix("fuzz_")],
        env=sanitizers(),
    )


@pytest.fixture(scope="session")
def fuzzing(request: pytest.FixtureRequest, toolbox: Toolbox,
            tmp_path_factory: pytest.TempPathFactory) \
        -> Iterator[dict[str, Future[str]]]:
    """The targets that were asked for, as many at a time as there are
    processors: their minutes would add up."""

    if FUZZ_SECONDS <= 0:
        pytest.skip("GCS_FUZZ_SECONDS is 0")

    if shutil.which("clang") is None:
        if os.environ.get("CI"):
            pytest.fail("clang is missing: install clang", pytrace=False)
        pytest.skip("clang is missing: the corpus alone was run")

    targets = [item.callspec.params["target"] for item in request.session.items
               if "fuzzing" in getattr(item, "fixturenames", ())]

    # what they share is not to be compiled by two at a time
    toolbox.objects(*CLANG)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {target: pool.submit(fuzz, toolbox, target,
                                   tmp_path_factory.mktemp(target))
               for target in targets}
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(300 + FUZZ_SECONDS * 2)
@pytest.mark.parametrize("target", FUZZ_TARGETS)
def test_no_input_breaks_a_promise(fuzzing: dict[str, Future[str]],
                                   target: str) -> None:
    """Fuzzes for a few seconds, from the corpus on."""

    assert "stat::number_of_executed_units" in fuzzing[target].result()
