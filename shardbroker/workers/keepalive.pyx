"""Deadlines of clients on a timer wheel of 128 slots, 50 ms each.

A client stands in one slot. When the wheel reaches it, all its deadlines are looked at and it is put where
the next one falls due, at most a turn of the wheel away. So ten thousand idle clients cost some thousand
looks a second, and no client needs a timer object.

Rules of PING (nats-server processPingTimer): the first PING goes out about two seconds after CONNECT and
measures the round trip; after that one each ping_interval, unless something came from the client within the
interval; `ping_max` unanswered ones make the connection stale at the next interval.
"""

from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport memset

from shardbroker.workers.client cimport Client
from shardbroker.workers.connections cimport Connections
from shardbroker.workers.session cimport client_label

from shardbroker import limits
from shardbroker.shm.layout import CLOSE_REASONS

cdef enum:
    TICK_NS = 50_000_000

cdef uint16_t REASON_STALE = CLOSE_REASONS.index("Stale Connection")
cdef uint16_t REASON_AUTH_TIMEOUT = CLOSE_REASONS.index("Authentication Timeout")
cdef uint16_t REASON_WRITE_DEADLINE = CLOSE_REASONS.index("Slow Consumer (Write Deadline)")


cdef class Keepalive:
    """The deadlines of one worker's clients; `options` gives the intervals."""

    def __cinit__(self, Connections connections, options, uint64_t now_ns):
        self.connections = connections
        self.started_ns = now_ns
        self.ping_interval_ns = <uint64_t> (options.ping_interval_s * 1e9)
        self.first_ping_ns = min(self.ping_interval_ns, <uint64_t> (limits.first_ping_delay_s * 1e9))
        self.write_deadline_ns = <uint64_t> (options.write_deadline_s * 1e9)
        self.pings_max = options.ping_max
        # A socket may fill up at any time without anybody scheduling its write deadline: look often enough.
        self.ticks_max = max(1, min(<uint64_t> (WHEEL_SLOTS - 1), self.write_deadline_ns // TICK_NS // 4))
        memset(self.slots, 0, sizeof(self.slots))

    cdef void schedule(self, Client *client, uint64_t due_ns, uint64_t now_ns) noexcept:
        """Put the client where `due_ns` falls, at least one tick and at most a turn of the wheel ahead."""
        cdef uint64_t ticks = 1
        cdef uint64_t slot
        if client.target.closed:
            return
        if due_ns > now_ns:
            ticks = (due_ns - now_ns) // TICK_NS + 1
        if ticks > self.ticks_max:
            ticks = self.ticks_max
        self.forget(client)
        slot = (self.position + ticks) & (WHEEL_SLOTS - 1)
        client.timer_previous = NULL
        client.timer_next = self.slots[slot]
        if client.timer_next != NULL:
            client.timer_next.timer_previous = client
        self.slots[slot] = client
        client.in_timer = <unsigned char> (slot + 1)

    cdef void forget(self, Client *client) noexcept:
        """Take the client out of the wheel."""
        if not client.in_timer:
            return
        if client.timer_next != NULL:
            client.timer_next.timer_previous = client.timer_previous
        if client.timer_previous != NULL:
            client.timer_previous.timer_next = client.timer_next
        else:
            self.slots[client.in_timer - 1] = client.timer_next
        client.in_timer = 0

    cdef void welcome(self, Client *client, uint64_t now_ns) noexcept:
        """A client was adopted: the first PING runs from here, or from CONNECT when that comes."""
        # nats-server spreads the first PING by up to 20 %, so that a storm of connections is not answered
        # by a storm of PINGs.
        cdef uint64_t spread = (client.target.cid * 7919) % (self.first_ping_ns // 5 + 1)
        client.next_ping_ns = now_ns + self.first_ping_ns + spread
        self.schedule(client, client.next_ping_ns, now_ns)

    cdef void connected(self, Client *client, uint64_t now_ns) noexcept:
        """CONNECT came: its time from the start is the first estimate of the round trip."""
        if client.target.row.rtt_ns == 0:
            client.target.row.rtt_ns = now_ns - client.start_ns
        self.welcome(client, now_ns)

    cdef void tick(self, uint64_t now_ns) noexcept:
        """Look at the clients of every slot whose time has come."""
        cdef uint64_t until = (now_ns - self.started_ns) // TICK_NS
        cdef Client *client
        while self.position < until:
            self.position += 1
            # check() puts each client into another slot, so the chain empties.
            while self.slots[self.position & (WHEEL_SLOTS - 1)] != NULL:
                client = self.slots[self.position & (WHEEL_SLOTS - 1)]
                self.forget(client)
                self.check(client, now_ns)

    cdef void check(self, Client *client, uint64_t now_ns) noexcept:
        """Act on what is due for one client and schedule what comes next."""
        cdef uint64_t due
        if client.target.closed:
            return
        if client.blocked_since_ns and now_ns - client.blocked_since_ns >= self.write_deadline_ns:
            self.connections.router.statistics.slow_consumers += 1
            self.connections.log.info(
                f"{client_label(client)} - Slow Consumer Detected: WriteDeadline of "
                f"{self.write_deadline_ns / 1e9:g}s exceeded with {client.target.outbox.size} total bytes."
            )
            self.connections.close(client, REASON_WRITE_DEADLINE)
            return
        if client.connect_deadline_ns and now_ns >= client.connect_deadline_ns:
            self.connections.session.fail(client, b"Authentication Timeout", REASON_AUTH_TIMEOUT)
            client.connect_deadline_ns = 0
        if client.parked or client.paused:
            # Its answers are not read while it waits for us: silence says nothing.
            client.pings_outstanding = 0
        if now_ns >= client.next_ping_ns and client.closing == 0:
            if (
                now_ns - client.last_input_ns >= self.ping_interval_ns
                or client.first_ping_sent == 0
                or client.pings_outstanding
            ):
                if client.pings_outstanding + 1 > self.pings_max:
                    self.connections.router.statistics.stale_connections += 1
                    self.connections.session.fail(client, b"Stale Connection", REASON_STALE)
                    client.next_ping_ns = now_ns + self.ping_interval_ns
                    self.schedule(client, client.next_ping_ns, now_ns)
                    return
                client.first_ping_sent = 1
                client.pings_outstanding += 1
                client.ping_sent_ns = now_ns
                self.connections.session.say(client, b"PING\r\n")
            client.next_ping_ns = now_ns + self.ping_interval_ns
        due = client.next_ping_ns
        if client.blocked_since_ns:
            due = min(due, client.blocked_since_ns + self.write_deadline_ns)
        if client.connect_deadline_ns:
            due = min(due, client.connect_deadline_ns)
        self.schedule(client, due, now_ns)
