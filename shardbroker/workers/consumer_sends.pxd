"""Sends messages of streams, and statuses, to those who receive from consumers."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport Delivery
from shardbroker.storage.frame cimport RecordHead
from shardbroker.workers.consumer_service cimport ConsumerService
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer
from shardbroker.workers.stream_host cimport StreamHost

cdef enum:
    WINDOWS = 4

cdef struct Window:
    # A piece of a log that was read ahead.
    void *owner  # the Hosted; NULL: free
    uint8_t *data
    uint64_t capacity  # bytes
    uint64_t size  # bytes
    uint64_t position  # in the log
    uint64_t used  # number of the last use

cdef class ConsumerSends(ConsumerService):
    cdef StreamHost host
    cdef object log
    cdef Window windows[WINDOWS]
    cdef uint64_t uses
    cdef uint8_t *scratch
    cdef uint64_t scratch_size  # bytes
    cdef uint8_t ack_subject[1200]  # the reply subject of the message that is being sent
    cdef uint32_t ack_size  # bytes
    cdef bint is_cold  # a record is on its way from the disk: try again in a millisecond

    cdef const RecordHead *record_of(self, Hosted hosted, uint64_t sequence) noexcept
    cdef const RecordHead *read_ahead(self, Hosted hosted, uint64_t sequence) except? NULL
    cdef void forget_windows(self, Hosted hosted) noexcept
    cdef uint64_t write_ack_subject(
        self, HostedConsumer one, const Delivery *delivery, const RecordHead *record
    ) noexcept
    cdef uint32_t write_added(
        self, HostedConsumer one, uint32_t payload_size, const uint8_t *pin, uint32_t pin_size, uint8_t *place
    ) noexcept
    cdef int send_message(
        self, HostedConsumer one, const RecordHead *record, const uint8_t *to, uint32_t to_size,
        const uint8_t *pin, uint32_t pin_size,
    ) noexcept
    cdef bint skip(self, HostedConsumer one, const Delivery *delivery, uint64_t wall_ns) noexcept
