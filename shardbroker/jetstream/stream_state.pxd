"""What a stream is: its messages, subjects, ids and limits, changed by applying committed frames in order."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.jetstream.dedupe_window cimport DedupeWindow
from shardbroker.jetstream.expiry_heap cimport ExpiryHeap
from shardbroker.jetstream.message_table cimport MessageEntry, MessageTable
from shardbroker.jetstream.stream_watcher cimport StreamWatcher
from shardbroker.jetstream.subject_table cimport SubjectEntry, SubjectTable
from shardbroker.storage.frame cimport DedupeEntry, FrameHead, RecordHead

cdef enum:
    SIZE_MASK = 0x3FFFFFFF  # MessageEntry.size; above it:
    IS_MARKER = 0x40000000  # a delete marker, which leaves none behind
    OUTLIVES_SHIFT = 31  # the top bit: outlives max_age

cdef struct SegmentInfo:
    uint64_t base  # log position of its first frame
    uint64_t end  # log position behind its last frame so far
    uint64_t capacity  # bytes
    uint64_t live_size  # bytes, as accounted, of the messages that lie in it
    uint64_t live  # messages that lie in it
    uint64_t last_id_ns  # time of the youngest message with an id in it
    uint64_t last_index  # of its last frame

@cython.final
cdef class StreamState:
    cdef:
        readonly MessageTable messages
        readonly SubjectTable subjects
        readonly DedupeWindow dedupe
        ExpiryHeap expiries
        readonly uint64_t bytes  # as nats-server accounts for them
        readonly uint64_t first_time_ns  # of the first message, exact; 0: not known, or there is none
        readonly uint64_t removal_index  # of the last frame that removed or moved messages
        bint goes_without_frame  # what is being removed
        readonly uint64_t last_time_ns  # of the last sequence, exact
        readonly uint64_t lost  # messages that were committed and could not be read back
        readonly uint64_t applied_index
        readonly uint64_t purged  # messages that the last purge removed
        int64_t max_messages  # -1: no limit, like the next three
        int64_t max_bytes
        int64_t max_per_subject
        uint64_t max_age_ns  # 0: no limit
        uint64_t duplicate_window_ns
        bint memory
        bint markers  # the last message of a subject that expires leaves a delete marker
        SegmentInfo *segments
        uint32_t segment_count
        uint32_t segment_capacity
        readonly list expired_subjects  # subjects that owe a delete marker
        StreamWatcher watcher  # told of what is stored and removed; None: nobody asks
        bint replaying  # the log is read at start: ids enter the window as well
        uint64_t replay_now_ns

    cdef int apply_record(self, const RecordHead *record, uint64_t position) noexcept
    cdef int apply_relocated(self, const RecordHead *record, uint64_t position) noexcept
    cdef int insert_moved(self, const RecordHead *record, uint64_t position) noexcept
    cdef void fill_entry(
        self, MessageEntry *entry, const RecordHead *record, uint64_t position, uint32_t subject_id
    ) noexcept
    cdef int apply_other(self, const FrameHead *frame, const uint8_t *body) noexcept
    cdef uint64_t next_on(self, uint64_t sequence, const uint8_t *filter, uint32_t size) noexcept
    cdef uint64_t along(self, uint64_t sequence, uint64_t least) noexcept
    cdef uint64_t last_on(self, const uint8_t *filter, uint32_t size) noexcept
    cdef void delete_run(self, uint64_t first, uint64_t count) noexcept
    cdef void remember_id(self, const RecordHead *record) noexcept
    cdef void remember_dropped_ids(self, const DedupeEntry *entries, uint64_t count) noexcept
    cdef uint64_t following(self, MessageEntry *entry, uint64_t sequence) noexcept
    cdef bint is_wanted(self, uint32_t id, const uint8_t *filter, uint32_t size) noexcept
    cdef void clear_all(self) noexcept
    cdef uint64_t accounted_size(self, uint32_t subject, uint32_t header, uint32_t payload) noexcept
    cdef void remove_message(self, uint64_t sequence) noexcept
    cdef uint64_t link_before(self, SubjectEntry *subject, uint64_t sequence) noexcept
    cdef void enforce_limits(self) noexcept
    cdef void purge(self, uint64_t below, uint64_t keep, const uint8_t *filter, uint32_t size) noexcept
    cdef void purge_subject(self, SubjectEntry *subject, uint64_t below, uint64_t keep) noexcept
    cdef uint64_t count_matching(self, const uint8_t *filter, uint32_t size) noexcept
    cdef int expire(self, uint64_t now_ns, uint32_t most) noexcept
    cdef bint expire_one(self, uint64_t sequence) noexcept
    cdef SegmentInfo *segment_of(self, uint64_t position) noexcept
    cdef int note_frame(self, uint64_t base, uint64_t capacity, uint64_t end, uint64_t index) noexcept
    cdef void drop_segment(self) noexcept
    cdef uint32_t expire_messages(self, uint64_t now_ns, uint32_t most) noexcept
    cdef uint64_t take_back(self, uint64_t position, uint64_t index) noexcept
