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

from bench.__main__ import SIGNED
from bench.sign import SETTINGS
from conftest import SANITIZE

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "performance.md"

RATIO = re.compile(r"\d+\.\d\d")

# a program that is missing, and a ratio that nobody asks for
UNMEASURED = ("not measured", "—")


def bench(module: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GCS_MODULE": str(module),
                   "PYTHONPATH": str(HERE)}
    return subprocess.run([sys.executable, "-m", "bench", *arguments],
                          env=environment, cwd=HERE, capture_output=True,
                          text=True, timeout=110, stdin=subprocess.DEVNULL)


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
    done = bench(module, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return tables(done.stdout)


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


def test_an_unknown_part_is_refused(module):
    done = bench(module, "speed")

    assert done.returncode == 2
    assert "no part \"speed\"" in done.stderr
