"""A node spares the garbage collector, whichever command starts it. In a process of its own: this one needs its own."""

import subprocess
import sys

PROGRAM = """
import gc
import trio
from server.cli import serve
from server.config import LoadedConfig

async def run_node(config, **options):
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() == (collector.YOUNG_OBJECTS, collector.YOUNG_LOOKS, collector.MIDDLE_LOOKS)
    print("spared")
    nursery_is_left.cancel()

from server.cli import collector
serve.run_node = run_node

async def main():
    global nursery_is_left
    with trio.CancelScope() as nursery_is_left:
        await serve._serve(LoadedConfig(), False)

trio.run(main)
"""


def test_a_node_spares_the_garbage_collector() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ran.stdout == "spared\n", ran.stderr
