"""The line of a dotted path."""

from fairlead.config.places import Places

TEXT = """\
top = 1
[server] # here
port = 1
"quoted.key" = 2
[providers.lab]
base_url = "x" # port = 3
headers.x-team = "a"
claims = [
  "a",
]
[[keys]]
name = "a"
[[keys]]
name = "b"
[models."a/b.c"]
endpoints = []
"""


def test_each_thing_has_its_line() -> None:
    line = Places(TEXT).line
    assert line("top") == 1
    assert line("server") == 2
    assert line("server", "port") == 3
    assert line("server", "quoted.key") == 4
    assert line("providers", "lab", "headers", "x-team") == 7
    assert line("keys", "0", "name") == 12
    assert line("keys", "1", "name") == 14
    assert line("models", "a/b.c", "endpoints") == 16


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    line = Places(TEXT).line
    assert line("providers", "lab", "quirks") == 5
    assert line("keys", "1", "secret") == 13
    assert line("nothing") is None
