"""Who is not let in, and who is while a secret or a version is being changed: seals, refusals, versions."""

from __future__ import annotations

import msgspec
import pytest

from cluster.config import MeshConfig
from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.admission import KEPT_OUT
from cluster.core.effects import Effect
from cluster.core.identity import Card, Epoch
from cluster.core.limits import Limits
from cluster.core.node import MeshNode
from cluster.core.replica import Sync
from cluster.errors import CardError, ConfigurationError
from cluster.keys import Keys, Sealer

OLD, NEW = "the former secret", "the present secret"
SEALER = Sealer(None)
SEED = "tcp://10.0.0.1:7510"


def card(name: str, boot: int = 1, protocol: tuple[int, int] = (1, 1)) -> Card:
    return Card(
        id=name, epoch=Epoch(boot, 0), pub=f"tcp://h:1{name}", router=f"tcp://h:2{name}", protocol=protocol
    )


def node(own: Card, seeds: tuple[str, ...] = (), sealer: Sealer = SEALER) -> MeshNode:
    return MeshNode(own, Limits(), seal=sealer.seal, open_card=sealer.open, now=0, seeds=seeds)


def said(effects: list[Effect], event: str) -> list[dict[str, object]]:
    return [
        dict(effect.fields) for effect in effects if isinstance(effect, fx.Belief) and effect.event == event
    ]


