"""What travels with a connection that moves to another worker (moving.pyx says when).

It said hello but has not done anything yet: no subscription, no pending output; its unparsed input travels
beside this. Checklist: a field of Client that CONNECT or PING sets -> both functions here.
"""

from shardbroker.workers.client cimport Client
from shardbroker.workers.session cimport copy_text


cdef dict saved_state(Client *client):
    """What another worker must know of a connection that said hello but has not done anything yet."""
    return {
        "connect_received": client.connect_received,
        "first_pong_sent": client.first_pong_sent,
        "first_ping_sent": client.first_ping_sent,
        "verbose": client.verbose,
        "pedantic": client.pedantic,
        "protocol": client.protocol,
        "echo": client.target.echo,
        "headers": client.target.headers,
        "no_responders": client.target.no_responders,
        "start_ns": client.target.row.start_ns,
        "rtt_ns": client.target.row.rtt_ns,
        "name": (<bytes> client.target.row.name).decode("utf-8", "replace"),
        "lang": (<bytes> client.target.row.lang).decode("utf-8", "replace"),
        "version": (<bytes> client.target.row.version).decode("utf-8", "replace"),
    }


cdef int restore_state(Client *client, dict state) except -1:
    """The other side of saved_state."""
    client.moved = 1
    client.connect_received = state["connect_received"]
    client.first_pong_sent = state["first_pong_sent"]
    client.first_ping_sent = state["first_ping_sent"]
    client.verbose = state["verbose"]
    client.pedantic = state["pedantic"]
    client.protocol = state["protocol"]
    client.careful = 1
    client.target.echo = state["echo"]
    client.target.headers = state["headers"]
    client.target.no_responders = state["no_responders"]
    client.target.row.connected = client.connect_received
    client.target.row.start_ns = state["start_ns"]
    client.target.row.rtt_ns = state["rtt_ns"]
    copy_text(client.target.row.name, 256, state["name"])
    copy_text(client.target.row.lang, 32, state["lang"])
    copy_text(client.target.row.version, 32, state["version"])
    return 0
