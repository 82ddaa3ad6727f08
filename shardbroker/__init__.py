"""shardbroker: a NATS-compatible message broker on sharded worker processes."""

from shardbroker.version import __version__

__all__ = ["__version__"]
