"""The interface between the parser and what acts on the commands of one client.

The parser creates no object per message. It fills its own fields with ranges in the receive buffer and calls
one method of its sink; ``sink.pxd`` says how long those ranges live. The operations that change something are
abstract here; the three that a server may ignore are ignored.
"""

from shardbroker.protocol import states


class Sink:
    """One method per operation; each answers ``PROCEED``, ``PARK`` or ``STOP``."""

    def on_publish(self, parser):
        """PUB and HPUB: subject, reply, sizes and payload."""
        raise NotImplementedError

    def on_subscribe(self, parser):
        """SUB: subject, queue and sid."""
        raise NotImplementedError

    def on_unsubscribe(self, parser):
        """UNSUB: sid and max_messages."""
        raise NotImplementedError

    def on_connect(self, parser):
        """CONNECT: the argument is JSON, see ``connect_options.py``."""
        raise NotImplementedError

    def on_ping(self, parser):
        """PING: no argument."""
        raise NotImplementedError

    def on_pong(self, parser):
        """PONG: no argument."""
        return states.PROCEED

    def on_info(self, parser):
        """INFO: the argument is JSON."""
        return states.PROCEED

    def on_ok(self, parser):
        """+OK: no argument."""
        return states.PROCEED

    def on_client_error(self, parser):
        """-ERR: the argument is the text."""
        raise NotImplementedError
