"""One client connection as plain memory: the delivery target, the socket, the session state.

A C struct, not a Python object: ten thousand idle connections are cheap, and the path from socket to socket
touches no reference count. Made by `client_new`, ended by `client_free`; between them the worker that adopted
the socket is the only one that knows it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.routing.delivery_target cimport ConnectionRow, DeliveryTarget, Subscription

cdef enum:
    # Why the input of a client is not parsed at the moment; any bit set: parked.
    PARKED_RING_FULL = 1  # its message waits for space in the own ring
    PARKED_LEAVING = 2  # its UNSUB of a queue group's last member is not finished

    CLOSING_NONE = 0
    CLOSING_FLUSH = 1  # write what is pending (an -ERR), then close
    CLOSING_NOW = 2

cdef struct Client:
    DeliveryTarget target  # first: the router knows a client as this
    Client *next_ready  # chain of clients whose socket may have input
    Client *previous_ready
    Client *next_open  # chain of all open clients
    Client *previous_open
    Client *next_closed  # chain of clients to free at the end of the turn
    Client *timer_next  # chain of one slot of the timer wheel
    Client *timer_previous
    Subscription **sids  # open-addressing table by sid
    uint32_t sid_capacity  # slots, a power of two, 0 before the first SUB
    uint32_t sid_count  # subscriptions
    uint32_t sid_deleted  # slots that only keep a probe going
    int fd
    int row_index  # of the connection table; -1: a private row
    uint8_t *input  # unparsed bytes, NULL when there are none
    uint32_t input_size  # bytes
    uint32_t input_capacity  # bytes
    uint64_t last_input_ns  # CLOCK_MONOTONIC
    uint64_t ping_sent_ns
    uint64_t next_ping_ns
    uint64_t connect_deadline_ns  # authentication must be done by then; 0: not required or done
    uint64_t blocked_since_ns  # the socket took no bytes since then; 0: it is writable
    uint64_t start_ns
    uint16_t reason  # index into layout.CLOSE_REASONS
    uint8_t closing
    uint8_t parked
    uint8_t in_ready
    uint8_t in_timer
    uint8_t readable  # the socket may have input (edge-triggered)
    uint8_t writable
    uint8_t hung_up  # the peer closed or the read failed; what was read is still handled
    uint8_t connect_received
    uint8_t first_pong_sent
    uint8_t first_ping_sent
    uint8_t verbose
    uint8_t pedantic
    uint8_t careful  # a PUB needs more than the short way: verbose, pedantic, or the first one
    uint8_t protocol
    uint8_t pings_outstanding
    uint8_t executed  # a SUB or PUB was executed: it cannot be moved any more
    uint8_t moved  # came from another worker, or may not move any more
    int move_to  # worker + 1 that it should go to before anything is executed; 0: stays
    uint8_t leave_verbose  # an UNSUB's +OK waits for the leave to finish
    uint8_t yielded  # its input is put aside so that others get their turn
    uint8_t publish_answered  # the +OK of a parked PUB is sent already
    uint8_t has_whole_input  # the own buffer may hold whole operations (it was parked)
    uint8_t paused  # in the loop's list of parked clients
    # Progress of the parser inside an incomplete operation (protocol/parser.pxd).
    int parser_state
    int64_t parser_scanned
    int64_t parser_need


cdef Client *client_new(int fd, uint64_t cid) noexcept
cdef void client_free(Client *client) noexcept
cdef Subscription *client_find(Client *client, const uint8_t *sid, uint32_t size) noexcept
cdef int client_add(Client *client, Subscription *subscription) noexcept
cdef void client_remove(Client *client, Subscription *subscription) noexcept
cdef int client_keep_input(Client *client, const uint8_t *data, uint64_t size, uint64_t room) noexcept
cdef Subscription *subscription_new(
    const uint8_t *subject, uint32_t subject_size,
    const uint8_t *queue, uint32_t queue_size,
    const uint8_t *sid, uint32_t sid_size,
) noexcept
