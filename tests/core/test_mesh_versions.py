"""Two versions of the mesh protocol side by side, in a world: those whose ranges meet work together; those whose ranges
do not leave each other alone, stay up, and name each other."""

from __future__ import annotations

from random import Random

from cluster.core.standing import Standing
from cluster.testing import SimNode, World


def world_of(**protocols: tuple[int, int]) -> tuple[World, list[SimNode]]:
    world = World(Random(1))
    nodes = [world.start(name, protocol=protocol) for name, protocol in protocols.items()]
    world.run(1)
    return world, nodes


def live_links(node: SimNode) -> set[str]:
    return {link.id for link in node.core.links if link.is_live}


def told(world: World, author: SimNode, reader: SimNode) -> int:
    """Publish once to the reader's room; return how many notifications of the author it has been given by then."""
    world.publish(author, f"room of {reader.name}")
    world.run(0.2)
    return len(reader.delivered[author.life])


def test_ranges_that_meet_work_together_in_both_directions() -> None:
    world, (old, new) = world_of(old=(1, 1), new=(1, 2))
    assert (live_links(old), live_links(new)) == ({"new"}, {"old"})
    for node in (old, new):
        world.open_room(node, f"room of {node.name}")
    world.run(0.1)
    assert (told(world, old, new), told(world, new, old)) == (1, 1)
    world.run(1)
    world.check_at_rest()


def test_one_in_the_middle_works_with_both_ends_which_leave_each_other_alone() -> None:
    world, (old, middle, new) = world_of(old=(1, 1), middle=(1, 2), new=(2, 2))
    assert live_links(middle) == {"old", "new"}
    assert live_links(old) == live_links(new) == {"middle"}
    world.open_room(middle, "room of middle")
    world.run(0.1)
    assert (told(world, old, middle), told(world, new, middle)) == (1, 1)
    assert list(old.core.admission.foreign) == ["new"]
    assert list(new.core.admission.foreign) == ["old"]


def test_ranges_that_do_not_meet_are_named_on_both_sides() -> None:
    world, (old, new) = world_of(old=(1, 1), new=(2, 3))
    for node, other in ((old, new), (new, old)):
        assert live_links(node) == set()
        assert node.core.admission.foreign == {other.name: other.core.card}
        (reason,) = node.core.reasons()
        assert reason.standing is Standing.JOINING
        assert "no protocol version in common" in reason.why
    world.run(60)
    assert live_links(old) == live_links(new) == set()


def test_who_was_there_first_stays_ready_and_names_the_newcomer() -> None:
    world, (old,) = world_of(old=(1, 1))
    assert old.core.reasons() == []
    new = world.start("new", protocol=(2, 2))
    world.run(1)
    assert old.core.reasons() == []
    assert list(old.core.admission.foreign) == ["new"]
    assert list(new.core.admission.foreign) == ["old"]


def test_without_a_pool_both_sides_name_each_other_by_what_is_said_at_the_door() -> None:
    world = World(Random(1))
    world.pool.is_up = False
    old, new = world.start("old", protocol=(1, 1)), world.start("new", seeds=["old"], protocol=(2, 2))
    world.run(2)
    ((address, name, reason),) = new.core.admission.refused_by
    assert (address, name) == (old.core.card.router, None)
    assert "new speaks version 2 of the mesh protocol, old version 1" in reason
    assert old.core.admission.foreign == {"new": new.core.card}
    assert old.core.admission.foreign_in_pool == {}
    world.crash(new)
    world.run(world.limits.forget_after + 1)
    assert old.core.admission.foreign == {}, "it does not call any more"


def test_who_called_and_comes_back_with_a_version_in_common_is_foreign_no_longer() -> None:
    world = World(Random(1))
    world.pool.is_up = False
    old, new = world.start("old", protocol=(1, 1)), world.start("new", seeds=["old"], protocol=(2, 2))
    world.run(2)
    world.crash(new)
    new = world.start("new", seeds=["old"], protocol=(1, 2))
    world.run(2)
    assert old.core.admission.foreign == {}
    assert new.core.admission.refused_by == []
    assert (live_links(old), live_links(new)) == ({"new"}, {"old"})
