"""The benchmarks run and print what docs/performance.md shows.

Nothing is said of the figures: a machine that is busy with tests has none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import SIGNED, WAYS
from bench.sign import SETTINGS
from bench.studio import available
from conftest import SANITIZE
from harness.label_studio import Missing

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "performance.md"

RATIO = re.compile(r"\d+\.\d\d")

# a program that is missing, and a ratio that nobody asks for
UNMEASURED = ("not measured", "—")


def bench(module: Path, *arguments: str, timeout: int = 110, **more: str) \
        -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GCS_MODULE": str(module),
                   "PYTHONPATH": str(HERE), **more}
    return subprocess.run([sys.executable, "-m", "bench", *arguments],
                          env=environment, cwd=HERE, capture_output=True,
                          text=True, timeout=timeout, stdin=subprocess.DEVNULL)


def ran(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def tables(text: str) -> dict[tuple[str, ...], list[list[str]]]:
    """Tables in Markdown: their heads, with their rows."""
    found: dict[tuple[str, ...], list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("| ").split("|")]
                 for line in block.splitlines()]
        found[tuple(lines[0])] = lines[2:]
    return found


@pytest.fixture(scope="module")
def quick(module: Path) -> dict[tuple[str, ...], list[list[str]]]:
    if SANITIZE:
        pytest.skip("nobody measures a module with sanitizers")
    return tables(ran(bench(module, "--quick", GCS_LABEL_STUDIO="0")))


@pytest.fixture(scope="module")
def quick_studio(module: Path) -> dict[tuple[str, ...], list[list[str]]]:
    if SANITIZE:
        pytest.skip("nobody measures a module with sanitizers")
    try:
        available()
    except Missing as why:
        pytest.skip(f"no Label Studio: {why}")
    # a Label Studio takes a while to begin
    return tables(ran(bench(module, "--quick", "studio", timeout=290)))


def test_a_quick_run_prints_a_ratio_for_each_measurement(quick):
    assert [[row[0] for row in rows] for rows in quick.values()] == [
        ["1 KiB, HTTP", "64 KiB of 1 GiB, HTTP",
         "1 KiB, TLS", "64 KiB of 1 GiB, TLS"],
        ["50 slow downloads, HTTP", "50 slow downloads, TLS"],
        ["1, HTTP", "3, HTTP", "1, TLS", "3, TLS"],
        [text for text, *_ in SIGNED],
        [setting.name for setting in SETTINGS],
    ]
    for head, rows in quick.items():
        for row in rows:
            assert len(row) == len(head)
            for cell in row[1:]:
                if not cell.endswith(" KiB") and cell not in UNMEASURED:
                    assert RATIO.fullmatch(cell) and float(cell) > 0, row


def test_signed_urls_are_compared_with_what_there_is_in_a_quick_run(quick):
    [rows] = [rows for head, rows in quick.items() if head[0] == "signed URLs"]

    # those of Go take minutes to build, all others are there
    assert [row[0] for row in rows if row[1] == "not measured"] == [
        text for text, _, control, _ in SIGNED if control.startswith("go")]


def test_the_document_has_the_tables_that_the_benchmarks_print(quick):
    documented = tables(DOCUMENT.read_text())

    assert set(quick) <= set(documented)


@pytest.mark.timeout(300)
def test_label_studio_is_compared_with_the_module_before_it(quick_studio):
    [[head, rows]] = quick_studio.items()

    assert head[1:] == WAYS
    for row in rows:
        assert len(row) == len(head)
        for cell in row[1:]:
            assert RATIO.fullmatch(cell) and float(cell) > 0, row
    # its proxy mode answers in pieces, all of which are asked for
    asked = dict((row[0], row[1:]) for row in rows)[
        "requests to Label Studio: film"]
    assert set(asked) == {"6.50"}
    assert head in tables(DOCUMENT.read_text())


def test_without_a_label_studio_that_part_says_so_and_ends(module, tmp_path):
    done = bench(module, "--quick", "studio", GCS_LABEL_STUDIO="1",
                 GCS_LABEL_STUDIO_VENV=str(tmp_path))

    said = ran(done)
    assert tables(said) == {}
    assert f"not measured: Label Studio: none is in {tmp_path}" in said


def test_an_unknown_part_is_refused(module):
    done = bench(module, "speed")

    assert done.returncode == 2
    assert "no part \"speed\"" in done.stderr
