"""Other gateways, measured in the same run as ours: installed here, configured to be as fast as their makers say.

Each has an environment of its own below `bench/.scratch/peers`. What cannot be had or fails says so in the report; no
gate depends on it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machines import (
    HEADERS,
    KEY,
    SCRATCH,
    UNDER_TEST,
    Contender,
    NotStarted,
    Process,
    Providers,
    Way,
    answers,
    port,
    running,
)

# What is installed. Portkey's package comes without its lock file: with the versions of hono that npm takes by itself
# it answers every stream with 500. LiteLLM looks for opentelemetry on every request, and long if it is not there; with
# httptools beside it, its server parses in C.
VERSIONS = {
    "portkey": {"@portkey-ai/gateway": "1.15.2", "hono": "4.9.7", "@hono/node-server": "1.13.5"},
    "litellm": {
        "litellm[proxy]": "1.106.2",
        "opentelemetry-api": "1.45.2",
        "opentelemetry-sdk": "1.45.2",
        "opentelemetry-exporter-otlp": "1.45.2",
        "httptools": "0.9.0",
    },
}
_INSTALL_SECONDS = 900
_START_SECONDS = 120


class PeerFailed(Exception):
    """Why a peer cannot be measured."""


class Peer:
    """Somebody else's gateway, with one worker."""

    name: str
    title: str
    ready: str  # a path that gives 200 once it serves
    environment: dict[str, str]
    patience = 1  # so many times as long as ours it is measured, to answer as many requests

    def __init__(self) -> None:
        self.version = next(iter(VERSIONS[self.name].values()))
        self.port = port()

    @property
    def folder(self) -> Path:
        return SCRATCH / "peers" / self.name

    def install(self) -> None:
        """Put it into its folder, unless these versions are there. Raises PeerFailed."""
        wanted = json.dumps(VERSIONS[self.name])
        seal = self.folder / "installed.json"
        if seal.exists() and seal.read_text() == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for command in self.installation():
            print(f"installing {self.title}: {' '.join(command)}", flush=True)
            try:
                done = subprocess.run(
                    command, cwd=self.folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, env=_clean({})
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise PeerFailed(f"it could not be installed: {error}") from None
            if done.returncode:
                lines = (done.stderr or done.stdout).splitlines()
                said = [line for line in lines if "error" in line.lower() and "complete log" not in line] or lines
                raise PeerFailed(f"it could not be installed: {'; '.join(said[:3])[:300] or 'no word why'}")
        seal.write_text(wanted)

    def cold_starts(self, providers: Providers, repeats: int) -> list[float]:
        """Seconds from exec to the first 200; what the very first start compiles is compiled. Raises PeerFailed."""
        found = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            with self._running(providers):
                found.append(time.perf_counter() - began)
        return found[1:]

    @contextmanager
    def serving(self, providers: Providers) -> Iterator[Contender]:
        """It runs, and answers as it should. Raises PeerFailed."""
        with self._running(providers) as process:
            yield Contender(self.name, process, self.ways(), patience=self.patience, turns=3, of_others=True)

    @contextmanager
    def _running(self, providers: Providers) -> Iterator[Process]:
        self.install()
        for name, text in self.files(providers).items():
            (SCRATCH / name).write_text(text)
        with open(SCRATCH / f"{self.name}.log", "wb") as log:
            try:
                with running(
                    self.command(), UNDER_TEST, self.port, seconds=_START_SECONDS, stdout=log, stderr=log,
                    env=_clean(self.environment), cwd=self.folder,
                ) as process:  # fmt: skip
                    self._await_readiness(process)
                    yield process
            except NotStarted:
                raise PeerFailed("it did not start") from None

    def _await_readiness(self, process: Process) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self.port, self.ready):
            if time.monotonic() > deadline or process.poll() is not None:
                raise PeerFailed(f"it did not answer {self.ready}")
            time.sleep(0.01)

    def configuration(self, providers: Providers) -> str:
        """What it is told, for a reader: environment, command, files."""
        told = [" ".join([*(f"{name}={value}" for name, value in self.environment.items()), *self.command()])]
        for name, text in self.files(providers).items():
            told += [f"# {name}", text.rstrip()]
        places = {str(self.folder): ".", str(SCRATCH): ".."}
        text = "\n".join(told)
        for place, shown in places.items():
            text = text.replace(place, shown)
        return text

    # ---- what each has of its own

    def installation(self) -> list[list[str]]:
        """Commands, to be run in the folder."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def files(self, providers: Providers) -> dict[str, str]:
        """What it reads, and the headers it is asked with, by name in the scratch folder."""
        raise NotImplementedError

    def ways(self) -> dict[str, Way]:
        raise NotImplementedError


class Portkey(Peer):
    """Portkey's gateway, on node. It is told its provider by headers, and asks nobody for a key."""

    name, title, ready = "portkey", "Portkey gateway", "/"
    environment = {"NODE_ENV": "production"}  # noqa: RUF012  # nobody changes it

    def installation(self) -> list[list[str]]:
        (gateway, version), *overrides = VERSIONS[self.name].items()
        package = {"name": "peer", "private": True, "dependencies": {gateway: version}, "overrides": dict(overrides)}
        (self.folder / "package.json").write_text(json.dumps(package))
        return [["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]]

    def command(self) -> list[str]:
        script = self.folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        return ["node", str(script), "--headless", f"--port={self.port}"]

    def files(self, providers: Providers) -> dict[str, str]:
        return {
            f"portkey-{name}.txt": f"{HEADERS}x-portkey-provider: openai\n"
            f"x-portkey-custom-host: http://127.0.0.1:{number}/v1\n"
            for name, number in {"fast": providers.fast, "slow": providers.slow}.items()
        }

    def ways(self) -> dict[str, Way]:
        return {
            "plain": Way(self.port, "body", "portkey-fast"),
            "slow": Way(self.port, "slow", "portkey-slow"),
            "stream": Way(self.port, "stream", "portkey-fast"),
        }


class LiteLLM(Peer):
    """LiteLLM's proxy, with its master key and without a database: it neither keeps keys nor records."""

    name, title, ready = "litellm", "LiteLLM proxy", "/health/liveliness"
    patience = 4
    environment = {  # noqa: RUF012  # nobody changes it
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # without it, a start waits for the network
    }

    def installation(self) -> list[list[str]]:
        packages = [f"{name}=={version}" for name, version in VERSIONS[self.name].items()]
        pip = [str(self.folder / "venv" / "bin" / "pip"), "install", "-q", "--no-input"]
        return [[sys.executable, "-m", "venv", "venv"], [*pip, *packages]]

    def command(self) -> list[str]:
        program = str(self.folder / "venv" / "bin" / "litellm")
        return [
            program, "--config", str(SCRATCH / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(self.port),
            "--num_workers", "1",
        ]  # fmt: skip

    def files(self, providers: Providers) -> dict[str, str]:
        models = "".join(
            f"  - model_name: {name}/mock\n    litellm_params:\n      model: openai/gpt-4o-mini\n"
            f"      api_base: http://127.0.0.1:{number}/v1\n      api_key: sk-upstream\n"
            for name, number in {"bench": providers.fast, "slow": providers.slow}.items()
        )
        settings = (
            "litellm_settings:\n  telemetry: false\n  drop_params: true\n  request_timeout: 600\n"
            f"  set_verbose: false\n  json_logs: true\ngeneral_settings:\n  master_key: sk-{KEY}\n"
        )
        return {
            "litellm.yaml": f"model_list:\n{models}{settings}",
            "litellm.txt": HEADERS.replace(KEY, f"sk-{KEY}"),  # it takes no key that begins otherwise
        }

    def ways(self) -> dict[str, Way]:
        bodies = {"plain": "body", "slow": "slow", "stream": "stream"}
        return {name: Way(self.port, body, "litellm") for name, body in bodies.items()}


def _clean(own: dict[str, str]) -> dict[str, str]:
    """The environment without what would slow it down or tell it of providers: bytecode is written."""
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **own}
