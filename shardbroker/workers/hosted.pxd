"""One stream of this worker with what belongs to it."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.stream cimport Stream
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.workers.log_reader cimport LogReader

cdef enum:
    # DeliveryTarget.service
    SERVICE_STREAM = 1  # messages to be stored
    SERVICE_DIRECT = 2  # direct get
    SERVICE_API = 3  # requests of the JetStream API
    SERVICE_CALL = 4  # anything else: a Python callable
    # What a job of run_later() gives
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
    cdef public dict notes  # kind -> bytes: the last notes in its log when it was read back
    cdef public object followers  # called() when the stream has changed; None: nobody follows it
    cdef readonly uint32_t flags  # of its lane records: LANE_NO_SYNC
    cdef public object details  # what the API keeps about it (stream_api.Details)
