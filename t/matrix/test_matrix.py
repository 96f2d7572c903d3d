"""What stands around the tests: it must see faults, and destroy nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import checks

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def test_a_report_of_valgrind_is_seen():
    assert checks.valgrind("==7== Invalid read of size 8\n==7==    at 0x1")
    assert not checks.valgrind("\n")


def test_every_suppression_has_a_reason():
    before = ""
    for line in (HERE.parent / "valgrind.supp").read_text().splitlines():
        if line == "{":
            assert before.startswith("# "), "no reason before a block"
        before = line


@pytest.mark.parametrize("script", sorted(HERE.glob("*.sh")),
                         ids=lambda path: path.name)
def test_the_parts_of_build_sh_are_clean(script):
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck")
    done = subprocess.run(["shellcheck", script], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout


def delete(folder: Path, *, before: str = "") -> subprocess.CompletedProcess:
    """matrix.sh's delete(), in a mount namespace of its own."""
    script = f"""
        set -eu
        BUILD=/nowhere
        die() {{ echo "$*"; exit 1; }}
        . {HERE}/matrix.sh
        {before}
        delete {folder}
    """
    return subprocess.run(["unshare", "--mount", "bash", "-c", script],
                          capture_output=True, text=True)


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True).returncode != 0,
    reason="needs root, who may make mount namespaces")
def test_a_root_is_never_deleted_through_a_mount(tmp_path):
    precious, root = tmp_path / "precious", tmp_path / "root.new"
    (root / "mnt").mkdir(parents=True)
    precious.mkdir()
    (precious / "file").touch()

    done = delete(root, before=f"mount --bind {precious} {root}/mnt")
    assert done.returncode == 1
    assert f"something is mounted in {root}" in done.stdout
    assert (precious / "file").exists() and (root / "mnt").exists()

    assert delete(root).returncode == 0
    assert not root.exists()


# roots that cannot be made


def roots(tmp_path: Path, **programs: str) -> str:
    """./build.sh matrix roots, which fails, with these programs instead of
    the machine's; the one line that it says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / "build.sh", "matrix", "roots", "trixie"], text=True,
        capture_output=True, stdin=subprocess.DEVNULL, env={
            **os.environ, "PATH": f"{folder}:{os.environ['PATH']}",
            "BUILD_DIR": str(tmp_path), "GCS_ROOTS": str(tmp_path / "roots"),
            "GCS_MIRROR": "http://mirror.invalid/debian"})
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert not (tmp_path / "roots" / "trixie").exists()
    return line.removeprefix("build.sh: ")


# as if everything were allowed and there
ALL = {"id": "echo 0", "unshare": "exit 0", "debootstrap": "exit 0"}


@pytest.mark.parametrize("programs, reason", [
    ({"id": "echo 1000"}, "the matrix needs root, for chroot"),
    ({"unshare": "exit 1"}, "no right to make a mount namespace"),
    ({"debootstrap": "echo 'E: no such mirror'; exit 1"},
     "debootstrap failed, see "),
], ids=["no root", "no namespace", "no debootstrap"])
def test_a_root_that_cannot_be_made_is_told_with_the_reason(
        tmp_path, programs, reason):
    assert roots(tmp_path, **{**ALL, **programs}).startswith(reason)


# what continuous integration runs

BUILD = """#!/bin/sh
echo "$GCS_FUZZ_SECONDS $*" >> calls
case "$*" in
    "matrix roots "*)  %(roots)s ;;
    matrix*)           echo "== nginx 1.2.3, gcc 4"
                       echo "=== 7 passed in 1.23s ==="; %(matrix)s ;;
    test)              echo "=== 9 passed in 4.56s ==="; %(test)s ;;
esac
"""


@pytest.fixture
def ci(tmp_path):
    """Runs .ci/run with a build.sh that only says what it is told."""
    def run(roots: str = "exit 0", matrix: str = "exit 0",
            test: str = "exit 0", **env: str) -> tuple[int, list[str], str]:
        (tmp_path / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
        (tmp_path / "build.sh").write_text(
            BUILD % {"roots": roots, "matrix": matrix, "test": test})
        (tmp_path / "build.sh").chmod(0o755)
        environment = {name: value for name, value in os.environ.items()
                       if name != "GCS_FUZZ_SECONDS"}
        done = subprocess.run(
            [tmp_path / ".ci" / "run"], text=True, cwd="/",
            env={**environment, **env}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return (done.returncode, (tmp_path / "calls").read_text().splitlines(),
                done.stdout)
    return run


def test_ci_ends_with_the_readmes_tests_and_their_summary(ci):
    code, calls, said = ci()
    assert code == 0
    assert [call.split(" t/")[0] for call in calls] == [
        "0 matrix clang", "0 matrix roots trixie", "0 matrix trixie",
        "0 matrix roots forky", "0 matrix forky", "60 test"]
    assert said.splitlines()[-1] == "=== 9 passed in 4.56s ==="
    for where in ("clang", "trixie", "forky"):
        assert re.search(rf"^{where} +passed: nginx 1\.2\.3, gcc 4: "
                         r"7 passed in 1\.23s *$", said, re.M), said
    assert "not run here: all tests with these" in said
    assert "./build.sh test" in (ROOT / "README.md").read_text()


def test_ci_passes_and_says_so_where_no_root_can_be_made(ci):
    code, calls, said = ci(roots="echo one; echo build.sh: not allowed >&2; exit 1")
    assert code == 0
    assert "0 matrix trixie" not in {call.split(" t/")[0] for call in calls}
    for where in ("trixie", "forky"):
        assert re.search(rf"^{where} +NOT RUN, no root of it: not allowed$",
                         said, re.M), said
    assert re.search("^clang +passed: ", said, re.M)
    assert said.splitlines()[-1] == "=== 9 passed in 4.56s ==="


def test_ci_fails_if_one_of_the_others_fails(ci):
    code, calls, said = ci(matrix='[ "$2" != forky ]')
    assert code == 1
    assert calls[-1] == "60 test"
    assert re.search("^forky +FAILED, see above: ", said, re.M)
    assert re.search("^trixie +passed: ", said, re.M)


def test_ci_has_the_exit_code_of_its_tests(ci):
    code, calls, _ = ci(test="exit 5", GCS_FUZZ_SECONDS="7")
    assert code == 5
    assert calls[-1] == "7 test"
