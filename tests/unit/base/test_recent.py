"""What is remembered of endlessly many."""

from statera.base.recent import remember


def test_so_many_are_remembered_and_the_newest_stay() -> None:
    there: dict[bytes, int] = {}
    for number in range(10_100):
        remember(there, b"%d" % number, number, 10_000)
        remember(there, b"0", number, 10_000)
    assert len(there) == 10_000
    assert {0, 10_099, 10_098} <= {int(one) for one in there}
    assert b"1" not in there
    assert there[b"0"] == 10_099
