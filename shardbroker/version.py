"""The version of shardbroker, and the version of nats-server that it stands in for.

Clients gate features on the version in INFO and skip tests silently on an old one, so INFO, ``/varz``
and ``-v`` report the nats-server version whose behaviour we match.
"""

__version__ = "0.1.0"

#: Reported to clients in INFO and in ``/varz``.
NATS_VERSION = "2.15.1"

#: Level of the JetStream API in INFO. nats-server 2.15.1 reports it with JetStream off as well.
JETSTREAM_API_LEVEL = 5
