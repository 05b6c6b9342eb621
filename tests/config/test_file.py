"""What is wished: read whole, or refused with every problem there is."""

import hashlib
import re
from pathlib import Path

import pytest

from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.file import load, located
from fairlead.config.sections import OTHER_VARIABLES, SCALARS, variables
from fairlead.resources import Credential, Endpoint, Policy, Principal, Provider, Signing
from fairlead.settings import Settings, Sink

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-thirty-two-characters"
LAB = '[providers.lab]\nbase_url = "http://10.0.0.7:8000/v1"\nprotocols = ["openai-chat"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fairlead.toml"


def read(file: Path, text: str, **environ: str) -> Wishes:
    file.write_text(text, encoding="utf-8")
    return load(file, environ)


def problems(file: Path, text: str, **environ: str) -> list[str]:
    """What is wrong with it: "line: message"."""
    with pytest.raises(InvalidConfigs) as refused:
        read(file, text, **environ)
    return [str(problem).removeprefix(f"{file}:") for problem in refused.value.problems]


def provider(wishes: Wishes, name: str) -> Provider:
    return next(provider for provider in wishes.providers if provider.name == name)


# ---- where it is


def test_without_a_file_there_are_defaults_and_the_environments_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wishes = load(None, {"GROQ_API_KEY": "gsk", "OPENAI_API_KEY": ""})
    assert wishes.settings == Settings()
    assert wishes.credentials == {"groq": Credential("groq", "gsk")}
    assert "sim" not in {provider.name for provider in wishes.providers}


def test_a_file_is_the_one_given_else_the_variables_else_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"FAIRLEAD_CONFIG": "b.toml"}
    assert located(Path("a.toml"), environ) == Path("a.toml")
    assert located(None, environ) == Path("b.toml")
    assert located(None, {}) is None
    (tmp_path / "fairlead.toml").touch()
    assert located(None, {}) == Path("fairlead.toml")
    assert located(None, {}, find=False) is None


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigs, match=r"absent\.toml cannot be read: No such file"):
        load(tmp_path / "absent.toml", {})
    with pytest.raises(InvalidConfigs, match=r"absent\.toml cannot be read: No such file"):
        load(None, {"FAIRLEAD_CONFIG": str(tmp_path / "absent.toml")})


def test_what_is_no_toml_is_told_with_its_line(file: Path) -> None:
    assert problems(file, "[server]\nport = \n")[0].startswith("2: not TOML: Invalid value")
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(InvalidConfigs, match="not UTF-8: byte 5"):
        load(file, {})


# ---- sections of scalars


def test_all_sections_are_taken(file: Path) -> None:
    wishes = read(
        file,
        '[server]\nhost = "::1"\nport = 0\nheader_seconds = 2\n[logging]\naccess = false\n'
        '[defaults]\nmodel = "fast"\nmax_tokens = 7\n[policy]\nmax_messages = 1\nmax_tokens = 3\n'
        "[timeouts]\nfirst_byte_seconds = 2.5\n",
    )
    assert (wishes.settings.server.host, wishes.settings.server.port) == ("::1", 0)
    assert wishes.settings.server.header_seconds == 2.0
    assert not wishes.settings.logging.access
    assert (wishes.defaults.model, wishes.defaults.max_tokens) == ("fast", 7)
    assert wishes.policy == Policy(max_messages=1, max_characters=None, max_tokens=3)
    assert (wishes.timeouts.first_byte, wishes.timeouts.connect) == (2.5, 10.0)


