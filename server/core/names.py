"""Names for nodes that people can read, say and tell apart in a log.

Pure: the dice are thrown by the caller, who passes the random bytes in.

A name is two words and four hex digits, `brave-otter-3f9c`: lower-case ASCII letters, digits and hyphens
only, so that it is safe in URLs, metrics' labels, Redis keys and ZeroMQ topics. There are
128 * 128 * 65,536 = 2**30 of them: among 1,000 nodes alive at once the chance that any two share one is
about 0.05 %.
"""

ENTROPY_BYTES = 4
"""How many random bytes make one name: one per word, two for the digits."""

_ADJECTIVES_TEXT = """
able agile airy alert amber ample ancient arctic azure balmy bold brave breezy bright brisk calm candid
careful cheery chilly civil clear clever cobalt cool coral cosmic crisp curious dapper daring deep deft dewy
eager early easy elegant even fair famous fancy fast fleet floral fluent fond frank free fresh frosty gentle
giant glad golden grand great happy hardy hazel hearty honest humble icy indigo jade jolly keen kind lemon
light lively loyal lucid lucky lunar magic mellow merry mighty mild misty modest neat nimble noble olive
opal patient pearl plucky polite proud pure quick quiet rapid ready regal robust rosy royal ruby sage sandy
serene sharp shiny silent silver sleek smart smooth snowy solar steady sturdy sunny swift tidy true vast
vivid warm wise witty young zesty
"""
_ADJECTIVES = _ADJECTIVES_TEXT.split()

_ANIMALS_TEXT = """
albatross anchovy angler auk barbel barnacle bass beluga bream brill burbot carp catfish char chub clam
cockle cod conch coot coral crab crane cusk dab dace dolphin dorado dory duck dugong eel eider egret
flounder gannet gar goby grayling grebe grouper gull gurnard haddock hake halibut heron herring ibis
kingfish krill lamprey limpet ling loach lobster loon mackerel manatee manta marlin merlin minnow mola moray
mullet mussel narwhal nautilus newt octopus opah orca osprey otter oyster pelican penguin perch petrel pike
plaice plover pollock porpoise prawn puffin quahog ray remora roach salmon sandpiper sardine scad scallop
seal shad shark shrimp skate skua smelt snapper snook sole sponge sprat squid stork sturgeon sunfish swan
tarpon teal tench tern tetra trout tuna turbot turtle walrus whale whelk whiting wrasse zander
"""
_ANIMALS = _ANIMALS_TEXT.split()


def readable_id(entropy: bytes) -> str:
    """Return the name that stands for `entropy`, such as `brave-otter-3f9c`.

    The same bytes give the same name; bytes after the first `ENTROPY_BYTES` do not count.
    Raises ValueError when there are fewer.
    """
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"a readable id needs {ENTROPY_BYTES} random bytes, got {len(entropy)}")
    adjective = _ADJECTIVES[entropy[0] % len(_ADJECTIVES)]
    animal = _ANIMALS[entropy[1] % len(_ANIMALS)]
    return f"{adjective}-{animal}-{entropy[2:4].hex()}"
