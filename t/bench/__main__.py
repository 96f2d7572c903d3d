"""Runs the benchmarks and prints them as the tables of docs/performance.md."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Iterable, Sequence

from harness.label_studio import Missing
from harness.nginx import version

from . import load, memory, sign, startup, studio
from .pace import Latency
from .servers import Bench

SCHEMES = ("http", "tls")
PARTS = ("load", "memory", "startup", "sign", "studio")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("\n| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def ratio(values: Iterable[tuple[float, float]]) -> str:
    """The median of the ratios of pairs that were measured in one round."""
    return f"{statistics.median(a / b for a, b in values):.2f}"


def rotated(names: Sequence[str], turn: int) -> list[str]:
    turn %= len(names)
    return [*names[turn:], *names[:turn]]


def run_load(bench: Bench, options: argparse.Namespace) -> None:
    targets = bench.targets()
    names = list(targets)

    def rows() -> Iterable[Sequence[str]]:
        for scheme in SCHEMES:
            for case in load.CASES:
                name = f"{case.name}, {scheme.upper()}"
                if not name.startswith(options.case) or options.quick \
                        and case.size != 1 << 10 and not case.ranged:
                    continue
                done = []
                for turn in range(options.rounds):
                    # not always in the same order: what a load leaves behind
                    # must not always hit the same one
                    done.append({target: load.measure(
                        bench, targets[target], scheme, case, options.seconds)
                        for target in rotated(names, turn)})
                yield [name, *(
                    ratio((getattr(d["module"], what),
                           getattr(d[control], what)) for d in done)
                    for what in ("rate", "cpu")
                    for control in ("defaults", "tuned"))]

    table(["the module against stock nginx", "requests/s, defaults",
           "requests/s, tuned", "CPU per request, defaults",
           "CPU per request, tuned"], rows())

    for server in {id(t.server): t.server for t in targets.values()}.values():
        bench.stop(server)


def run_memory(bench: Bench, options: argparse.Namespace) -> None:
    def rows() -> Iterable[Sequence[str]]:
        for scheme in SCHEMES:
            done = [memory.measure(bench, scheme, options.clients, run)
                    for run in range(min(options.rounds, 3))]
            yield [f"{options.clients} slow downloads, {scheme.upper()}",
                   ratio((d["module"], d["tuned"]) for d in done)]

    table(["memory of the worker", "tuned, with the same buffers"], rows())


def run_startup(bench: Bench, options: argparse.Namespace) -> None:
    def rows() -> Iterable[Sequence[str]]:
        for scheme in SCHEMES:
            for count in options.counts:
                done = startup.measure(bench, scheme, count, options.rounds)
                more = statistics.median(
                    d["module"].size - d["defaults"].size for d in done)
                yield [f"{count}, {scheme.upper()}",
                       ratio((d["module"].seconds, d["defaults"].seconds)
                             for d in done),
                       ratio((d["module"].size, d["defaults"].size)
                             for d in done),
                       f"{more / 1024 / count:.0f} KiB"]

    table(["credentials and locations", "time to the first answer",
           "memory of master and worker", "more memory per location"], rows())


FIRST = sign.SETTINGS[0].name

# what is signed, what it is compared with, and the ratio that is asked for
SIGNED = [
    *((f"RSA, {setting.name}, each URL new, against `openssl speed`",
       f"rsa, {setting.name}", "openssl", "0.90")
      for setting in sign.SETTINGS),
    ("RSA, one URL for five minutes, against `return 302`",
     "window", "302", "0.80"),
    ("HMAC, each URL new, against `return 302`",
     "hmac", "302, unique", "0.60"),
    *((f"RSA, each URL new, against {client}", f"rsa, {FIRST}", name, "—")
      for client, name in (
          ("google-cloud-storage (Python)", "python"),
          ("cloud.google.com/go/storage", "go"),
          ("the same with a key parsed once", "go, key parsed"))),
]


def run_sign(bench: Bench, options: argparse.Namespace) -> None:
    signing = sign.Signing(bench, go=not options.quick)
    rounds: list[dict[str, sign.Measured]] = []
    waits: dict[str, list[dict[str, Latency]]] = {
        setting.name: [] for setting in sign.SETTINGS}

    for turn in range(options.rounds):
        done = {name: signing.measures[name](options.seconds)
                for name in rotated(list(signing.measures), turn)}
        rounds.append(done)
        for setting in sign.SETTINGS:
            waits[setting.name].append(signing.latency(
                setting, done[f"rsa, {setting.name}"].rate, options.seconds,
                signing_first=turn % 2 == 1))
    threads = {setting.name: signing.threads(setting)
               for setting in sign.SETTINGS}
    signing.stop()

    def rows() -> Iterable[Sequence[str]]:
        for text, name, control, target in SIGNED:
            if control in signing.missing:
                yield [text, "not measured", "not measured", target]
                continue
            yield [text, *(ratio((getattr(d[name], what),
                                  getattr(d[control], what)) for d in rounds)
                           for what in ("rate", "cpu")), target]

    table(["signed URLs", "URLs/s", "URLs per CPU second", "at least"], rows())
    for name, why in signing.missing.items():
        print(f"not measured: {name}: {why}")

    table(["a proxied object of 1 KiB while the worker signs, to when it is "
           "quiet", "p50", "p99", "p99, at most"],
          ([name, *(ratio((getattr(d["signing"], what),
                           getattr(d["quiet"], what)) for d in done)
                    for what in ("p50", "p99")), "3.00"]
           for name, done in waits.items()))

    print("\nURLs per CPU second: " + ", ".join(
        f"{name} {statistics.median(d[name].cpu for d in rounds):.0f}"
        for name in signing.measures))
    for name, done in waits.items():
        p99 = {when: statistics.median(d[when].p99 for d in done) * 1e3
               for when in ("quiet", "signing")}
        kept = min(d["signing"].kept for d in done)
        print(f"{name}: p99 quiet {p99['quiet']:.2f} ms, "
              f"signing {p99['signing']:.2f} ms; "
              f"{threads[name]} threads beside the worker's; "
              f"{kept:.0%} of half the capacity at least")


# what is measured of Label Studio, and its unit in thousandths
STUDIO = [
    ("film of 85 MB: first byte", "first", "ms"),
    ("film of 85 MB: first 64 KiB", "begun", "ms"),
    ("film of 85 MB: all", "whole", "ms"),
    ("{0.places} seeks in the film", "sought", "ms"),
    ("{0.annotators} annotators, pictures of 2 MB: time for all", "look",
     "ms"),
    ("CPU of Label Studio per MB: film", "film_cpu", "ms"),
    ("CPU of Label Studio per MB: pictures", "look_cpu", "ms"),
    ("requests to Label Studio: film", "asked", ""),
    ("requests to Label Studio: {0.places} seeks", "sought_asked", ""),
]
WAYS = ("redirects", "redirects, remembered", "oracle", "oracle, remembered")


def run_studio(bench: Bench, options: argparse.Namespace) -> None:
    try:
        studio.available()
    except Missing as why:
        print(f"\nnot measured: Label Studio: {why}")
        return

    size = studio.Size(annotators=50, pictures=2, openings=5, places=20,
                       processes=2)
    if options.quick:
        size = studio.Size(annotators=10, pictures=1, openings=1,
                           places=3, processes=1)

    with studio.Studio(bench, size) as all:
        measures = [(text.format(size), what, unit)
                    for text, what, unit in STUDIO
                    if what != "sought_asked" or all.studio.counts_all]
        for far in (True,) if options.quick else (False, True):
            all.far(far)
            names = list(all.targets)
            done = [{name: all.measure(name, far * 100 + turn)
                     for name in rotated(names, turn)}
                    for turn in range(min(options.rounds, 5))]
            where = f"{studio.FAR * 1e3:.0f} ms away" if far else "at once"
            # one that was never asked is no better than one that was once
            table([f"Label Studio's proxy mode to the module, Google {where}",
                   *WAYS],
                  ([text, *(ratio((getattr(d["proxied"], what),
                                   getattr(d[name], what) or 1) for d in done)
                            for name in names[1:])]
                   for text, what, _ in measures))
            print(f"\nGoogle {where}; proxy mode, {', '.join(WAYS)}:")
            for text, what, unit in measures:
                print(f"{text}: " + ", ".join(absolute(
                    (getattr(d[name], what) for d in done), unit)
                    for name in names))
        print(f"\n{all.studio.server}; what it refuses at once costs it "
              f"{all.least() * 1e3:.1f} ms of CPU")


def absolute(values: Iterable[float], unit: str) -> str:
    value = statistics.median(values)
    if not unit:
        return f"{value:.0f}"
    value *= 1e3
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./build.sh bench",
        description="Compares the module with nginx's own proxy.")
    parser.add_argument("--quick", action="store_true",
                        help="a short run: the figures mean nothing")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="rounds of each measurement (default: 7)")
    parser.add_argument("--seconds", type=int, metavar="N",
                        help="length of one load (default: 3)")
    parser.add_argument("--case", metavar="NAME", default="",
                        help="of \"load\", the lines that begin so")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"{', '.join(PARTS)} (default: all)")
    options = parser.parse_args()

    for part in options.parts:
        if part not in PARTS:
            parser.error(f"no part \"{part}\", there are: {', '.join(PARTS)}")

    options.rounds = options.rounds or (1 if options.quick else 7)
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.clients = 50 if options.quick else 1000
    options.counts = (1, 3) if options.quick else (1, 20, 200)

    # a socket for each slow client
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        limit = 16384 if hard == resource.RLIM_INFINITY else min(hard, 16384)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))

    count = len(os.sched_getaffinity(0))
    print(f"nginx {'.'.join(map(str, version()))}, {platform.machine()}, "
          f"{count} core{'s' if count > 1 else ''}; "
          f"rounds: {options.rounds}, seconds of a load: {options.seconds}")

    with tempfile.TemporaryDirectory(prefix="gcs-bench-") as folder:
        # the workers may be another user's
        os.chmod(folder, 0o755)
        with Bench(Path(folder), Path(os.environ["GCS_MODULE"])) as bench:
            for part, run in (("load", run_load), ("memory", run_memory),
                              ("startup", run_startup), ("sign", run_sign),
                              ("studio", run_studio)):
                if part in (options.parts or PARTS):
                    run(bench, options)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
