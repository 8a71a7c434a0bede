"""What can go wrong in the mesh, and whose fault it is: that decides what dies.

MeshError
├── ConfigurationError   this node's operator: the start stops with the message
├── BindError            this node's machine: the start stops with the message
├── CardError            a peer's: the card is ignored, the node named
├── AddressError         a peer's: its card names an address that nobody can connect to; it is not connected to
├── FrameError           a peer's: the frame is dropped and counted
└── PoolUnavailable      the pool's: the node goes on without it and tries again
"""


class MeshError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigurationError(MeshError, ValueError):
    """The mesh was configured in a way that cannot work; the message says what to change."""


class BindError(MeshError):
    """A mesh address cannot be bound: taken, not on this machine, or not understood."""


class CardError(MeshError):
    """A card is not well formed, or its seal does not fit the cluster's secret."""


class AddressError(MeshError):
    """An address on a peer's card is none that this transport can connect to."""


class FrameError(MeshError):
    """Bytes from a peer are no message of the mesh protocol."""


class PoolUnavailable(MeshError):
    """The pool did not answer in time, or refused; the cause is chained."""
