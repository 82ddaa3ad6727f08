"""One stream of this worker with what belongs to it: reader, targets, subscriptions."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from shardbroker.jetstream.consumer_set cimport ConsumerSet
from shardbroker.jetstream.stream cimport Stream
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.shm.append_lane cimport LANE_NO_SYNC
from shardbroker.workers.log_reader cimport LogReader


cdef class Hosted:
    """A stream, its reader and its subscriptions."""

    def __init__(self, Stream stream, LogReader reader, uint32_t account, int memory_fd, bint no_sync):
        self.stream = stream
        self.reader = reader
        self.account = account
        self.memory = memory_fd >= 0
        self.memory_fd = memory_fd
        self.flags = LANE_NO_SYNC if no_sync else 0
        self.subscriptions = {}
        self.notes = {}
        self.attached = []
        self.consumers = ConsumerSet(stream.state, stream.config.retention)
        self.target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        self.direct_target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        if self.target == NULL or self.direct_target == NULL:
            raise MemoryError("no memory for a stream")
        self.target.account = self.direct_target.account = account
        self.target.service = SERVICE_STREAM
        self.direct_target.service = SERVICE_DIRECT

    def __dealloc__(self):
        free(self.owed)
        free(self.target)
        free(self.direct_target)
