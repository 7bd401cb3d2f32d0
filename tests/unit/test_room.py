"""Which streams somebody should see to, and that every one of them is looked at."""

from teambus.bus import room, topology
from teambus.domain.room import Filling, filling_up


def at(percent: int, *, refuses: bool = True, stream: str = "S") -> Filling:
    return Filling(stream, percent, 100, refuses)


def up(filling: Filling, *before: str) -> bool:
    return bool(filling_up([filling], before, share_max=0.7))


def test_a_stream_fills_up_from_the_threshold_on() -> None:
    assert [up(at(percent)) for percent in (0, 69, 70, 100)] == [False, False, True, True]


def test_it_is_well_again_only_when_it_is_clearly_below() -> None:
    assert [up(at(percent), "S") for percent in (69, 64, 62)] == [True, True, False]


def test_a_stream_whose_oldest_messages_go_may_be_full() -> None:
    assert not up(at(100, refuses=False))


def test_a_stream_without_a_limit_never_fills_up() -> None:
    assert not filling_up([Filling("S", 1 << 40, -1, refuses=True)], (), share_max=0.7)


def test_every_stream_has_the_setting_of_its_room() -> None:
    base = {stream["name"]: stream["max_bytes"] for stream in topology.streams(_settings())}
    assert base.keys() == room.ROOM_SETTINGS.keys()
    for name, variable in room.ROOM_SETTINGS.items():
        field = variable.removeprefix("TOPOLOGY_").lower()
        changed = {s["name"]: s["max_bytes"] for s in topology.streams(_settings(**{field: 12345}))}
        assert changed[name] == 12345, variable


def _settings(**changes: int) -> topology.TopologySettings:
    return topology.TopologySettings(**changes)