class TestTheSecretIsChanged:
    """Node by node: some have only the former secret, some both, some only the present one."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [((OLD, None), (NEW, OLD)), ((NEW, OLD), (NEW, OLD)), ((NEW, OLD), (NEW, None))],
    )
    def test_neighbouring_steps_believe_each_other(
        self, one: tuple[str, str | None], other: tuple[str, str | None]
    ) -> None:
        for sealed_by, opened_by in ((one, other), (other, one)):
            assert Sealer(*opened_by).open(Sealer(*sealed_by).seal(card("a"))) == card("a")

    def test_the_first_step_and_the_last_do_not(self) -> None:
        for sealed_by, opened_by in ((OLD, NEW), (NEW, OLD)):
            with pytest.raises(CardError, match="secret"):
                Sealer(opened_by).open(Sealer(sealed_by).seal(card("a")))

    def test_each_finds_a_way_in(self) -> None:
        steps = [Keys(OLD), Keys(NEW, OLD), Keys(NEW)]
        for one, other in ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2)):
            for client, server in ((steps[one], steps[other]), (steps[other], steps[one])):
                assert server.may_ask(client.client_for(server.server.public).public)
        for client, server in ((steps[0], steps[2]), (steps[2], steps[0])):
            assert not server.may_ask(client.client_for(server.server.public).public)

    def test_a_seed_is_tried_with_every_key_it_may_have(self) -> None:
        for seed in (Keys(OLD), Keys(NEW, OLD), Keys(NEW)):
            assert seed.server.public in [server for server, _ in Keys(NEW, OLD).ways_in]

    @pytest.mark.parametrize(
        ("secret", "former", "match"),
        [
            (None, OLD, "set secret to a new one"),
            (OLD, OLD, "set secret to a new one"),
            (NEW, "short", "former_secret has 5 characters"),
        ],
    )
    def test_settings_that_change_nothing_are_refused(
        self, secret: str | None, former: str, match: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=match):
            MeshConfig(secret=secret, former_secret=former)


class TestKeys:
    def test_each_life_has_a_key_of_its_own_and_shares_the_others(self) -> None:
        one, other = Keys(NEW), Keys(NEW)
        assert one.server == other.server
        assert one.ways_in == other.ways_in
        assert one.own != other.own

    def test_another_cluster_with_the_same_secret_is_another_cluster(self) -> None:
        ours, theirs = MeshConfig(secret=NEW, name="a"), MeshConfig(secret=NEW, name="b")
        our_keys, their_keys = ours.keys(), theirs.keys()
        assert our_keys is not None
        assert their_keys is not None
        assert our_keys.server != their_keys.server
        assert not their_keys.may_ask(our_keys.ways_in[0][1].public)
        with pytest.raises(CardError, match="secret"):
            theirs.sealer().open(ours.sealer().seal(card("a")))

    def test_no_secret_no_keys(self) -> None:
        assert MeshConfig().keys() is None

    def test_keys_are_for_one_use_each(self) -> None:
        keys = Keys(NEW)
        (_, client), *_ = keys.ways_in
        assert len({keys.server.private, client.private, keys.own.private}) == 3
        assert not keys.may_ask(keys.server.public)
        assert not keys.may_ask(keys.own.public)

    def test_a_key_that_is_none_is_no_card(self) -> None:
        for key in ("00", "x" * 64, "0" * 64 + "\n"):
            wrong = msgspec.structs.replace(card("a"), key=key)
            with pytest.raises(CardError, match="not a card"):
                SEALER.open(SEALER.seal(wrong))


class TestOldCards:
    """Somebody writes cards into the pool that were good once: a seal does not grow old, but what it seals does."""

    def test_a_former_life_is_not_believed_again(self) -> None:
        sealer = Sealer(NEW)
        core = node(card("a"), sealer=sealer)
        core.cards_read([sealer.seal(card("b", boot=7))], 0)
        before = [(link.id, link.epoch) for link in core.links]
        replayed = msgspec.structs.replace(
            card("b", boot=6), pub="tcp://elsewhere:1", router="tcp://elsewhere:2"
        )
        assert core.cards_read([sealer.seal(replayed)], 0.1) == []
        assert [(link.id, link.epoch) for link in core.links] == before

    def test_a_former_life_that_says_hello_is_refused(self) -> None:
        sealer = Sealer(NEW)
        core = node(card("a"), sealer=sealer)
        core.cards_read([sealer.seal(card("b", boot=7))], 0)
        hello = messages.Hello("b", Epoch(6, 0), sealer.seal(card("b", boot=6)), 1)
        out = core.asked(b"b", messages.encode(hello), 0.1)
        (answer,) = [effect for effect in out if isinstance(effect, fx.Answer)]
        refusal = messages.decode_reply(answer.frame)
        assert isinstance(refusal, messages.Refused)
        assert refusal.reason == "a later life of this name is known"

    def test_what_left_does_not_come_back_by_its_card(self) -> None:
        core = node(card("a"))
        core.cards_read([SEALER.seal(card("b"))], 0)
        farewell = messages.Farewell("b", Epoch(1, 0), "shutdown", {})
        core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, farewell), 0.1)
        assert list(core.links) == []
        assert core.cards_read([SEALER.seal(card("b"))], 0.2) == []


class TestKeptOut:
    def test_a_handshake_that_failed_is_said_once_and_in_the_status_until_it_is_let_in(self) -> None:
        core = node(card("a"))
        core.cards_read([SEALER.seal(card("b"))], 0)
        (link,) = core.links
        assert said(core.kept_out("b"), "refused by peer") == [{"peer": "b", "reason": KEPT_OUT}]
        assert core.kept_out("b") == []
        assert link.refusal == KEPT_OUT

    def test_a_seed_is_named_by_its_address(self) -> None:
        core = node(card("a"), seeds=(SEED,))
        assert said(core.kept_out(SEED), "refused by peer") == [{"peer": SEED, "reason": KEPT_OUT}]
        assert core.kept_out(SEED) == []
        assert core.admission.refused_by == [(SEED, None, KEPT_OUT)]
        welcome = messages.Welcome("b", Epoch(1, 0), SEALER.seal(card("b")), 1, [])
        core.answered(SEED, messages.encode(welcome), 0.1)
        assert core.admission.refused_by == []
        assert said(core.kept_out(SEED), "refused by peer"), "it is news again"

    def test_a_seed_that_is_found_as_a_peer_is_no_seed_any_more(self) -> None:
        peer = msgspec.structs.replace(card("b"), router=SEED)
        core = node(card("a"), seeds=(SEED,))
        core.kept_out(SEED)
        core.cards_read([SEALER.seal(peer)], 0)
        core.kept_out("b")
        assert core.admission.refused_by == [(SEED, "b", KEPT_OUT)], "and not twice"
        hello = messages.Hello("b", peer.epoch, SEALER.seal(peer), 1)
        core.asked(b"b", messages.encode(hello), 0.1)
        welcome = messages.Welcome("b", Epoch(1, 0), SEALER.seal(peer), 1, [])
        core.answered("b", messages.encode(welcome), 0.1)
        core.time_passed(2)
        assert core.admission.refused_by == []

    def test_a_live_peer_refuses_nobody(self) -> None:
        core = node(card("a"))
        core.cards_read([SEALER.seal(card("b"))], 0)
        core.kept_out("b")
        (link,) = core.links
        link.replica.sync = Sync.LIVE
        assert (link.refusal, core.admission.refused_by) == (KEPT_OUT, [])

    def test_how_many_refusals_are_remembered_is_bounded_by_who_is_asked(self) -> None:
        core = node(card("a"), seeds=(SEED,))
        for number in range(100):
            core.kept_out(f"tcp://10.0.0.2:{number}")
        core.kept_out(SEED)
        assert [address for address, _, _ in core.admission.refused_by] == [SEED]

    def test_who_is_not_known_is_not_named(self) -> None:
        assert node(card("a")).kept_out("x") == []


class TestVersions:
    """Two versions side by side: those whose ranges meet work together, others leave each other alone."""

    def test_ranges_that_meet_are_linked(self) -> None:
        core = node(card("a", protocol=(1, 2)))
        core.cards_read([SEALER.seal(card("b", protocol=(2, 3)))], 0)
        assert [link.id for link in core.links] == ["b"]

    def test_ranges_that_do_not_meet_are_left_alone_and_named(self) -> None:
        core = node(card("a", protocol=(1, 2)))
        reason = "b speaks version 3 of the mesh protocol, a versions 1 to 2: upgrade the older one"
        out = core.cards_read([SEALER.seal(card("b", protocol=(3, 3)))], 0)
        assert [(told["peer"], told["reason"]) for told in said(out, "peer speaks another protocol")] == [
            ("b", reason)
        ]
        assert not any(isinstance(effect, fx.Connect) for effect in out)
        assert list(core.links) == []
        assert list(core.admission.foreign) == ["b"]
        assert core.why_not_ready() == f"no protocol version in common: {reason}"
        assert core.cards_read([SEALER.seal(card("b", protocol=(3, 3)))], 0.5) == [], "said once"
        core.cards_read([SEALER.seal(card("b", boot=2, protocol=(2, 3)))], 1)
        assert not core.admission.foreign
        assert [link.id for link in core.links] == ["b"]

    def test_a_ready_node_stays_ready(self) -> None:
        core = node(card("a"))
        core.cards_read([], 0)
        assert core.why_not_ready() is None
        core.cards_read([SEALER.seal(card("b", protocol=(2, 2)))], 1)
        assert core.why_not_ready() is None

    def test_a_node_that_comes_back_too_new_ends_the_link_to_what_it_was(self) -> None:
        core = node(card("a"))
        core.cards_read([SEALER.seal(card("b"))], 0)
        core.cards_read([SEALER.seal(card("b", protocol=(2, 2)))], 0.5)
        assert [link.id for link in core.links] == ["b"], "the same life does not change its version"
        out = core.cards_read([SEALER.seal(card("b", boot=2, protocol=(2, 2)))], 1)
        assert fx.Disconnect("b") in out
        assert list(core.links) == []

    def test_a_welcome_of_one_that_cannot_be_talked_with_is_none(self) -> None:
        core = node(card("a"), seeds=(SEED,))
        welcome = messages.Welcome("b", Epoch(1, 0), SEALER.seal(card("b", protocol=(2, 2))), 1, [])
        assert core.answered(SEED, messages.encode(welcome), 0.1) == []
        assert list(core.links) == []

    def test_how_many_are_remembered_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cluster.core.admission.FOREIGN_AT_MOST", 2)
        core = node(card("a"))
        core.cards_read([SEALER.seal(card(f"n{number}", protocol=(2, 2))) for number in range(5)], 0)
        assert len(core.admission.foreign) == 2

    def test_how_many_callers_are_remembered_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cluster.core.admission.FOREIGN_AT_MOST", 2)
        core = node(card("a"))
        for number in (0, 1, 1, 2, 3):
            caller = card(f"n{number}", protocol=(2, 2))
            hello = messages.Hello(caller.id, caller.epoch, SEALER.seal(caller), 1)
            core.asked(caller.id.encode(), messages.encode(hello), 0)
        assert list(core.admission.foreign) == ["n0", "n1"]