def test_every_problem_is_told_at_once_each_with_its_line(file: Path) -> None:
    text = '[server]\nprot = 8080\nport = 99999\n\n[databse]\nurl = "x"\n\n[policy]\nmax_messages = "many"\n'
    assert problems(file, text) == [
        "5: databse: unknown section 'databse'; did you mean 'database'?",
        "2: server.prot: unknown option 'prot'; did you mean 'port'?",
        "3: server.port: must be 'int' <= 65535",
        "9: policy.max_messages: must be 'int | null', got 'str'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server = 5", "1: server: must be a table, [server]"),
        ("[server]\nworkers = 4", "2: server.workers: not in this version: it is one process"),
        ("[redis]\nurl = 'redis://x'", "1: redis: not in this version: it is one process with its counters in memory"),
        ("[database]\nurl = 'postgresql://x'", "2: database.url: must be sqlite:///FILE; PostgreSQL is not in this"),
        ("[database]\nurl = 'mysql://x'", "2: database.url: must be sqlite:///FILE"),
        ("[database]\nurl = 'sqlite:///'", "2: database.url: must be sqlite:///FILE"),
        ("[timeouts]\nconnect_seconds = 0", "2: timeouts.connect_seconds: must be 'float' > 0.0"),
        ("[timeouts]\ntotal_seconds = inf", "2: timeouts.total_seconds: must be 'float' <= 86400.0"),
        ("[zzz]", "1: zzz: unknown section 'zzz'; known are database, defaults, journal, keys, logging"),
    ],
)
def test_what_is_not_right_is_told_with_what_would_be(file: Path, text: str, message: str) -> None:
    [problem] = problems(file, text)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[journal]\nfsync = 'now'", "2: journal.fsync: Invalid enum value 'now'"),
        ("[journal]\nmax_bytes = 1000", "2: journal.max_bytes: must be 'int' >= 1048576"),
        (
            "[journal]\nmax_bytes = 2_000_000\nsegment_bytes = 1_000_000",
            "2: journal.max_bytes: must be four times journal.segment_bytes or more",
        ),
        ("[journal]\nfsnyc = 'off'", "2: journal.fsnyc: unknown option 'fsnyc'; did you mean 'fsync'?"),
        ("[sinks.a]", "1: sinks.a.path: must be told: the file that gets the lines"),
        ("[sinks.a]\npath = 5", "2: sinks.a.path: must be 'str'"),
        ("[sinks.a]\npath = 'x'\nkind = 'csv'", "3: sinks.a.kind: Invalid enum value 'csv'"),
        ("[sinks.database]\npath = 'x'", "1: sinks.database: a sink's name has letters"),
        ("[sinks.'a/b']\npath = 'x'", "1: sinks.a/b: a sink's name has letters"),
        ("[sinks.a]\npath = 'x'\n[sinks.b]\npath = 'x'", "4: sinks.b.path: is that of the sink 'a' as well"),
    ],
)
def test_what_is_wrong_with_the_journal_or_a_sink_is_told(file: Path, text: str, message: str) -> None:
    assert problems(file, text)[0].startswith(message)


def test_sinks_are_taken_by_their_names(file: Path) -> None:
    wishes = read(file, "[sinks.archive]\npath = '/var/log/usage.jsonl'\n[journal]\nfsync = 'always'")
    assert wishes.settings.sinks == {"archive": Sink("/var/log/usage.jsonl")}
    assert wishes.settings.journal.fsync == "always"


# ---- the environment


def test_the_environment_overrides_scalars(file: Path) -> None:
    wishes = read(
        file,
        "[server]\nport = 1\n",
        FAIRLEAD_SERVER_PORT="2",
        FAIRLEAD_LOGGING_ACCESS="false",
        FAIRLEAD_DEFAULTS_MODEL="fast",
        FAIRLEAD_POLICY_MAX_TOKENS="9",
        FAIRLEAD_SERVER_HOST="",
    )
    assert (wishes.settings.server.port, wishes.settings.server.host) == (2, "127.0.0.1")
    assert not wishes.settings.logging.access
    assert (wishes.defaults.model, wishes.policy.max_tokens) == ("fast", 9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FAIRLEAD_SERVER_PORT", "http", "must be 'int', got 'str'"),
        ("FAIRLEAD_SERVER_PROT", "80", "unknown variable 'FAIRLEAD_SERVER_PROT'; did you mean 'FAIRLEAD_SERVER_PORT'?"),
        ("FAIRLEAD_SEVER_PORT", "80", "unknown variable 'FAIRLEAD_SEVER_PORT'; did you mean 'FAIRLEAD_SERVER_PORT'?"),
        ("FAIRLEAD_TIMEOUTS_TOTAL_SECONDS", "5", "[timeouts] is read from the file only"),
        ("FAIRLEAD_DATABASE_URL", "postgresql://x", "must be sqlite:///FILE; PostgreSQL is not in this version"),
    ],
)
def test_a_variable_of_ours_that_is_not_right_is_named(file: Path, name: str, value: str, message: str) -> None:
    assert problems(file, "", **{name: value}) == [f"environment: {name}: {message}"]


