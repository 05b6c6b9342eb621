"""From what the client asks for to endpoints."""

import timeit

import pytest

from fairlead.catalog import Catalog, Listed, Snapshot
from fairlead.errors import CredentialMissing, InvalidRequest, ModelNotFound
from fairlead.resources import Credential, Defaults, Endpoint, Model, Provider, Signing

URLS = {"openai-chat": "http://localhost/v1"}
OPENAI = Provider("openai", URLS, claims=("gpt-*", "o[0-9]*"), credential_env="OPENAI_API_KEY")
ANTHROPIC = Provider("anthropic", URLS, claims=("claude-*",), credential_env="ANTHROPIC_API_KEY")
COPYCAT = Provider("copycat", URLS, claims=("gpt-*",))
OPENROUTER = Provider("openrouter", URLS, aggregator=True, credential_env="OPENROUTER_API_KEY")
LOCAL = Provider("local", URLS, signing=Signing("none"))
ALL = (OPENAI, ANTHROPIC, COPYCAT, OPENROUTER, LOCAL)


def world(*credentialed: str, models: tuple[Model, ...] = (), model: str | None = None) -> Snapshot:
    """A snapshot of all providers, with credentials for some."""
    return Snapshot(
        providers=ALL,
        credentials={name: Credential(name, "secret") for name in credentialed},
        models=models,
        defaults=Defaults(model=model),
    )


def endpoints(snapshot: Snapshot, name: str | None) -> list[str]:
    return [endpoint.name for endpoint in snapshot.resolve(name).endpoints]


def test_a_configured_name_comes_first() -> None:
    fast = Model("gpt-4o", (Endpoint(LOCAL, "small"), Endpoint(ANTHROPIC, "claude-x")))
    snapshot = world("openai", "anthropic", models=(fast,))
    assert endpoints(snapshot, "gpt-4o") == ["local/small", "anthropic/claude-x"]
    assert snapshot.resolve("gpt-4o").model == "gpt-4o"


def test_a_provider_and_the_rest_split_at_the_first_slash() -> None:
    assert endpoints(world(), "local/some/model") == ["local/some/model"]
    route = world("openai", "openrouter").resolve("openai/gpt-4o")
    assert [(endpoint.provider.name, endpoint.model) for endpoint in route.endpoints] == [("openai", "gpt-4o")]


def test_a_claimed_name_goes_to_the_first_provider_with_a_credential() -> None:
    assert endpoints(world("openai", "copycat"), "gpt-4o") == ["openai/gpt-4o"]
    assert endpoints(world("copycat"), "gpt-4o") == ["copycat/gpt-4o"]
    assert endpoints(world("openai"), "o3-mini") == ["openai/o3-mini"]


def test_an_aggregator_takes_any_author_and_slug() -> None:
    snapshot = world("openrouter")
    assert endpoints(snapshot, "meta-llama/llama-3") == ["openrouter/meta-llama/llama-3"]
    assert endpoints(snapshot, "openai/gpt-4o") == ["openrouter/openai/gpt-4o"]  # OpenAI itself has no credential
    with pytest.raises(ModelNotFound):
        snapshot.resolve("llama-3")


def test_what_is_not_found_otherwise_is_taken_by_the_catch_all() -> None:
    snapshot = world("anthropic", models=(Model("*", (Endpoint(ANTHROPIC, "claude-x"),)),))
    assert endpoints(snapshot, "whatever") == ["anthropic/claude-x"]
    assert endpoints(snapshot, "gpt-4o") == ["anthropic/claude-x"]
    assert endpoints(snapshot, "local/x") == ["local/x"]


@pytest.mark.parametrize("name", ["openai/gpt-4o", "o3"])
def test_a_missing_credential_is_named_with_its_variable(name: str) -> None:
    with pytest.raises(CredentialMissing, match=r"openai \(OPENAI_API_KEY\)") as missing:
        world().resolve(name)
    assert missing.value.status == 503


def test_a_configured_model_without_any_credential_names_all_its_providers() -> None:
    both = Model("both", (Endpoint(OPENAI, "a"), Endpoint(COPYCAT, "b")))
    with pytest.raises(CredentialMissing, match=r"OPENAI_API_KEY.*\[providers\.copycat\] credential"):
        world(models=(both,)).resolve("both")


def test_endpoints_without_a_credential_are_left_out() -> None:
    both = Model("both", (Endpoint(OPENAI, "a"), Endpoint(ANTHROPIC, "b")))
    assert endpoints(world("anthropic", models=(both,)), "both") == ["anthropic/b"]


