"""A plugin to read first: it keeps words that nobody wants out of published messages.

Four things that plugins do, one each:

- a *configuration* of its own:   the table [moderator], typed by `ModeratorConfig`
- a *pipe* on realtime:publish:   refuses a message, or changes it on its way
- a *hook* on the node's start:   says in the log what it does
- a *controller* with a route:    `moderator/moderator:report`, or `GET /_plugin/moderator/report`

Try it:

    SHOAL_SERVER_PLUGINS=moderator SHOAL_MODERATOR_WORDS=spam,scam shoal serve
    curl -X POST localhost:7512/shop/reviews/_publish -H 'Content-Type: application/json' -d '{"text": "Spam!"}'
    curl localhost:7512/_plugin/moderator/report

It looks at messages, not at stored documents, and it keeps its counts in memory: they are this node's alone.
docs/guides/plugins.md explains step by step how a plugin like this one is written.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import attrs

from server.plugin import (
    BeforeAction,
    Context,
    Controller,
    KuzzleStart,
    Plugin,
    PluginApiError,
    Request,
    action,
    hook,
    pipe,
)


@attrs.frozen(kw_only=True)
class ModeratorConfig:
    """What can be set in the table [moderator]."""

    words: tuple[str, ...] = attrs.field(
        default=(),
        metadata={"help": "Words that messages must not contain, in any mixture of upper and lower case."},
    )
    mode: Literal["refuse", "mask"] = attrs.field(
        default="refuse",
        metadata={
            "help": "`refuse` refuses such a message with an error; `mask` lets it pass with `***` for the word."
        },
    )


class ModeratorPlugin(Plugin):
    """Looks at every message before it is published."""

    name = "moderator"
    config = ModeratorConfig

    def __init__(self, config: ModeratorConfig, context: Context) -> None:
        super().__init__(config, context)
        self._mode = config.mode
        self._words = config.words
        # Longest first: of "scam" and "scammer", the longer one is to be found where both begin.
        ordered = sorted(config.words, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)", re.IGNORECASE)
        self.found: Counter[str] = Counter()
        """How often each word was found."""

    def controllers(self) -> Sequence[Controller]:
        """Its API."""
        return [ReportController(self.found)]

    @hook(KuzzleStart)
    def announce(self, event: KuzzleStart) -> None:
        """Say so: moderation that nobody knows of is a riddle to whoever's messages vanish."""
        self.context.log.info("moderating", node=event.node.id, words=len(self._words), mode=self._mode)

    @pipe("realtime:beforePublish")
    def moderate(self, event: BeforeAction) -> None:
        """Refuse the message, or mask the words in it.

        A pipe may change the request; by raising it refuses the request, and the client is told what it raised.
        """
        body = event.request.body
        words = [word.lower() for text in _texts(body) for word in self._pattern.findall(text)]
        if not words:
            return
        self.found.update(words)
        if self._mode == "refuse":
            raise PluginApiError(
                "moderator.words.refused", f"not published: {', '.join(sorted(set(words)))}", 403
            )
        event.request.body = _replaced(body, self._pattern)


class ReportController:
    """`moderator/moderator:*`: a controller is any object with a `name` and actions."""

    name = "moderator"

    def __init__(self, found: Counter[str]) -> None:
        self._found = found

    @action(http=[("GET", "/report")])
    def report(self, request: Request) -> dict[str, Any]:
        """List the words found on this node, the most frequent first; `limit` of them, 10 unless told."""
        return {"words": dict(self._found.most_common(request.integer("limit", 10)))}


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a message. The node accepts JSON of at most a hundred levels, so recursion is safe."""
    match value:
        case str():
            yield value
        case dict():
            for member in value.values():
                yield from _texts(member)
        case list():
            for element in value:
                yield from _texts(element)
        case _:
            pass


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    """Return a message with `***` in place of what the pattern finds."""
    match value:
        case str():
            return pattern.sub("***", value)
        case dict():
            return {name: _replaced(member, pattern) for name, member in value.items()}
        case list():
            return [_replaced(element, pattern) for element in value]
        case _:
            return value
