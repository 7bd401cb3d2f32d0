"""Which answers of the server's API are none."""

from typing import Any

import msgspec
import pytest

from teambus.bus.reads import _Cluster, _is_not_now, _Replica

FOLLOWED = [{"name": "n2", "current": True}, {"name": "n3", "current": False}]
ALONE = [{"name": "n2", "current": False}, {"name": "n3", "current": False}]


def info(**cluster: Any) -> bytes:
    document = {"type": "io.nats.jetstream.api.v1.stream_info_response", "state": None}
    return msgspec.json.encode({**document, **({"cluster": cluster} if cluster else {})})


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (info(), True),
        (info(leader="n1"), True),
        (info(leader="n1", replicas=FOLLOWED), True),
        (info(leader="n1", replicas=ALONE), False),
        (info(name="teambus", replicas=FOLLOWED), False),
        (b'{"type":"other","error":{"code":503,"err_code":10008}}', False),
        (b'{"type":"other","error":{"code":404,"err_code":10059}}', True),
    ],
    ids=["one node", "one replica", "followed", "cut off", "no leader", "not now", "missing"],
)
def test_a_node_cut_off_from_the_others_answers_nothing(answer: bytes, counts: bool) -> None:
    assert _is_not_now(answer) is not counts


@pytest.mark.parametrize(
    ("heard_s_ago", "leader", "counts"),
    [
        ([], "n1", True),
        ([0.2, 9], "n1", True),
        ([0.7, 9], "n1", False),
        ([0, 0], "n1", False),
        ([0.2, 0.2], "", False),
        ([0.2, 9, 9, 9], "n1", False),
        ([0.2, 0.2, 9, 9], "n1", True),
    ],
    ids=[
        "one replica",
        "lately",
        "before",
        "never",
        "no leader",
        "by one of five",
        "by two of five",
    ],
)
def test_a_leader_is_one_that_a_majority_followed_since(
    heard_s_ago: list[float], leader: str, counts: bool
) -> None:
    replicas = [_Replica(current=True, active=int(each * 1e9)) for each in heard_s_ago]
    assert _Cluster(leader, replicas).led(0.5) is counts
