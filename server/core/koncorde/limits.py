"""What a filter may be at most.

A filter comes from a stranger and is then tested against every change in its collection, so each limit here bounds
either what parsing one costs or what each later test costs. All are far above what people write. Each node must
have the same: a filter that one node accepted is parsed again by every other.
"""

MAX_FILTER_BYTES = 65_536
"""How large a filter is in its canonical form. Every node of a cluster keeps every filter, and a client may
subscribe to thousands; people's filters have some hundred bytes."""

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

MAX_REGEXP_INSTRUCTIONS = 3_000
"""How large the programs of all regular expressions of a filter are together, in RE2's instructions: what a search
costs is about 3 ns for each of them and each byte at worst. People's patterns have some tens; one Unicode class such
as `\\p{L}` has 1,200, and a repetition by number is written out: `[^x]{900}` has 8,000."""

REGEXP_SEARCH_STEPS = 10_000_000
"""How much the regular expressions of a filter search in one document, in instructions times bytes: 30 ms at worst.
Patterns of people see a megabyte of text whole; of a filter of 3,000 instructions each sees the first 3,333 bytes."""

REGEXP_MEMORY_BYTES = 1 << 20
"""How much memory RE2 takes at most for one expression, program and caches together: an eighth of its default, since a
node holds one for every room with a `regexp`. An expression that does not fit is refused; one that runs out of cache
later is still matched in linear time, only slower."""

MAX_ANCHORS = 32
"""By how many values a filter is found. Each is an entry of an index; a filter of more of them is asked every time."""

MAX_DISTRIBUTED_LITERALS = 1_000
"""How large the canonical form may grow by distributing `and` over `or`, in literals. Fifty `or`s of two would give
2**50 alternatives. A filter beyond it keeps its nesting in the canonical form; nothing else depends on this."""
