"""What runs during the benchmark: the providers and nginx's TLS on the second core, who is measured on the first."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
SCRATCH = HERE / ".scratch"
KEY = "bench-key-of-thirty-two-characters-or-more"
UNDER_TEST, AROUND = {0}, {1}  # cores
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"

QUESTION = "What is the parental leave policy, and how do I apply for it? Please answer with a short list of steps. "
BODY: dict[str, Any] = {
    "model": "bench/mock",
    "messages": [
        {"role": "system", "content": "You answer questions about the company handbook. " * 4},
        {"role": "user", "content": QUESTION * 3},
    ],
    "temperature": 0.7,
    "max_tokens": 256,
    "top_p": 1,
    "user": "user-1234",
}
HEADERS = f"Authorization: Bearer {KEY}\nUser-Agent: OpenAI/Python 3.52.0\nAccept: application/json\n"

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Way:
    """How something is asked: files in the scratch folder, where, and what ends a whole stream."""

    port: int
    body: str  # BODY.json
    headers: str = "headers"  # HEADERS.txt
    path: str = "/v1/chat/completions"
    mark: str = "[DONE]"


@dataclass
class Contender:
    """Who is measured: its process, and the ways it can be asked."""

    name: str
    process: Process
    ways: dict[str, Way]  # "plain", "TLS", "slow", "translated", "stream", "many"
    patience: int = 1  # so many times as long as the others it is measured, to answer as many requests
    turns: int = 99  # so often at most
    of_others: bool = False  # somebody else's gateway: what it does wrong is told, and is no gate


@dataclass
class Providers:
    """Ports of the simulated providers."""

    fast: int = field(default_factory=lambda: port())  # answers at once
    slow: int = field(default_factory=lambda: port())  # 50 ms to the first event, 20 between
    many: int = field(default_factory=lambda: port())  # 50, 100
    tls: int = field(default_factory=lambda: port())  # the fast one, through nginx


# ---- what is built


def build() -> None:
    """The rulers, and the files that they send."""
    SCRATCH.mkdir(exist_ok=True)
    for name in ("mock", "sload"):
        compiled(name)
    (SCRATCH / "headers.txt").write_text(HEADERS)
    stream = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    messages = [{"role": "user", "content": QUESTION * 3}]
    bodies = {
        "body": BODY,
        "stream": stream,
        "slow": {**stream, "model": "slow/mock"},
        "many": {**stream, "model": "many/mock"},
        "tls": {**BODY, "model": "tls/mock"},
        "messages": {"model": "slow/mock", "max_tokens": 256, "stream": True, "messages": messages},
    }
    for name, body in bodies.items():
        (SCRATCH / f"{name}.json").write_text(json.dumps(body))
    _make_certificate()


def compiled(name: str) -> Path:
    """The ruler `name`, compiled anew if its source is younger."""
    source, target = HERE / "rulers" / f"{name}.c", SCRATCH / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-w", "-o", str(target), str(source)], check=True)
    return target


def _make_certificate() -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(SCRATCH / "ca.pem"))
    own = authority.issue_cert("127.0.0.1", "localhost")
    own.private_key_pem.write_to_path(str(SCRATCH / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(SCRATCH / "cert.pem"))


# ---- processes


@contextmanager
def alone() -> Iterator[None]:
    """No other run meanwhile: two would take each other's cores and files."""
    SCRATCH.mkdir(exist_ok=True)
    with open(SCRATCH / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit("another run is under way: it holds bench/.scratch/lock") from None
        yield


def port() -> int:
    """A free one, below those the kernel hands out."""
    for candidate in range(21000 + os.getpid() % 5000, 32000):
        if candidate not in _given:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", candidate)) != 0:
                    _given.add(candidate)
                    return candidate
    raise OSError("no free port")


_given: set[int] = set()


def pinned(cores: set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)


@contextmanager
def running(command: list[str], cores: set[int], *ports: int, seconds: float = 10, **options: Any) -> Iterator[Process]:
    """A process, once it listens on `ports`; terminated in the end. Raises NotStarted."""
    process = subprocess.Popen(command, preexec_fn=pinned(cores), **options)
    try:
        for each in ports:
            _wait_for(each, process, seconds)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class NotStarted(Exception):
    """A process that does not listen."""


def _wait_for(number: int, process: Process, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", number)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise NotStarted(f"{process.args} did not start")


def answers(number: int, path: str) -> bool:
    """Whether GET `path` gives 200."""
    try:
        with closing(socket.create_connection(("127.0.0.1", number), timeout=1)) as asking:
            asking.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return asking.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


# ---- the providers


def start_providers(stack: ExitStack) -> Providers:
    ports = Providers()
    for first, second, *pace in ((ports.fast, ports.slow, "50", "50", "20"), (port(), ports.many, "20", "50", "100")):
        command = [str(SCRATCH / "mock"), str(first), str(second), *pace]
        stack.enter_context(running(command, AROUND, first, second))
    upstream = f"upstream fast {{ server 127.0.0.1:{ports.fast}; {_KEPT} }}"
    listen = (
        f"listen {ports.tls} ssl backlog=4096; ssl_certificate {SCRATCH / 'cert.pem'}; "
        f"ssl_certificate_key {SCRATCH / 'key.pem'};"
    )
    server = f"server {{ {listen} location / {{ proxy_pass http://fast; {_PROXY} }} }}"
    stack.enter_context(_nginx("tls", AROUND, f"{upstream}\n{server}", ports.tls))
    return ports


# ---- nginx

_PROXY = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'
_KEPT = "keepalive 2000; keepalive_requests 9999999;"


def start_nginx(stack: ExitStack, providers: Providers, *, access: bool = False, place: str = "") -> Contender:
    """nginx in front of each provider. `access`: with its access log on, in its usual format, written as it is best.
    `place`: a word for its folder, where several run at once."""
    ways = {
        "plain": (providers.fast, "body"),
        "TLS": (providers.tls, "body"),
        "slow": (providers.slow, "slow"),
        "stream": (providers.fast, "stream"),
        "many": (providers.many, "many"),
    }
    own = {target: port() for target, _ in ways.values()}
    lines = [f"upstream u{number} {{ server 127.0.0.1:{target}; {_KEPT} }}" for target, number in own.items()]
    for target, number in own.items():
        scheme = "https" if target == providers.tls else "http"
        lines.append(
            f"server {{ listen {number} backlog=4096; location / {{ proxy_pass {scheme}://u{number}; {_PROXY} "
            "proxy_ssl_session_reuse on; } }"
        )
    front = f"front{place}-logging" if access else f"front{place}"
    if access:
        lines.append(f"access_log {SCRATCH}/nginx-{front}/access.log combined buffer=64k flush=1s;")
    process = stack.enter_context(_nginx(front, UNDER_TEST, "\n".join(lines), *own.values(), logs=access))
    return Contender(
        "nginx, access log on" if access else "nginx",
        process,
        {name: Way(own[target], body) for name, (target, body) in ways.items()},
    )


def _nginx(name: str, cores: set[int], http: str, *ports: int, logs: bool = False) -> Any:
    folder = SCRATCH / f"nginx-{name}"
    folder.mkdir(exist_ok=True)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn; worker_rlimit_nofile 20000;\n"
        "daemon off; master_process off;\nevents { worker_connections 16384; }\n"
        f"http {{ {'' if logs else 'access_log off;'} keepalive_requests 9999999; client_max_body_size 64m;\n"
        f"{temporary}\n{http}\n}}\n"
    )
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    return running(command, cores, *ports, stderr=subprocess.DEVNULL)


# ---- Fairlead


@dataclass(frozen=True)
class Fairlead:
    """One configuration of the gateway, written down and ready to be started, again and again."""

    name: str
    port: int

    @classmethod
    def configured(cls, name: str, providers: Providers, *, access: bool) -> "Fairlead":
        """One provider of ours for each port; keys and records are on."""
        self = cls(name, port())
        shutil.rmtree(self.state, ignore_errors=True)
        fast, secure = f"http://127.0.0.1:{providers.fast}/v1", f"https://127.0.0.1:{providers.tls}/v1"
        slow, many = (f"http://127.0.0.1:{number}/v1" for number in (providers.slow, providers.many))
        text = [
            f'[server]\nport = {self.port}\nstate_dir = "{self.state}"\ndrain_notice_seconds = 0\n'
            f"[logging]\naccess = {str(access).lower()}\n",
            *(provider(name, url) for name, url in {"bench": fast, "slow": slow, "many": many}.items()),
            provider("tls", secure) + f'ca_file = "{SCRATCH / "ca.pem"}"\n',
            f'[[keys]]\nname = "bench"\nsecret = "{KEY}"\n',
        ]
        self.file.write_text("\n".join(text))
        return self

    @property
    def file(self) -> Path:
        return SCRATCH / f"fairlead-{self.name}.toml"

    @property
    def state(self) -> Path:
        return SCRATCH / f"state-{self.name}"

    @property
    def log(self) -> Path:
        """Where standard output and error go, the access log among them."""
        return SCRATCH / f"fairlead-{self.name}.log"

    @property
    def ways(self) -> dict[str, Way]:
        return {
            "plain": Way(self.port, "body"),
            "TLS": Way(self.port, "tls"),
            "slow": Way(self.port, "slow"),
            "translated": Way(self.port, "messages", path="/v1/messages", mark="message_stop"),
            "stream": Way(self.port, "stream"),
            "many": Way(self.port, "many"),
        }

    @contextmanager
    def serving(self, cores: set[int] = UNDER_TEST) -> Iterator[Process]:
        """The gateway, listening, and without the providers of whoever runs this."""
        command = [sys.executable, "-m", "fairlead", "serve", "--config", str(self.file)]
        with open(self.log, "wb") as log:
            with running(command, cores, self.port, stdout=log, stderr=log, env=fairlead_environment()) as process:
                yield process


def provider(name: str, url: str) -> str:
    """The lines of the configuration for a provider that speaks OpenAI's chat and asks for no credential."""
    return f'[providers.{name}]\nbase_url = "{url}"\nprotocols = ["openai-chat"]\nsigning = "none"\nmodels_path = ""\n'


def fairlead_environment() -> Mapping[str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    return {**environment, "PYTHONPATH": str(ROOT / "src")}
