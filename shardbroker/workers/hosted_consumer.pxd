"""One consumer of a stream of this worker with what belongs to it: who waits for its messages."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport Consumer
from shardbroker.jetstream.push_flow cimport PushFlow
from shardbroker.jetstream.waiting_pulls cimport WaitingPulls
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.workers.hosted cimport Hosted

@cython.final
cdef class HostedConsumer:
    cdef readonly Consumer consumer
    cdef readonly Hosted hosted
    cdef readonly str name
    cdef readonly uint32_t index  # DeliveryTarget.service_index
    cdef DeliveryTarget *next_target
    cdef DeliveryTarget *ack_target
    cdef DeliveryTarget *flow_target
    cdef bytes ack_prefix
    cdef public list numbers  # of its subscriptions
    cdef readonly bint is_pull
    cdef bint is_plain  # a usual pull request needs no further checks
    cdef public bint is_gone
    cdef public bint is_held  # nothing is sent before its creation was answered
    cdef bint headers_only
    cdef readonly bint is_memory  # what is written down of it ends with the broker's process
    cdef readonly bint is_lazy  # and is written down now and then: it promises nothing for what it has sent
    cdef bint is_ready  # in the list of those that may have something to deliver
    cdef public uint64_t active_ns  # wall clock of the last request, delivery or acknowledgement
    cdef public uint64_t delivered_ns  # wall clock; 0: never
    cdef public uint64_t acked_ns
    cdef public uint32_t sample_percent
    # sequence of a dead letter -> [(account, reply)]: whoever waits until it is stored
    cdef public dict dead_replies
    # notes in the log
    cdef public bint wants_snapshot
    cdef public bint is_noting  # configuration and snapshot are on their way to the log
    cdef public bint is_noted  # something of it is in the log
    cdef public bint is_note_time  # a lazy one is to be written down
    cdef public uint64_t noted_at  # log position behind which both are stored; 0: nowhere
    cdef public uint64_t delta_size  # bytes of deltas since then
    # pull
    cdef readonly WaitingPulls pulls
    # push
    cdef readonly bytes deliver_subject
    cdef readonly bytes deliver_group  # b"": none
    cdef public bint is_bound  # somebody listens to the deliver subject
    cdef readonly PushFlow flow
    cdef uint64_t flow_number  # of the last flow control request
    cdef uint64_t rate  # bytes a second; 0: no limit
    cdef uint64_t burst_size  # bytes that may exceed it
    cdef uint64_t burst_ns  # time for which the rate may be exceeded
    cdef uint64_t paid_until_ns  # wall clock: what was sent is paid for then
    # push and pull
    cdef bint replays_original
    cdef uint64_t replay_until  # sequence: what comes later is not replayed
    cdef uint64_t replay_time_ns  # of the last message
    cdef readonly uint64_t not_before_ns  # wall clock: rate limit, gaps of an original replay; 0: nothing
    cdef uint64_t due_ns  # wall clock: something is to be done then; 0: nothing is known. May be too early
