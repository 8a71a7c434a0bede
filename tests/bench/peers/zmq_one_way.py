"""The bare limit between two nodes: single ZeroMQ frames from one process to another, in Python.

    zmq_one_way.py sink                            counts what comes, and answers each question
    zmq_one_way.py load ADDRESS BYTES SECONDS      prints `ran MESSAGES_PER_S P50_US P99_US`

The latency of one way is half of there and back, with nothing else under way.
"""

import statistics
import sys
import time

import zmq

QUESTION = b"?"
AT_ONCE = 10_000
"""Messages sent before the sink is asked whether it has them: one wait of 0.1 ms in 10 ms."""


def sink() -> None:
    """Take messages for ever."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as pair:
        pair.bind("tcp://127.0.0.1:0")
        print(f"listening {pair.getsockopt_string(zmq.LAST_ENDPOINT)}", flush=True)
        while True:
            if pair.recv() == QUESTION:
                pair.send(QUESTION)


def load(address: str, message_bytes: int, seconds: float) -> None:
    """Measure both."""
    message = b"x" * message_bytes
    with zmq.Context() as context, context.socket(zmq.PAIR) as pair:
        pair.set_hwm(0)
        pair.connect(address)
        count = 0
        start = time.perf_counter()
        while (took := time.perf_counter() - start) < seconds:
            for _ in range(AT_ONCE):
                pair.send(message)
            pair.send(QUESTION)
            pair.recv()
            count += AT_ONCE
        ways_us: list[float] = []
        until = time.perf_counter() + seconds
        while (sent := time.perf_counter()) < until:
            pair.send(QUESTION)
            pair.recv()
            ways_us.append((time.perf_counter() - sent) * 1e6 / 2)
        ways_us.sort()
        print(
            f"ran {count / took:.0f} {statistics.median(ways_us):.2f} {ways_us[len(ways_us) * 99 // 100]:.2f}"
        )


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        sink()
    else:
        load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
