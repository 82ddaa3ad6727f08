"""The families of errors, by the question a catcher asks.

Raise where it is found, translate at the border of a layer, log once at the place that decides. Back
pressure is never an exception: what is full answers with a value. ``assert`` is for our own bugs only.
"""


class ShardbrokerError(Exception):
    """Root of everything the broker raises on purpose."""


class ConfigError(ShardbrokerError):
    """The operator asked for something impossible: tell them what and the remedy, exit code 1."""


class UsageError(ConfigError):
    """The command line could not be read: told together with the usage text."""


class StartError(ShardbrokerError):
    """The machine refuses what the broker needs to start (port in use, no room in /dev/shm)."""


class StorageError(ShardbrokerError):
    """The store gives no right answer: a read failed, or what was read fails its checks."""


class ColdRead(StorageError):
    """What is asked for must come from disk, and the asker did not want to wait: ask again in a moment."""


class ProtocolError(ShardbrokerError):
    """A peer, client or process, broke the rules of its protocol: close the connection."""


class ClientError(ShardbrokerError):
    """Tell the client ``wire_text`` by ``-ERR`` and go on."""

    wire_text = ""


class FatalClientError(ClientError):
    """Tell the client ``wire_text`` by ``-ERR``, then close its connection."""
