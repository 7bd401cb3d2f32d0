"""Whose turn it is: the tenant with the least in hand, its oldest request first."""

from teambus.domain.turns import Turns


class Hands:
    """What each tenant has in hand."""

    def __init__(self, **in_hand: int) -> None:
        self.of = in_hand

    def __call__(self, tenant: str) -> int:
        return self.of.get(tenant, 0)


def turns(*waiting: tuple[str, int]) -> Turns[str]:
    made: Turns[str] = Turns()
    for tenant, seq in waiting:
        made.add(tenant, seq, f"{tenant}{seq}")
    return made


def all_in_order(made: Turns[str], hands: Hands) -> list[str]:
    """Whoever has had a turn has one more in hand."""
    order = []
    while (waiting := made.next(hands)) is not None:
        order.append(waiting.work)
        hands.of[waiting.tenant] = hands(waiting.tenant) + 1
    return order


def test_one_tenant_is_served_in_the_order_of_its_requests() -> None:
    assert all_in_order(turns(("a", 3), ("a", 1), ("a", 2)), Hands()) == ["a1", "a2", "a3"]


def test_a_late_request_of_a_light_tenant_comes_before_a_flood() -> None:
    flood = [("heavy", seq) for seq in range(1, 1001)]
    made = turns(*flood, ("light", 1001))
    first = made.next(Hands(heavy=16))
    assert first is not None
    assert first.work == "light1001"
    assert len(made) == 1000


def test_a_tenant_with_fewer_in_hand_catches_up_and_then_they_take_turns() -> None:
    made = turns(*[("a", seq) for seq in range(1, 5)], *[("b", seq) for seq in range(5, 9)])
    order = all_in_order(made, Hands(a=2))
    assert order == ["b5", "b6", "a1", "b7", "a2", "b8", "a3", "a4"]


def test_tenants_with_the_same_in_hand_take_turns_even_if_nothing_stays_in_hand() -> None:
    made = turns(("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6))
    order = [waiting.work for _ in range(6) if (waiting := made.next(Hands()))]
    assert order == ["a1", "b4", "c6", "a2", "b5", "a3"]


def test_what_is_dropped_has_no_turn_and_leaves_no_line() -> None:
    made = turns(("a", 1), ("a", 2), ("b", 3))
    dropped = made.drop(2)
    assert dropped is not None
    assert (dropped.tenant, dropped.work) == ("a", "a2")
    assert made.drop(2) is None
    assert all_in_order(made, Hands()) == ["a1", "b3"]
    assert len(made) == 0
    assert made.next(Hands()) is None


def test_the_oldest_of_the_longest_line_are_given_away_first() -> None:
    made = turns(("b", 1), ("a", 2), ("a", 4), ("a", 3))
    assert [waiting.work for waiting in made.oldest(2)] == ["a2", "a3"]
    assert turns().oldest(2) == []