def test_variables_of_others_are_left_alone(file: Path) -> None:
    read(
        file,
        "",
        FAIRLEAD_SHARED="x",
        FAIRLEAD_SERVICE_HOST="10.0.0.1",
        FAIRLEAD_PORT="tcp://10.0.0.1:8080",
        FAIRLEAD_DATABASE_SERVICE_PORT="5432",
        FAIRLEAD_DATABASE_PORT_5432_TCP_ADDR="10.0.0.1",
        FAIRLEAD_MY_OWN_SECRET="x",
    )


# ---- providers


def test_a_known_provider_needs_only_its_credential(file: Path) -> None:
    wishes = read(file, '[providers.groq]\ncredential = { env = "MY_KEY" }\n', MY_KEY="gsk\n", GROQ_API_KEY="other")
    assert wishes.credentials["groq"].value == "gsk"
    assert provider(wishes, "groq").credential_env == "MY_KEY"  # what an error names if it is not set
    assert provider(wishes, "groq").base_urls == {"openai-chat": "https://api.groq.com/openai/v1"}


def test_a_credential_comes_from_a_file_beside_or_as_it_is(file: Path) -> None:
    (file.parent / "groq.key").write_text("from-a-file\n")
    text = '[providers.groq]\ncredential = { file = "groq.key" }\n[providers.xai]\ncredential = "literal"\n'
    assert {name: held.value for name, held in read(file, text).credentials.items()} == {
        "groq": "from-a-file",
        "xai": "literal",
    }


def test_a_credential_that_is_not_set_is_none(file: Path) -> None:
    assert read(file, '[providers.groq]\ncredential = { env = "MY_KEY" }\n').credentials == {}


def test_an_unknown_provider_is_told_whole(file: Path) -> None:
    text = (
        '[providers.lab]\nprotocols = { openai-chat = "http://a/v1/", anthropic-messages = "https://b:1/v1" }\n'
        'credential = "secret"\nsigning = { header = "X-Key" }\nheaders = { x-team = "search" }\nclaims = ["lab-*"]\n'
        'models_path = ""\nquirks = ["no_stream_options"]\naggregator = true\nopenrouter_fields = true\n'
        'call_header = "x-call"\n'
    )
    assert provider(read(file, text), "lab") == Provider(
        name="lab",
        base_urls={"openai-chat": "http://a/v1", "anthropic-messages": "https://b:1/v1"},
        signing=Signing("header", "x-key"),
        headers={"x-team": "search"},
        claims=("lab-*",),
        aggregator=True,
        quirks=("no_stream_options",),
        openrouter_fields=True,
        models_path=None,
        call_header="x-call",
    )


def test_a_provider_that_says_nothing_of_a_credential_needs_none(file: Path) -> None:
    assert provider(read(file, LAB), "lab").signing.kind == "none"
    assert provider(read(file, LAB + 'credential = { env = "X" }'), "lab").signing.kind == "bearer"
    assert provider(read(file, "[providers.groq]"), "groq").signing.kind == "bearer"


def test_headers_are_added_to_those_of_a_known_provider(file: Path) -> None:
    told = provider(read(file, "[providers.anthropic]\nheaders = { x-team = 'search' }\n"), "anthropic")
    assert told.headers == {"anthropic-version": "2023-06-01", "x-team": "search"}


def test_the_simulator_is_there_when_it_is_named(file: Path) -> None:
    sim = provider(read(file, "[providers.sim]\n"), "sim")
    assert sim.signing.kind == "none"
    assert provider(load(None, {}, find=False, simulator=True), "sim") == sim


