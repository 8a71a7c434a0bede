"""The bare limit: a Python loop that writes one prepared frame into every subscriber's socket, and does nothing else.

    bare.py PORT FRAME_BYTES PUBLISH_BYTES FAN

`/sub` subscribes, `/pub` publishes. What a publisher sends is only counted: so many bytes are one publish. Publishes
that arrived in one read are written as one. FAN is how many subscribers, in turn, one publish goes to; 0 is all.
No server can be faster in this language: what it costs on top is what a real one does.
"""

import base64
import hashlib
import re
import select
import socket
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: bytes) -> bytes:
    """Return the answer to a handshake's key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def main(port: int, frame_bytes: int, publish_bytes: int, fan: int) -> None:
    """Serve until the input ends."""
    payload = b"x" * (frame_bytes - 4)
    frame = b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        listener.setblocking(False)
        print(f"listening {listener.getsockname()[1]}", flush=True)
        serve(listener, frame, publish_bytes, fan)


def serve(listener: socket.socket, frame: bytes, publish_bytes: int, fan: int) -> None:
    """Do it, in one loop."""
    clients: dict[int, socket.socket] = {}
    subscribers: list[socket.socket] = []
    publishers: dict[int, int] = {}
    turn = 0
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    epoll.register(sys.stdin, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client
                epoll.register(client, select.EPOLLIN)
            elif fd == sys.stdin.fileno():
                return
            elif not (data := clients[fd].recv(65_536)):
                epoll.unregister(fd)
                clients.pop(fd).close()
            elif fd in publishers:
                count, publishers[fd] = divmod(publishers[fd] + len(data), publish_bytes)
                if not fan:
                    joined = frame * count
                    for subscriber in subscribers:
                        subscriber.send(joined)
                    continue
                for _ in range(count * fan):
                    subscribers[turn].send(frame)
                    turn = (turn + 1) % len(subscribers)
            elif key := re.search(rb"Sec-WebSocket-Key: (\S+)", data):
                head = b"HTTP/1.1 101 Go on\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                clients[fd].send(head + b"Sec-WebSocket-Accept: " + accept_key(key[1]) + b"\r\n\r\n")
                if data.startswith(b"GET /pub"):
                    publishers[fd] = 0
                else:
                    subscribers.append(clients[fd])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
