"""The guide for operators explains every field of the status, and none that is not there."""

import re
from collections.abc import Iterator
from typing import Any

from support.documents import ROOT, section, table_rows
from support.processes import redis_server, running_cluster
from support.waiting import eventually

GUIDE = ROOT / "docs" / "guides" / "operate.md"


def explained() -> set[str]:
    """Return the fields that the guide explains, without where in the status they are."""
    rows = table_rows(section(GUIDE, "The status").split("### What to watch")[0])
    return {field for row in rows for field in re.findall("`([^`]+)`", row[0])}


def fields_of(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, member in value.items():
        if isinstance(member, dict) and member:
            yield from fields_of(member, f"{prefix}{name}.")
        else:
            yield prefix + name


async def test_every_field_of_the_status_is_explained() -> None:
    async with redis_server() as redis, running_cluster(2, redis=redis.url) as (first, second):
        await redis.stop()

        async def status_without_redis() -> Any:
            status = (await first.get("/_plugin/cluster/status")).result
            return status if not status["current"]["pool"]["reachable"] else None

        status = await eventually(status_without_redis)
        assert [peer["id"] for peer in status["pool"]] == [second.id]
        found = {*status, *fields_of(status["current"]), *fields_of(status["pool"][0])}
        assert found == explained()
