"""What travels in a ring: batches of frames.

A **batch** is what one release store of the head publishes. Its header carries the ticket (the order
between all rings, docs/internals/interest_causality.md) and the OR of its frames' masks, so that a worker
that no frame is for skips the whole batch.

A **frame** is one message for any number of workers: FrameHeader, then `pick_count` queue picks, then the
body, which is wire text: `subject SP [reply SP] sizes CRLF payload CRLF`, with whitespace normalised, so
that the deliverer copies it unchanged behind `MSG subject sid `.

A message larger than CHUNK_SIZE travels as several frames in a row: KIND_CHUNK carries pieces of the body,
the last piece is a KIND_MESSAGE frame with FLAG_CHUNKED and the rest of the body; its header fields speak
of the whole message.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    KIND_MESSAGE = 1
    KIND_CHUNK = 2  # a piece of a body; mask says who collects it

    FLAG_REDIRECTED = 1  # a queue pick that already moved once: drop rather than move again
    FLAG_CHUNKED = 2  # the body continues the chunks before it
    FLAG_FIRST = 4  # the first chunk of a message: what was collected before is void

cdef struct BatchHeader:
    uint32_t length  # bytes of the whole batch, this header included; a multiple of 8
    uint32_t frames  # number of frames
    uint64_t mask  # OR of the frames' masks
    uint64_t ticket

cdef struct FrameHeader:
    uint32_t length  # bytes of the whole frame, this header included; a multiple of 8
    uint8_t kind
    uint8_t flags
    uint16_t pick_count  # queue picks between header and body
    uint64_t mask  # bit w: worker w delivers it
    uint64_t subject_hash  # hash_bytes(subject, board seed) | 1
    uint32_t body_size  # bytes of wire text in this frame
    uint32_t subject_size  # bytes
    uint32_t reply_size  # bytes
    uint32_t payload_size  # bytes, NATS header block included
    int32_t header_size  # NATS header block in bytes, -1: none
    uint32_t account
    uint32_t publisher  # low half of the publisher's CID, for back-pressure
    # Not 0: the body is `subject SP shown SP [reply SP] ...`, and receivers see `shown`.
    uint32_t shown_size  # bytes

cdef struct QueuePick:
    uint64_t queue_hash
    uint64_t worker

cdef class FrameHandler:
    """Receives the frames of a round; the router derives from it."""

    cdef void on_frame(self, int worker, const FrameHeader *frame, const uint8_t *body) noexcept
    cdef void on_batch_end(self) noexcept
