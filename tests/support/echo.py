"""An App that sends every WebSocket message back, so that how it was carried is all that can be judged."""

from server.app import App
from server.core.frames import Opcode, text_frame
from server.core.session import Session
from server.execution import Answer


class EchoApp(App):
    """Takes clients as every App does, and their messages as they are: text, binary, empty."""

    def receive_message(self, session: Session, data: str | bytes) -> Answer | None:
        """Send the message back in a frame of its own kind."""
        session.write(text_frame(data.encode()) if isinstance(data, str) else binary_frame(data))
        return None


def binary_frame(payload: bytes) -> bytes:
    """Return an unmasked, unfragmented binary frame."""
    return bytes((0x80 | Opcode.BINARY,)) + text_frame(payload)[1:]
