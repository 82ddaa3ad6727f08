"""What a message can be delivered to, and the subscriptions that point at it.

The router knows a receiver only as a DeliveryTarget: an outbox, some protocol flags and counters. A worker's
client embeds it as its first member.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.routing.outbox cimport ChunkPool, Outbox
from shardbroker.subjects.sublist cimport SublistItem

cdef packed struct ConnectionRow:
    # shm/layout.py, CONNECTION_FIELDS: one row of the connection table, written by its worker alone.
    uint32_t state
    uint16_t port
    uint16_t reason
    uint64_t cid
    uint64_t start_ns
    uint64_t stop_ns
    uint64_t last_activity_ns
    uint64_t rtt_ns
    uint64_t in_msgs
    uint64_t in_bytes
    uint64_t out_msgs
    uint64_t out_bytes
    uint64_t pending_bytes
    uint32_t subscriptions
    uint32_t stalls
    uint32_t connected
    uint32_t account
    char ip[48]
    char lang[32]
    char version[32]
    char name[256]

cdef struct DeliveryTarget:
    Outbox outbox
    ChunkPool *pool
    ConnectionRow *row
    DeliveryTarget *next_dirty  # chain of targets with output to flush this turn
    uint64_t cid
    uint64_t pending_max  # bytes; above: slow consumer
    uint64_t congested_above  # bytes; above: publishers are paused
    uint64_t pause_until_ns  # as a publisher: do not read its socket before this
    uint64_t sent_size  # bytes ever written to the socket
    uint64_t window_start_ns  # progress window of the stall rule
    uint64_t window_sent_size
    uint32_t account
    uint8_t dirty  # in the dirty chain
    uint8_t closed  # nothing may be appended any more
    uint8_t overflowed  # passed pending_max: close as a slow consumer
    uint8_t headers  # wants HMSG
    uint8_t echo  # wants its own messages back
    uint8_t no_responders
    uint8_t may_stall  # its reading is fast enough to be worth waiting for
    uint8_t service  # no client: what comes for it is given to RouterOwner.on_service; the owner's own number
    uint32_t service_index  # the owner's own, too

cdef enum:
    SUBSCRIPTION_REMOVED = 1  # out of the sublist; memory goes at the end of the turn
    SUBSCRIPTION_LINGERING = 2  # a queue group's last member here, UNSUBbed: takes only frames in flight
    SUBSCRIPTION_LIMITED = 4  # UNSUB max was given

cdef struct Subscription:
    SublistItem item  # first: the sublist hands out pointers to it
    DeliveryTarget *target
    uint64_t queue_id  # 0: plain; else hash of the queue name
    uint64_t delivered  # messages
    uint64_t max_messages  # 0: no limit
    Subscription *next_removed
    uint32_t subject_size  # bytes
    uint32_t queue_size  # bytes
    uint32_t sid_size  # bytes
    uint8_t flags
    # subject, queue and sid bytes follow the struct


cdef inline uint8_t *subscription_subject(Subscription *subscription) noexcept nogil:
    return <uint8_t *> (subscription + 1)


cdef inline uint8_t *subscription_queue(Subscription *subscription) noexcept nogil:
    return <uint8_t *> (subscription + 1) + subscription.subject_size


cdef inline uint8_t *subscription_sid(Subscription *subscription) noexcept nogil:
    return <uint8_t *> (subscription + 1) + subscription.subject_size + subscription.queue_size
