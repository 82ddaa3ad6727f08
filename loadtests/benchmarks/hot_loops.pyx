# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Loops over the C interfaces of the broker, so that a benchmark times them and not the calls from Python.

Built on demand by build.py into loadtests/out/build; it is no part of the program. Every function does
`count` operations and returns something that the caller checks, so that the compiler cannot leave them out.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from shardbroker.protocol.parser cimport Parser
from shardbroker.protocol.sink cimport Sink
from shardbroker.shm.frame cimport KIND_MESSAGE, FrameHandler, FrameHeader
from shardbroker.shm.interest_directory cimport (
    InterestDirectory,
    RemoteInterest,
    RouteStamp,
    remote_interest_free,
    remote_interest_init,
)
from shardbroker.shm.ring cimport Inbound, Outbound
from shardbroker.subjects.match_result cimport (
    MatchResult,
    match_result_clear,
    match_result_free,
    match_result_init,
)
from shardbroker.subjects.member_list cimport SublistItem
from shardbroker.subjects.sublist cimport Sublist


cdef class CountingSink(Sink):
    """Counts messages and their bytes, and does nothing else."""

    cdef readonly uint64_t messages
    cdef readonly uint64_t payload_bytes

    cdef int on_publish(self, Parser parser) except -1:
        self.messages += 1
        self.payload_bytes += parser.total_size
        return 0


def parse(Parser parser, CountingSink sink, bytes data, uint64_t rounds):
    """Feed the same whole commands again and again."""
    cdef const unsigned char *start = data
    cdef Py_ssize_t size = len(data)
    cdef uint64_t turn
    for turn in range(rounds):
        if parser.feed(start, 0, size, sink) != size:
            raise AssertionError("not all was consumed: error %d" % parser.error)


cdef class SubjectArray:
    """Many subjects as one C array of pointers; keeps the bytes objects alive."""

    cdef readonly list subjects
    cdef const uint8_t **texts
    cdef uint32_t *sizes
    cdef readonly uint32_t count

    def __cinit__(self, list subjects):
        cdef uint32_t index
        cdef bytes subject
        self.subjects = subjects
        self.count = <uint32_t>len(subjects)
        self.texts = <const uint8_t **>calloc(self.count, sizeof(void *))
        self.sizes = <uint32_t *>calloc(self.count, sizeof(uint32_t))
        for index in range(self.count):
            subject = subjects[index]
            self.texts[index] = subject
            self.sizes[index] = <uint32_t>len(subject)

    def __dealloc__(self):
        free(self.texts)
        free(self.sizes)


def sublist_change(Sublist sublist, SubjectArray patterns):
    """Insert one plain subscription for each pattern; the array of items must outlive the sublist's use."""
    cdef ItemArray items = ItemArray(patterns.count)
    cdef uint32_t index
    for index in range(patterns.count):
        sublist.insert(patterns.texts[index], patterns.sizes[index], 0, &items.items[index])
    return items


def sublist_remove(Sublist sublist, SubjectArray patterns, ItemArray items):
    """Take out what `sublist_change` put in."""
    cdef uint32_t index, missing = 0
    for index in range(patterns.count):
        if sublist.remove(patterns.texts[index], patterns.sizes[index], 0, &items.items[index]) < 0:
            missing += 1
    return missing


cdef class ItemArray:
    """Memory of subscriptions."""

    cdef SublistItem *items

    def __cinit__(self, uint32_t count):
        self.items = <SublistItem *>calloc(count, sizeof(SublistItem))

    def __dealloc__(self):
        free(self.items)


def sublist_match(Sublist sublist, SubjectArray subjects, uint64_t count):
    """Match `count` subjects in turn; the number of subscriptions found."""
    cdef MatchResult result
    cdef uint64_t turn, found = 0
    cdef uint32_t index = 0
    match_result_init(&result)
    for turn in range(count):
        match_result_clear(&result)
        sublist.match(subjects.texts[index], subjects.sizes[index], &result)
        found += result.plain_count
        index = index + 1 if index + 1 < subjects.count else 0
    match_result_free(&result)
    return found


def interest_change(InterestDirectory directory, SubjectArray patterns, int32_t delta):
    """Add or remove plain interest in each pattern."""
    cdef uint32_t index
    for index in range(patterns.count):
        directory.change(0, patterns.texts[index], patterns.sizes[index], 0, False, delta)


def interest_lookup(InterestDirectory directory, SubjectArray subjects, uint64_t count):
    """Look up `count` subjects in turn; how many are wanted somewhere."""
    cdef RemoteInterest interest
    cdef RouteStamp stamp
    cdef uint64_t turn, found = 0
    cdef uint32_t index = 0
    remote_interest_init(&interest)
    for turn in range(count):
        directory.lookup(0, subjects.texts[index], subjects.sizes[index], &interest, &stamp)
        found += interest.mask != 0
        index = index + 1 if index + 1 < subjects.count else 0
    remote_interest_free(&interest)
    return found


def interest_current(InterestDirectory directory, bytes subject, uint64_t count):
    """Check one route stamp `count` times, as each cached publish does."""
    cdef RemoteInterest interest
    cdef RouteStamp stamp
    cdef uint64_t turn, current = 0
    remote_interest_init(&interest)
    directory.lookup(0, subject, <uint32_t>len(subject), &interest, &stamp)
    for turn in range(count):
        current += directory.current(&stamp)
    remote_interest_free(&interest)
    return current


cdef class CountingHandler(FrameHandler):
    """Counts frames and reads one byte of each body."""

    cdef readonly uint64_t frames
    cdef readonly uint64_t sum

    cdef void on_frame(self, int worker, const FrameHeader *frame, const uint8_t *body) noexcept:
        self.frames += 1
        self.sum += body[0]


def ring_join(Outbound outbound, Inbound inbound):
    """Let the invited consumer attach, as both workers' event loops would."""
    outbound.admit()
    inbound.settle()


def ring_transfer(
    Outbound outbound, Inbound inbound, CountingHandler handler, bytes body, uint32_t batch, uint64_t count
):
    """Write `count` frames with `body`, in batches, and read each batch: one thread plays both workers."""
    cdef uint64_t size = (sizeof(FrameHeader) + len(body) + 7) & ~<uint64_t>7
    cdef const uint8_t *source = body
    cdef uint32_t body_size = <uint32_t>len(body)
    cdef uint64_t turn
    cdef FrameHeader *frame
    for turn in range(count):
        frame = outbound.claim(size)
        if frame == NULL:
            raise AssertionError("the ring is full though it was read")
        frame.length = <uint32_t>size
        frame.kind = KIND_MESSAGE
        frame.flags = 0
        frame.mask = 2
        frame.body_size = body_size
        frame.pick_count = 0
        memcpy(<uint8_t *>frame + sizeof(FrameHeader), source, body_size)
        outbound.commit(size, 2)
        if (turn + 1) % batch == 0:
            outbound.publish()
            inbound.round(handler)
    outbound.publish()
    inbound.round(handler)
