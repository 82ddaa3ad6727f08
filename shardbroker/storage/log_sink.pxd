"""Who receives what a log holds."""

from libc.stdint cimport uint8_t, uint64_t

from shardbroker.storage.frame cimport FrameHead, RecordHead


cdef class LogSink:
    cdef public bint wants_beat  # on_progress is called, about every 8 MiB
    # During calls made from a segment's index: of a record only the head (without its checksum), the subject
    # and, if it has flags, the header block are there, else zeros; of a frame's head no checksums.
    cdef public bint from_index

    # A record whose checksum is right. `position` is the log position of its head; the bytes are valid
    # during the call. Where the frame's head was lost, `frame` is put together from what is around it.
    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1
    # A frame without records; `position` is that of its head, the body is right.
    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1
    # A record that was overwritten on purpose after its message was deleted: its head and subject are there,
    # the rest is zeros. A FRAME_DELETE must follow; without one it is rot after all.
    cdef int on_erased(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1
    # Sequences that were given and cannot be read. (0, 0): frames that are not messages, or nobody knows.
    # (n, 0): from n on, and nobody knows how far.
    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1
    cdef int on_progress(self, uint64_t bytes_done) except -1