def test_what_needs_no_credential_is_there_when_it_is_named(file: Path) -> None:
    assert "ollama" not in {told.name for told in read(file, "").providers}
    ollama = provider(read(file, "[providers.ollama]\n"), "ollama")
    assert (ollama.signing.kind, ollama.models_path) == ("none", "/tags")
    assert set(ollama.base_urls.values()) == {"http://127.0.0.1:11434/api"}
    elsewhere = read(file, '[providers.ollama]\nbase_url = "http://10.0.0.7:11434/api"\n')
    assert provider(elsewhere, "ollama").base_urls["ollama-chat"] == "http://10.0.0.7:11434/api"


def test_certificates_lie_beside_the_file(file: Path) -> None:
    (file.parent / "ca.pem").touch()
    told = provider(read(file, LAB + 'ca_file = "ca.pem"\n'), "lab")
    assert told.ca_file == str(file.parent / "ca.pem")
    assert problems(file, LAB + 'ca_file = "absent.pem"\n') == ["4: providers.lab.ca_file: absent.pem is not there"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("base_urls = 'x'", "4: providers.lab.base_urls: unknown option 'base_urls'; did you mean 'base_url'?"),
        ("credential = 5", "4: providers.lab.credential: must be "),
        ("credential = { path = 'x' }", '4: providers.lab.credential: must be a string, { env = "NAME" } or'),
        ("credential = { file = 'absent' }", "4: providers.lab.credential: absent cannot be read: No such file"),
        ('credential = { file = "a\\u0000b" }', "4: providers.lab.credential: 'a\\x00b' holds no text"),
        ('credential = "a\\r\\nb: c"', "4: providers.lab.credential: holds characters that no header may have"),
        ("signing = 'basic'", "4: providers.lab.signing: "),
        ("signing = { query = 'key' }", '4: providers.lab.signing: must be "bearer", "none" or { header ='),
        ("signing = { header = 'x y' }", '4: providers.lab.signing: must be "bearer", "none" or { header ='),
        ("signing = { header = 'Content-Length' }", '4: providers.lab.signing: must be "bearer"'),
        ('headers = { x = "a\\nb" }', "4: providers.lab.headers.x: has a value with control characters"),
        ("headers = { 'a b' = 'c' }", "4: providers.lab.headers.a b: is no name of a header"),
        ("headers = { Transfer-Encoding = 'x' }", "4: providers.lab.headers.Transfer-Encoding: is a header that the"),
        ("call_header = ''", "4: providers.lab.call_header: is no name of a header"),
        ('call_header = "a\\r\\nb"', "4: providers.lab.call_header: is no name of a header"),
        ("call_header = 'Content-Length'", "4: providers.lab.call_header: is a header that the gateway sets itself"),
        ("models_path = 'models'", '4: providers.lab.models_path: must begin with "/"'),
        ('models_path = "/a b"', '4: providers.lab.models_path: must begin with "/"'),
        ("quirks = ['no_stream_option']", "4: providers.lab.quirks: unknown quirk 'no_stream_option'; did you mean"),
    ],
)
def test_what_is_wrong_with_a_provider_is_told(file: Path, line: str, message: str) -> None:
    [problem] = problems(file, LAB + line)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/v1",
        "ftp://example.com",
        "http://",
        "http://a:99999/v1",
        "http://a:0/v1",
        "http://[::1/v1",
        "http://user:password@a/v1",
        "http://a/v1?version=1",
        "http://a/v1#part",
        "http://a/v 1",
        "http://a/v1\\r\\nhost: b",
        "http://exämple.com/v1",
    ],
)
def test_a_base_url_is_one_and_no_more(file: Path, url: str) -> None:
    text = f'[providers.lab]\nprotocols = ["openai-chat"]\nbase_url = "{url}"\n'
    assert problems(file, text)[0].startswith("3: providers.lab.base_url: must be the address of an API")
    text = f'[providers.lab]\nprotocols = {{ openai-chat = "{url}" }}\n'
    assert problems(file, text)[0].startswith("2: providers.lab.protocols.openai-chat: must be the address of an API")


def test_an_unknown_provider_needs_its_address_and_what_it_speaks(file: Path) -> None:
    assert [problem.partition(",")[0] for problem in problems(file, "[providers.lab]\n")] == [
        "1: providers.lab.protocols: is missing: one or more of openai-chat",
        "1: providers.lab.base_url: is missing: the address of the API",
    ]
    [problem] = problems(file, LAB.replace("openai-chat", "openai-chats"))
    assert problem == "3: providers.lab.protocols: unknown protocol 'openai-chats'; did you mean 'openai-chat'?"
    [problem] = problems(file, "[providers.'My Lab']\n")
    assert problem.startswith("1: providers.My Lab: a provider's name has lower-case letters")


