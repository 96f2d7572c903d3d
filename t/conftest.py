"""Fixtures: the module, the emulator, and nginx with both.

After every test each nginx must have ended by itself, without an alert,
without a sanitizer's report and without a secret in its logs, and the emulator
must have seen nothing that a correct proxy never sends.

Environment:
    GCS_MODULE      the .so to test; built by ./build.sh if not set
    GCS_SANITIZE    1: it is built with sanitizers
    NGINX           the nginx to load it into
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator

import pytest

from emulator import Emulator, signing_key
from harness import Nginx
from harness.nginx import sanitizer_environment

ROOT = Path(__file__).resolve().parent.parent
SANITIZE = os.environ.get("GCS_SANITIZE", "0") not in ("", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", type=int, metavar="N",
                     help="of each test only its first N cases")


def pytest_collection_modifyitems(config: pytest.Config,
                                  items: list[pytest.Item]) -> None:
    """What is slow can run every test without every case of it."""
    most = config.getoption("--cases")
    if not most:
        return
    seen: Counter[str] = Counter()
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        (chosen if seen[test] <= most else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


@pytest.fixture(scope="session")
def module() -> Path:
    """The module under test, built when nobody has built it yet."""
    if os.environ.get("GCS_MODULE"):
        return Path(os.environ["GCS_MODULE"]).resolve()

    built = subprocess.run(
        [ROOT / "build.sh"], capture_output=True, text=True,
        env={**os.environ, "SANITIZE": "1" if SANITIZE else ""},
        stdin=subprocess.DEVNULL)
    if built.returncode:
        pytest.exit(f"the module cannot be built:\n{built.stderr}", 2)

    folder = Path(os.environ.get("BUILD_DIR", ROOT / "build"))
    return (folder / ("sanitize" if SANITIZE else "")
            / "ngx_http_gcs_proxy_module.so")


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[Emulator]:
    with Emulator(tls=True) as process:
        yield process


@pytest.fixture
def emulator(emulator_process: Emulator) -> Emulator:
    """Cloud Storage and Google's token endpoint, without any state."""
    emulator_process.reset()
    return emulator_process


@pytest.fixture
def bucket(emulator: Emulator) -> str:
    """An empty private bucket."""
    emulator.create_bucket("test-bucket")
    return "test-bucket"


@pytest.fixture
def key_file(emulator: Emulator, bucket: str, tmp_path: Path) -> Path:
    """The key of a service account that may read the bucket."""
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(emulator.service_account(
        grants={bucket: ["objectViewer"]}))
    return path


def secrets_of(emulator: Emulator) -> list[str]:
    """All that the emulator has given out, or been shown, in this test."""
    return [signing_key("default").private_pem, *emulator.secrets()]


@pytest.fixture
def nginx(request: pytest.FixtureRequest, module: Path, tmp_path: Path) \
        -> Iterator[Callable[..., Nginx]]:
    """Makes an nginx with the module and starts it.

    See harness.Nginx for the arguments.  Further: start=False, secrets=(…)
    for what the emulator does not know.  With the fixtures of these names in
    the test: %%EMULATOR%%, %%EMULATOR_TLS%% and %%CA%% (the emulator's URLs
    and the CA of the second), %%KEY%% (the path of key_file), %%BUCKET%%.
    """
    made: list[Nginx] = []
    known: list[str] = []
    emulator = None

    if "emulator" in request.fixturenames:
        emulator = request.getfixturevalue("emulator")

    def make(http: str = "", *, start: bool = True, modules=(), env=None,
             secrets=(), **kw) -> Nginx:
        if emulator is not None:
            kw.setdefault("EMULATOR", emulator.url)
            kw.setdefault("EMULATOR_TLS", emulator.https_url)
            kw.setdefault("CA", emulator.ca_file)
        for name, fixture in (("KEY", "key_file"), ("BUCKET", "bucket")):
            if fixture in request.fixturenames:
                kw.setdefault(name, request.getfixturevalue(fixture))
        if SANITIZE:
            env = {**sanitizer_environment(), **(env or {})}

        instance = Nginx(tmp_path / f"nginx{len(made) or ''}", http,
                         modules=[*modules, module], env=env, **kw)
        made.append(instance)
        known.extend(secrets)
        return instance.start() if start else instance

    yield make

    wrong = []
    if emulator is not None:
        known += secrets_of(emulator)
        wrong += [f"the emulator saw: {violation}"
                  for violation in emulator.violations()]
    for instance in reversed(made):
        wrong += instance.finish(known)
    if wrong:
        pytest.fail("after the test:\n" + "\n".join(wrong), pytrace=False)
