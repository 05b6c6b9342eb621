"""Wrong keys: how long an address waits, and what is remembered of it."""

from fairlead.penalties import Penalties


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_after_a_few_the_wait_doubles_up_to_five_minutes() -> None:
    clock = Clock()
    penalties = Penalties(3, clock=clock)
    waits = []
    for _ in range(14):
        penalties.wrong("203.0.113.7")
        waits.append(penalties.wait("203.0.113.7"))
        clock.now += waits[-1]
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert penalties.wait("203.0.113.7") == 0
    assert penalties.wait("203.0.113.8") == 0


def test_what_is_long_ago_is_forgotten() -> None:
    clock = Clock()
    penalties = Penalties(1, clock=clock)
    penalties.wrong("a")
    assert penalties.wait("a") == 1
    clock.now += 901
    penalties.wrong("a")
    assert penalties.wait("a") == 1


def test_an_ipv6_address_is_its_network() -> None:
    penalties = Penalties(1, clock=Clock())
    penalties.wrong("2001:db8:1:2:aaaa::1")
    assert penalties.wait("2001:db8:1:2:bbbb::9") == 1
    assert penalties.wait("2001:db8:1:3::1") == 0
    penalties.wrong("::ffff:203.0.113.7")
    assert penalties.wait("203.0.113.7") == 1


def test_only_so_many_addresses_are_remembered(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("fairlead.penalties._MOST", 3)
    penalties = Penalties(1, clock=Clock())
    for number in range(10):
        penalties.wrong(f"198.51.100.{number}")
    assert len(penalties._wrong) == 3
    assert penalties.wait("198.51.100.9") == 1
    assert penalties.wait("198.51.100.0") == 0
