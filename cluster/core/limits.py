"""The numbers that the core lives by, each with its reason. Seconds and bytes; `cluster.config` makes them from the
operator's settings, and the simulator makes them small.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """Times in seconds, sizes in bytes or items."""

    heartbeat: float = 0.5
    """Between two signs of life. Two a second cost a few hundred bytes to each peer, and let a lost last message be
    found within half a second."""

    silent_after: float = 1.0
    """Two missed heartbeats: one can be lost or late without anybody asking."""

    ask_every: float = 0.25
    """Between two questions to a silent peer: three fit in before it is down."""

    doubt_again_after: float = 0.05
    """After a peer's connection closed: by then what had arrived before that is read, and other peers know of it, too.
    Longer, and those who still hear it would not have the time to say so before it is down."""

    down_after: float = 1.75
    """Silence, including unanswered questions, after which a peer's slice is dropped: under two seconds, as
    promised."""

    unheard_after: float = 3.0
    """How long a peer that we only know by its card holds up readiness."""

    stall_after: float = 0.4
    """The loop came this much too late: the node was stopped or starved, and forgives its peers that time. Less than
    the time between the first question and `down_after`."""

    greet_every: float = 0.02
    """First wait for an answer to hello or sync; doubles up to `greet_at_most`. A local handshake takes a
    millisecond."""

    snapshot_at_most: float = 0.75
    """The longest wait for the next part of a snapshot before all of it is asked for again: what got lost in the last
    moment of a fault is then here within the two heartbeats in which a cluster heals."""

    greet_at_most: float = 1.0
    """The longest wait between two attempts to join a peer."""

    canary_every: float = 1.0
    """Between two canaries for a peer to which nothing else is said: half as many frames again as the heartbeats."""

    deaf_after: float = 2.25
    """Without a canary, a node is deaf or mute: two can be lost or late, and it is said within three seconds."""

    repair_every: float = 0.1
    """Between two requests for the same missing range: a few round trips of a slow network."""

    repair_tries: int = 900
    """Questions for the same item, after which it is given up as lost: half as long again as its origin keeps it. What
    is announced as lost can be fetched again; what is waited for without end holds up all behind it."""

    bad_answers: int = 10
    """Answers to these questions that cannot be read, after which the same is done: a second. One may be of another
    question, or damaged; an origin that cannot say it once cannot say it ten times."""

    forget_after: float = 60.0
    """How long a peer that is down and has no card in the pool is still looked for. Its numbering is kept as long,
    so that after a pause nothing is doubled or missed."""

    card_lifetime: float = 2.5
    """How long a card outlives its last renewal in the pool: five heartbeats, so that a slow pool drops nobody."""

    minimum_nodes: int = 1
    """Nodes (this one included) without which this node is not ready."""

    tail_after: float = 0.1
    """After something was said, the next heartbeat comes this soon: a lost last message is found by it."""

    log_age: float = 60.0
    """How long something said is kept for repair: as long as its receiver is looked for."""

    cut_items: int = 100_000
    """Notifications cut from a log of which the rooms are still known, so that only their subscribers are told."""

    cut_bytes: int = 16 << 20
    """What their rooms may weigh: all of them, if each is for one or two rooms. As much as the log itself."""

    remembered_lives: int = 1000
    """Peers that were given up on, of which the numbering is kept in case they come back."""

    notify_log_bytes: int = 16 << 20
    """Notifications kept for each peer until it has confirmed them: at 200 bytes and 20,000 a second, four seconds."""

    settle_at_most: float = 1.0
    """How long a node that leaves waits for its peers to have all that it sent them: what was lost can be asked for
    ten times. Who is stopped or cut off does not hold it up for longer."""

    farewell_at_most: float = 0.5
    """How long it then goes on saying farewell to those who have not let it go; and how long who hears it waits for
    what is still missing."""

    state_log_bytes: int = 4 << 20
    """Changes of the own slice kept for repair; a longer gap costs a snapshot."""

    held_items: int = 50_000
    """Items held back behind a hole, for each stream: more than arrive in a repair's time at full speed."""

    held_bytes: int = 16 << 20
    """What they may weigh: as much as the log of their origin, which can say the rest again."""

    slice_rooms: int = 4_000_000
    """Rooms that are taken of one peer: four times what a node has at the most as it comes. While a slice is read anew,
    those that are gone since count as well."""

    slice_bytes: int = 4 << 30
    """What they may weigh: 1 KiB for each. A filter of a few conditions takes 200 bytes."""

    slice_retry: float = 60.0
    """How long a slice that is over these bounds is not read again: the whole of it would come for nothing."""

    snapshot_tries: int = 10
    """Requests for a snapshot, after which it is said that a peer's slice cannot be had: five seconds."""

    batch_bytes: int = 256 << 10
    """A frame stops growing here: large enough that its overhead is nothing, small enough to be sent at once."""
