"""What the server lets clients do is within what the mesh takes: the two do not know each other's bounds."""

from __future__ import annotations

import pytest

from cluster import MeshConfig
from cluster.core.limits import Limits as MeshLimits
from cluster.core.messages import PAYLOAD_BYTES
from plugins.cluster import ClusterPlugin
from plugins.cluster.config import ClusterConfig
from server.core.limits import Limits
from server.core.notifications import MAX_DESCRIPTION_BYTES
from server.plugin import PluginError
from server.testing import open_test_node


def test_whatever_room_a_client_may_open_others_can_be_told_of() -> None:
    assert MAX_DESCRIPTION_BYTES <= PAYLOAD_BYTES
    assert 4 * Limits().rooms <= MeshLimits().slice_rooms


@pytest.mark.parametrize(("retry_join", "tries"), [(1, 100), (60, 900), (600, 9000)])
def test_what_is_missing_is_asked_for_longer_than_it_is_kept(retry_join: int, tries: int) -> None:
    limits = MeshConfig(retry_join=retry_join).limits()
    assert limits.repair_tries == tries
    assert limits.repair_tries * limits.repair_every >= 1.5 * limits.log_age


async def test_a_node_that_may_have_more_rooms_than_others_take_does_not_start() -> None:
    limits = Limits(rooms=MeshLimits().slice_rooms + 1)
    with pytest.raises(PluginError, match=r"limits\.rooms is 4000001; other nodes of a cluster take 4000000"):
        async with open_test_node(plugins=[(ClusterPlugin, ClusterConfig())], limits=limits):
            pass