def test_a_variable_with_a_broken_credential_is_named(file: Path) -> None:
    [problem] = problems(file, "", OPENAI_API_KEY="sk-…")
    assert problem.endswith("holds characters that no header may have (from OPENAI_API_KEY)")
    assert "sk-" not in problem


# ---- models


def test_a_model_has_endpoints_in_order(file: Path) -> None:
    wishes = read(
        file, LAB + '[models.fast]\nendpoints = ["lab/a/b", "openai/gpt-4o"]\n[models."*"]\nendpoints=["lab/x"]'
    )
    fast, catch_all = wishes.models
    assert [endpoint.name for endpoint in fast.endpoints] == ["lab/a/b", "openai/gpt-4o"]
    assert catch_all.endpoints == (Endpoint(provider(wishes, "lab"), "x"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[models.fast]", "1: models.fast.endpoints: must name at least one endpoint"),
        ("[models.fast]\nendpoints = 'lab/x'", "2: models.fast.endpoints: must be 'array', got 'str'"),
        ("[models.fast]\nendpoints = ['gpt-4o']", "2: models.fast.endpoints: 'gpt-4o' must be provider/model"),
        ("[models.fast]\nendpoints = ['openai/']", "2: models.fast.endpoints: 'openai/' must be provider/model"),
        ("[models.fast]\nendpoints = ['opnai/x']", "2: models.fast.endpoints: unknown provider 'opnai'; did you mean"),
        ("[models.fast]\nendpoint = []\nendpoints = ['openai/x']", "2: models.fast.endpoint: unknown option"),
        ("[models.'']\nendpoints = ['openai/x']", "1: models.: a model's name has 1 to 512 printable characters"),
        ("models = 5", "1: models: must be a table"),
    ],
)
def test_what_is_wrong_with_a_model_is_told(file: Path, text: str, message: str) -> None:
    assert problems(file, text)[0].startswith(message)


# ---- keys


def test_keys_are_known_by_their_hash(file: Path) -> None:
    text = (
        f'[[keys]]\nname = "a"\nsecret = "{SECRET}"\n'
        '[[keys]]\nname = "b"\nsecret = { env = "B" }\nscopes = ["inference", "admin:*"]\n'
    )
    assert read(file, text, B="b" * 40).file_keys == {
        hashlib.sha256(SECRET.encode()).digest(): Principal("file:a", "a", frozenset({"inference"})),
        hashlib.sha256(b"b" * 40).digest(): Principal("file:b", "b", frozenset({"inference", "admin:*"})),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[keys]]\nname='a'\nsecret='short'", "3: keys.0.secret: must have 32 visible ASCII characters or more"),
        (f"[[keys]]\nname='a'\nsecret='{SECRET} '", "3: keys.0.secret: must have 32 visible ASCII characters or more"),
        ("[[keys]]\nname='a'", "1: keys.0.secret: must have 32 visible ASCII characters or more"),
        ("[[keys]]\nname='a'\nsecret={env='NO'}", "3: keys.0.secret: the variable NO is not set"),
        (f"[[keys]]\nsecret='{SECRET}'", "1: keys.0.name: must be told: who or what has this key"),
        (f"[[keys]]\nname='a'\nsecret='{SECRET}'\nscopes=['admin']", "4: keys.0.scopes: unknown scope 'admin'; did"),
        (f"[[keys]]\nname='a'\nsecret='{SECRET}'\nscopes=[]", "4: keys.0.scopes: must name at least one of inference"),
        ("keys = 5", "1: keys: must be written as [[keys]]"),
        ("keys = [5]", "1: keys.0: must be a table"),
    ],
)
def test_what_is_wrong_with_a_key_is_told(file: Path, text: str, message: str) -> None:
    assert problems(file, text)[0].startswith(message)


