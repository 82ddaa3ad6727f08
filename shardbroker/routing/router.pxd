"""publish(): match, choose queue members, write the ring, fill outboxes. The heart of the data path."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget, Subscription
from shardbroker.routing.gap cimport Gap
from shardbroker.routing.outbox cimport ChunkPool
from shardbroker.routing.overflow cimport Overflow
from shardbroker.routing.route_cache cimport Route, RouteCache, RouteGroup
from shardbroker.shm.frame cimport FrameHandler, FrameHeader, QueuePick
from shardbroker.shm.offsets cimport WORKERS_MAX
from shardbroker.shm.ring cimport Outbound

cdef enum:
    PUBLISHED_NONE = 0  # nobody took it
    PUBLISHED = 1
    BACK_PRESSURED = -2  # the ring is full: nothing was delivered, try the same message again later

cdef struct PublishView:
    # One message as ranges of somebody's buffer, valid only during the call it is passed to.
    const uint8_t *subject
    const uint8_t *reply
    const uint8_t *tail  # wire text behind `subject SP`: [reply SP] sizes CRLF payload CRLF
    const uint8_t *payload  # header block (if any) and payload
    uint64_t tail_size  # bytes
    uint64_t hash  # of the subject
    uint32_t subject_size  # bytes
    uint32_t reply_size  # bytes
    uint32_t account
    uint32_t payload_size  # bytes, header block included
    int32_t header_size  # bytes, -1: no header block
    uint32_t publisher  # low half of the publisher's CID
    int32_t publisher_worker
    uint32_t shown_size  # bytes; not 0: the tail begins with `shown SP`, the subject that receivers see

cdef struct Statistics:
    # shm/layout.py STATISTICS, in the same order.
    uint64_t in_msgs
    uint64_t in_bytes
    uint64_t out_msgs
    uint64_t out_bytes
    uint64_t connections
    uint64_t connections_total
    uint64_t subscriptions
    uint64_t slow_consumers
    uint64_t stale_connections
    uint64_t stalled_clients
    uint64_t outbound_size
    uint64_t outbound_largest
    uint64_t ring_messages_out
    uint64_t ring_bytes_out
    uint64_t ring_messages_in
    uint64_t ring_batches_out
    uint64_t ring_full
    uint64_t ring_fill
    uint64_t doorbells_rung
    uint64_t doorbells_heard
    uint64_t route_hits
    uint64_t route_misses
    uint64_t no_responders
    uint64_t drops
    uint64_t redirects
    uint64_t loop_turns
    uint64_t reads
    uint64_t writes
    uint64_t protocol_errors
    uint64_t queue_unsub_waits
    uint64_t connections_moved
    uint64_t input_parked
    uint64_t api_requests
    uint64_t api_errors

cdef struct Reassembly:
    uint8_t *data
    uint64_t size
    uint64_t capacity

cdef class RouterOwner:
    """What the router asks of the process around it."""

    cdef void on_exhausted(self, Subscription *subscription) noexcept
    cdef void on_output_due(self) noexcept
    cdef void on_traced(self, DeliveryTarget *target, const uint8_t *line, uint64_t size) noexcept
    cdef bint on_service(
        self, Subscription *subscription, PublishView *view, DeliveryTarget *publisher
    ) noexcept

@cython.final
cdef class Router(FrameHandler):
    cdef RouteCache routes
    cdef Outbound outbound
    cdef Overflow overflow
    cdef RouterOwner owner
    cdef Statistics *statistics
    cdef uint64_t *pressure  # board cells of all workers
    cdef ChunkPool pool
    cdef DeliveryTarget *dirty  # chain of targets to flush
    cdef uint64_t seed
    cdef uint64_t random_state
    cdef uint64_t now_ns  # CLOCK_MONOTONIC, set once a turn by the loop
    cdef uint64_t reassembly_max  # bytes of one message put together from chunks
    cdef uint64_t flush_at_size  # output_size at which a round writes its output before it goes on
    cdef uint64_t output_size  # bytes ever appended to outboxes, 64 added a message: a measure of work
    cdef uint64_t chunk_size  # largest body in one frame
    cdef int worker_index
    cdef bint stall_allowed
    cdef bint tracing  # tell the owner of every delivery
    cdef bint services_full  # messages for services wait with their publishers
    cdef Gap gap  # subjects whose stream has no owner just now, or None
    cdef QueuePick *picks
    cdef Subscription **chosen
    cdef uint32_t pick_count
    cdef uint32_t chosen_count
    cdef uint32_t pick_capacity
    cdef Reassembly reassembly[WORKERS_MAX]

    cdef int publish(self, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef int publish_own(self, PublishView *view) noexcept
    cdef int publish_shown(self, PublishView *view) noexcept
    cdef bint is_for_service(self, Route *route) noexcept
    cdef bint deliver(self, Subscription *subscription, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef void deliver_stripped(self, Subscription *subscription, PublishView *view) noexcept
    cdef void append(self, DeliveryTarget *target, const uint8_t *data, uint64_t size) noexcept
    cdef void mark_dirty(self, DeliveryTarget *target) noexcept
    cdef void congested(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef bint choose_members(self, Route *route, DeliveryTarget *publisher, uint64_t *mask) noexcept
    cdef bint choose_remote(self, Route *route, RouteGroup *group, uint64_t *mask) noexcept
    cdef FrameHeader *claim_frame(self, uint64_t size, uint64_t mask, bint at_once) noexcept
    cdef void commit_frame(self, uint64_t size, uint64_t mask) noexcept
    cdef int write_frame(self, PublishView *view, uint64_t mask, uint8_t flags, bint at_once) noexcept
    cdef void fill_frame(self, FrameHeader *frame, PublishView *view, uint64_t mask, uint8_t flags) noexcept
    cdef int write_chunked(self, PublishView *view, uint64_t mask, uint8_t flags, bint at_once) noexcept
    cdef void redirect(self, PublishView *view, uint64_t queue_hash, uint8_t flags) noexcept
    cdef bint deliver_pick(self, Route *route, PublishView *view, uint64_t queue_hash) noexcept
    cdef void no_responders(self, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef void forget_producer(self, int worker) noexcept
    cdef uint64_t random(self) noexcept
