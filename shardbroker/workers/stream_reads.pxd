"""Reading messages of this worker's streams back."""

from libc.stdint cimport uint64_t

from shardbroker.routing.router cimport PublishView
from shardbroker.storage.frame cimport RecordHead
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.service_requests cimport ServiceRequests

cdef class StreamReads(ServiceRequests):
    cdef bint take_direct(self, Hosted hosted, PublishView *view) noexcept
    cdef const RecordHead *find_record(self, Hosted hosted, uint64_t sequence) except? NULL
    cdef void send_record(self, Hosted hosted, PublishView *view, const RecordHead *record) noexcept
