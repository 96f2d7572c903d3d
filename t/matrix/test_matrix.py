"""What stands around the tests: it must see faults, and destroy nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import checks

HERE = Path(__file__).resolve().parent


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