def test_names_and_secrets_of_keys_are_there_once(file: Path) -> None:
    one = f"[[keys]]\nname='a'\nsecret='{SECRET}'\n"
    assert problems(file, one + one.replace("'a'", "'b'")) == ["6: keys.1.secret: is that of another key as well"]
    twice = one + one.replace(SECRET, "b" * 40)
    assert problems(file, twice) == ["5: keys.1.name: 'a' is the name of another key as well"]


def test_a_problem_never_tells_a_secret(file: Path) -> None:
    told = problems(file, f"[[keys]]\nname='a'\nsecret='{SECRET}'\n" * 2 + "[[keys]]\nname='c'\nsecret='hush'\n")
    assert not [problem for problem in told if SECRET in problem or "hush" in problem]


# ---- the examples in the repository


def test_the_example_of_a_file_says_the_defaults(tmp_path: Path) -> None:
    wishes = load(ROOT / "fairlead.example.toml", {})
    assert wishes == load(None, {}, find=False)


def test_the_example_of_a_file_holds_everything_commented_out(file: Path) -> None:
    text = re.sub(r"(?m)^#(?=\S)", "", (ROOT / "fairlead.example.toml").read_text(encoding="utf-8"))
    wishes = read(file, text, CI_GATEWAY_KEY="s" * 40, LAB_API_KEY="lab", GROQ_API_KEY="gsk")
    assert [model.name for model in wishes.models] == ["fast", "*"]
    assert set(wishes.credentials) == {"groq", "lab"}
    told = {name: set(re.findall(r"(?m)^#?(\w+) =", section)) for name, section in sections(text).items()}
    assert {name: told[name] for name in SCALARS} == {
        name: set(kind.__struct_fields__) for name, kind in SCALARS.items()
    }


def sections(text: str) -> dict[str, str]:
    """The lines below each table's name."""
    _, *rest = re.split(r"(?m)^\[+([\w.\"*]+)\]+", text)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def test_the_example_of_an_environment_names_every_variable_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    told = dict(re.findall(r"(?m)^# ([A-Z0-9_]+)=(.*)$", text))
    assert set(told) == {*variables(), *OTHER_VARIABLES}
    assert load(None, {**told, "FAIRLEAD_CONFIG": ""}, find=False) == load(None, {}, find=False)


# ---- the edge


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ('allowed_origins = ["https://app.example/path"]', "server.allowed_origins", "no path"),
        ('allowed_origins = ["app.example"]', "server.allowed_origins", "must be '*' or an origin"),
        ('trusted_proxies = ["10.0.0.1/8"]', "server.trusted_proxies", "must be an address or a network"),
        ('tls_certificate = "cert.pem"', "server.tls_key", "belong together"),
        ("require_tls = true", "server.require_tls", "nothing can come over TLS"),
    ],
)
def test_what_cannot_be_of_the_edge_is_named(file: Path, text: str, place: str, word: str) -> None:
    (problem,) = problems(file, f"[server]\n{text}\n")
    assert place in problem
    assert word in problem


@pytest.mark.parametrize("host", ["http://images.example", "10.0.0.1/8", "*.example", "", "images.example:80"])
def test_a_host_that_media_cannot_come_from_is_named(file: Path, host: str) -> None:
    (problem,) = problems(file, f'[media]\nallowed_hosts = ["images", "10.0.0.0/8", "{host}"]\n')
    assert "media.allowed_hosts" in problem
    assert "must be a host's name, an address or a network" in problem


def test_media_are_bounded_by_the_environment_too(file: Path) -> None:
    wishes = read(file, "", FAIRLEAD_MEDIA_FETCH="false", FAIRLEAD_MEDIA_PORTS="80, 8080")
    assert (wishes.settings.media.fetch, wishes.settings.media.ports) == (False, (80, 8080))


def test_lists_come_from_the_environment_with_commas_between(file: Path) -> None:
    wishes = read(file, "", FAIRLEAD_SERVER_TRUSTED_PROXIES="10.0.0.0/8, ::1", FAIRLEAD_SERVER_ALLOWED_ORIGINS="*")
    assert wishes.settings.server.trusted_proxies == ("10.0.0.0/8", "::1")
    assert wishes.settings.server.allowed_origins == ("*",)