def test_an_unknown_name_is_told_the_three_nearest() -> None:
    models = tuple(Model(name, (Endpoint(LOCAL, "x"),)) for name in ("llama-fast", "llama-slow", "llama-best", "whale"))
    with pytest.raises(ModelNotFound, match="Did you mean 'llama-fast', ") as unknown:
        world(models=models).resolve("lama-fast")
    assert str(unknown.value).count("'llama-") == 3
    assert "whale" not in str(unknown.value)


def test_an_aggregator_without_a_credential_is_not_blamed_for_a_name_nobody_knows() -> None:
    with pytest.raises(ModelNotFound, match="local-model"):
        world(models=(Model("local-model", (Endpoint(LOCAL, "x"),)),)).resolve("loacl/model")


def test_a_name_of_any_length_costs_little() -> None:
    snapshot = world("openai", "openrouter")
    with pytest.raises(ModelNotFound) as unknown:
        snapshot.resolve("a/" * 1_000_000)
    assert len(str(unknown.value)) < 400
    with pytest.raises(ModelNotFound):
        snapshot.resolve("gpt-" + "x" * 1000)
    assert snapshot.find("gpt-" + "x" * 1000) is None


def test_without_a_name_the_default_model_answers() -> None:
    assert endpoints(world(model="local/x"), None) == ["local/x"]
    assert endpoints(world(model="local/x"), "") == ["local/x"]
    with pytest.raises(InvalidRequest) as refused:
        world().resolve(None)
    assert refused.value.param == "model"


def test_ever_new_names_do_not_grow_memory() -> None:
    snapshot = world()
    for number in range(10_000):
        snapshot.resolve(f"local/{number}")
    assert len(snapshot._routes) <= 4096


def test_a_name_is_looked_for_once() -> None:
    snapshot = world("openai")
    assert snapshot.resolve("gpt-4o") is snapshot.resolve("gpt-4o")


def test_nearest_names_are_found_among_thousands_in_time() -> None:
    catalog = Catalog(world("openrouter"))
    catalog.listings["openrouter"] = [f"author-{number}/model-{number}" for number in range(5000)]
    catalog.current.nearest("warm")
    best = min(timeit.repeat(lambda: catalog.current.nearest("openrouter/autor-77/model-77"), number=1, repeat=5))
    assert best < 0.1
    assert "openrouter/author-77/model-77" in catalog.current.nearest("openrouter/autor-77/model-77")


def test_names_are_those_configured_claimed_and_listed() -> None:
    models = (Model("fast", (Endpoint(LOCAL, "x"),)), Model("*", (Endpoint(LOCAL, "x"),)))
    catalog = Catalog(world("openai", models=models))
    catalog.listings.update({"local": ["tiny"], "anthropic": ["claude-x"]})
    assert catalog.current.names() == [
        Listed("fast", "fairlead"),
        Listed("gpt-*", "openai"),
        Listed("o[0-9]*", "openai"),
        Listed("local/tiny", "local"),
    ]


def test_one_name_is_found_where_it_would_be_asked_for() -> None:
    catalog = Catalog(world("openai", "openrouter", models=(Model("fast", (Endpoint(LOCAL, "x"),)),)))
    find = catalog.current.find
    assert find("fast") == Listed("fast", "fairlead")
    assert find("gpt-4o") == Listed("gpt-4o", "openai")
    assert find("local/x") == Listed("local/x", "local")
    assert find("claude-x") is None
    assert find("*") is None


def test_an_aggregator_has_any_name_until_its_list_is_here() -> None:
    catalog = Catalog(world("openrouter"))
    assert catalog.current.find("author/slug") == Listed("author/slug", "openrouter")
    catalog.listings["openrouter"] = ["author/other"]
    assert catalog.current.find("author/slug") is None
    assert catalog.current.find("author/other") is not None


def test_a_swap_leaves_those_who_hold_the_old_world_in_it() -> None:
    catalog = Catalog(world("openai"))
    catalog.listings["local"] = ["tiny"]
    old = catalog.current
    catalog.swap(world())
    assert old.resolve("gpt-4o")
    with pytest.raises(CredentialMissing):
        catalog.current.resolve("gpt-4o")
    assert catalog.current.find("local/tiny") is not None
    assert "local/tiny" in [listed.name for listed in catalog.current.names()]


def test_a_credential_shows_in_no_representation() -> None:
    assert "secret" not in repr(world("openai").credentials)
