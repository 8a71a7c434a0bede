"""The gate: closed for any reason, open when there is none left."""

from __future__ import annotations

import trio
import trio.testing

from server.gate import Gate


def test_it_opens_when_no_reason_is_left() -> None:
    gate = Gate()
    gate.close("one")
    gate.close("two")
    gate.close("one")
    assert gate.why_closed == "one"
    gate.open("one")
    assert gate.why_closed == "two"
    gate.open("two")
    gate.open("never given")
    assert gate.why_closed is None


async def test_who_waits_is_told() -> None:
    gate = Gate()
    order: list[str] = []

    async def follow() -> None:
        await gate.closed()
        order.append("closed")
        await gate.emptied()
        order.append("emptied")
        await gate.opened()
        order.append("opened")

    gate.entered()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        gate.close("a reason")
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["closed"]
        gate.entered()
        gate.left()
        gate.left()
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["closed", "emptied"]
        gate.open("a reason")
    assert order == ["closed", "emptied", "opened"]
