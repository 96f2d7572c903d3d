"""What must not stand in any log after any test."""

from __future__ import annotations

import re
from typing import Iterable, Iterator

_ALERT = re.compile(r"\[(alert|emerg|crit)\]")
_SANITIZER = re.compile(r"ERROR: \w*Sanitizer|runtime error:|"
                        r"LeakSanitizer: ")
_STOCK_DEBUG = re.compile(r"\[debug\] \d+#\d+:(?: \*\d+)? (?!gcs|\*)")
# what is a secret by its looks, whoever made it: assertions and other signed
# tokens, Google's access tokens, private keys
_SECRET = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}|ya29\.[\w-]{8,}|"
                     r"-----BEGIN [A-Z ]*PRIVATE KEY")


def alerts(log: str, expected: Iterable[str] = ()) -> list[str]:
    """Lines of a level that a healthy nginx never writes."""
    patterns = [re.compile(pattern) for pattern in expected]
    return [line for line in log.splitlines()
            if _ALERT.search(line)
            and not any(pattern.search(line) for pattern in patterns)]


def sanitizers(log: str) -> list[str]:
    """The first lines of the first report, and how many there are."""
    reports = list(_SANITIZER.finditer(log))
    if not reports:
        return []
    start = log.rfind("\n", 0, reports[0].start()) + 1
    return [f"{len(reports)} sanitizer reports, the first:\n"
            + log[start:start + 3000]]


def valgrind(log: str) -> list[str]:
    """All that a quiet valgrind says is a report."""
    return [f"a report of valgrind:\n{log[:6000]}"] if log.strip() else []


def needles(secrets: Iterable[str]) -> set[str]:
    """Pieces of secrets, so that a part of one in a log is found too."""
    found = set()
    for secret in secrets:
        if "-----BEGIN" in secret:
            # every line of a key, but not "-----BEGIN PRIVATE KEY-----"
            lines = secret.replace("\\n", "\n").splitlines()
            found.update(line for line in lines
                         if len(line) >= 32 and not line.startswith("-"))

        elif len(secret) >= 12:
            found.update((secret[:40], secret[-40:]))

    return found


def records(log: str) -> Iterator[str]:
    """Lines, and what continues one: nginx prints requests over several."""
    yield from re.split(r"\n(?=\d{4}/\d\d/\d\d )", log)


def leaks(log: str, secrets: Iterable[str]) -> list[str]:
    """Lines of one log file with a secret.

    nginx's own debug lines show the headers that it sends; only ours must
    not.  The secret is not repeated in the report.
    """
    pieces = [_SECRET.pattern, *map(re.escape, needles(secrets))]
    secret = re.compile(rf"[\w.~+/=-]*(?:{'|'.join(pieces)})[\w.~+/=-]*")
    wrong = []
    for record in records(log):
        if _STOCK_DEBUG.search(record.partition("\n")[0]):
            continue
        wrong += ["a secret in the log: " + secret.sub("<SECRET>", line)[:400]
                  for line in record.splitlines() if secret.search(line)]
    return wrong
