"""What a filter may be at most.

A filter comes from a stranger and is then tested against every change in its collection, so each limit here bounds
either what parsing one costs or what each later test costs. All are far above what people write. Each node must
have the same: a filter that one node accepted is parsed again by every other.
"""

MAX_CONDITIONS = 100
"""How many conditions a filter has, all depths together; each value of `in` and `ids` is one. Kuzzle's default too."""

MAX_DEPTH = 50
"""How deep clauses and the values of `match` are nested. Parsing and matching recurse a few Python frames per level,
and the interpreter allows 1,000 in all."""

MAX_FIELD_CHARACTERS = 512
"""How long the path of a field is: a lookup cuts it at its dots, at a cost that grows with its length."""

MAX_FIELD_PARTS = 20
"""How many dots, plus one, the path of a field has: as deep as Elasticsearch maps a document by default. A lookup tries
every way in which the parts may be joined to keys that contain dots themselves."""

MAX_MATCH_VALUES = 100
"""How many values one `match` has, nested ones and containers included. Within arrays each of them may be compared
with every element of the document's array."""

MAX_POLYGON_POINTS = 1_000
"""How many corners a `geoPolygon` has: a test visits every edge, at about 0.1 µs each."""

MAX_POINT_CHARACTERS = 100
"""How long a point or coordinate is when given as text. Two doubles written in full take about 50."""

MAX_DISTANCE_CHARACTERS = 64
"""How long the text of a distance is. A double written in full and the longest unit take about 40."""

MAX_PATTERN_CHARACTERS = 1_000
"""How long a regular expression is: RE2 takes up to 30 µs for each character of a pattern of Unicode classes."""

REGEXP_MEMORY_BYTES = 1 << 20
"""How much memory RE2 takes at most for one expression, program and caches together: an eighth of its default, since a
node holds one for every room with a `regexp`. An expression that does not fit is refused; one that runs out of cache
later is still matched in linear time, only slower."""

MAX_DISTRIBUTED_LITERALS = 1_000
"""How large the canonical form may grow by distributing `and` over `or`, in literals. Fifty `or`s of two would give
2**50 alternatives. A filter beyond it keeps its nesting in the canonical form; nothing else depends on this."""
