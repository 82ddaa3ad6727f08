"""One stream of this worker with what belongs to it."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer_set cimport ConsumerSet
from shardbroker.jetstream.stream cimport Stream
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.workers.log_reader cimport LogReader

cpdef enum:
    # DeliveryTarget.service
    SERVICE_STREAM = 1  # messages to be stored
    SERVICE_DIRECT = 2  # direct get
    SERVICE_API = 3  # requests of the JetStream API
    SERVICE_CALL = 4  # anything else: a Python callable
    SERVICE_NEXT = 5  # pull requests of a consumer
    SERVICE_ACK = 6  # acknowledgements of a consumer
    SERVICE_FLOW = 7  # a push consumer's flow control
    # What a job of run_later() gives
    JOB_DONE = 0
    JOB_WAITS = 1
    JOB_PRESSES = 2
    JOB_SOON = 3

@cython.final
cdef class Hosted:
    """One stream with what belongs to it in this worker."""

    cdef readonly Stream stream
    cdef readonly LogReader reader
    cdef readonly bint memory
    cdef int memory_fd
    cdef readonly uint32_t account
    cdef readonly uint32_t index  # in the list of streams
    cdef DeliveryTarget *target
    cdef DeliveryTarget *direct_target
    cdef readonly dict subscriptions  # (kind, subject) -> number of the subscription
    cdef readonly bint touched  # its figures in the log table are to be written
    cdef uint64_t cleaned_base  # of the segment that is being cleaned (log_cleaning)
    cdef uint64_t cleaned_to  # sequences below were looked at
    cdef public dict notes  # kind -> bytes: the last notes in its log when it was read back
    cdef public object followers  # called() when the stream has changed; None: nobody follows it
    cdef readonly uint32_t flags  # of its lane records: LANE_NO_SYNC
    cdef readonly ConsumerSet consumers  # their states
    cdef readonly list attached  # HostedConsumer: the same with what belongs to each
    cdef bint has_changed  # in the list of streams whose consumers are to look
    cdef bint owes_notes  # in the list of streams whose consumers may have something to write down
    cdef uint8_t *owed  # acknowledgements that are answered with the next note: u32 account, u32 size, reply
    cdef uint32_t owed_size  # bytes
    cdef uint32_t owed_capacity
    cdef public object consumer_notes  # consumer_recovery.ConsumerNotes: what its log says, until they run
    cdef public object details  # what the API keeps about it (stream_api.Details)
