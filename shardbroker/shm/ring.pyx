"""Broadcast rings: one producer, a cursor per consumer, batches ordered by tickets.

Design. A message for several workers is written once; a bit mask says for whom. The producer writes
privately and makes a whole batch visible with one release store of the head; before that it takes the
batch's ticket from the counter all workers share. Readers take the ticket counter first, then all heads,
and deliver the batches with smaller tickets in ticket order. If batch X's head is stored before batch Y
takes its ticket, X has the smaller ticket and is visible to every round that delivers Y: so what happened
before, by whatever channel between programs, is delivered before. (Model: tests/models/ticket_model.py.)

Lost alternatives: one ring per pair of workers measured the same with four workers and copies a fan-out
several times; spinning before sleeping gave no throughput and worse latency.

A full ring is a value (NULL from claim), never a wait: the caller parks the publisher's input.

Wake-up: a consumer without work makes its `sleeping` cell odd, fences, re-checks every wake condition, and
only then blocks. A producer publishes, fences, and rings those destinations whose cell is odd, once per
epoch. One of the two always sees the other (Dekker). Model: tests/models/doorbell_model.py.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.mman cimport (
    MAP_FAILED,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    mmap,
    munmap,
)
from posix.unistd cimport write

from shardbroker.shm.atomics cimport (
    fence_seq_cst,
    fetch_add_u64,
    load_acquire_u32,
    load_acquire_u64,
    load_relaxed_u64,
    store_release_u32,
    store_release_u64,
)
from shardbroker.shm.frame cimport BatchHeader, FrameHandler, FrameHeader
from shardbroker.shm.offsets cimport (
    BOARD_TICKET,
    BOARD_WORKERS,
    CURSOR_ATTACHED,
    CURSOR_WANTED,
    RING_CURSOR_STRIDE,
    RING_CURSORS,
    RING_DATA,
    RING_HEAD,
    RING_WANT_SPACE,
    WORKER_ROW_SIZE,
    WORKER_SLEEPING,
    WORKERS_MAX,
)


cdef extern from *:
    """
    #include <sys/mman.h>
    #ifndef MAP_ANONYMOUS
    #define MAP_ANONYMOUS 0x20
    #endif
    """
    int MAP_ANONYMOUS


cdef class RingMap:
    """One ring mapped into this process.

    `fd` is the descriptor of the region (it may be closed afterwards), `size` the bytes of data, a power
    of two and a multiple of the page. Raises OSError when the kernel refuses the mapping.
    """

    def __cinit__(self, int fd, uint64_t size):
        cdef uint8_t *area
        cdef void *mapped
        assert size & (size - 1) == 0 and size >= 4096
        # Reserve one stretch of addresses, then lay header, data and data again into it.
        area = <uint8_t *> mmap(NULL, RING_DATA + 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if area == <uint8_t *> MAP_FAILED:
            raise OSError("cannot reserve addresses for a ring of %d bytes" % size)
        self.size = size
        self.base = area
        self.data = area + RING_DATA
        mapped = mmap(area, RING_DATA + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0)
        if mapped != MAP_FAILED:
            mapped = mmap(
                area + RING_DATA + size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, RING_DATA
            )
        if mapped == MAP_FAILED:
            raise OSError("cannot map a ring of %d bytes" % size)

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, RING_DATA + 2 * self.size)

    cdef uint64_t *head(self) noexcept:
        return <uint64_t *> (self.base + RING_HEAD)

    cdef uint64_t *want_space(self) noexcept:
        return <uint64_t *> (self.base + RING_WANT_SPACE)

    cdef uint64_t *cursor(self, int worker) noexcept:
        return <uint64_t *> (self.base + RING_CURSORS + worker * RING_CURSOR_STRIDE)

    cdef uint32_t *attached(self, int worker) noexcept:
        return <uint32_t *> (self.base + RING_CURSORS + worker * RING_CURSOR_STRIDE + CURSOR_ATTACHED)

    cdef uint32_t *wanted(self, int worker) noexcept:
        return <uint32_t *> (self.base + RING_CURSORS + worker * RING_CURSOR_STRIDE + CURSOR_WANTED)


cdef enum:
    # A ticket may be ahead of the counter as we read it by what was published since; never by this much.
    TICKET_LEAD_MAX = 1 << 30


cdef inline uint64_t *sleeping_cell(uint8_t *board, int worker) noexcept:
    return <uint64_t *> (board + BOARD_WORKERS + worker * WORKER_ROW_SIZE + WORKER_SLEEPING)


cdef class Outbound:
    """The producing side of this worker's ring."""

    def __cinit__(self, RingMap ring, uint64_t board_address, int worker_index):
        cdef int i
        self.ring = ring
        self.data = ring.data
        self.size = ring.size
        self.mask_offset = ring.size - 1
        self.board = <uint8_t *> board_address
        self.ticket = <uint64_t *> (self.board + BOARD_TICKET)
        self.worker_index = worker_index
        self.position = self.head = self.batch_start = load_acquire_u64(ring.head())
        self.gating = self.position
        memset(self.rung, 0, sizeof(self.rung))
        for i in range(WORKERS_MAX):
            self.doorbells[i] = -1

    def invite(self, int worker, int doorbell_fd, uint32_t generation):
        """Let that generation of `worker` attach as a consumer when it asks (`admit`).

        It counts from its asking on, not from now: a process that still boots must not fill our ring. Its
        predecessor's cursor is never reused (model: tests/models/crash_model.py).
        """
        self.doorbells[worker] = doorbell_fd
        self.rung[worker] = 0
        if worker != self.worker_index:
            self.generations[worker] = generation
            self.invited |= (<uint64_t> 1) << worker

    cdef void admit(self) noexcept:
        """Attach those invited who ask by now; to be called every turn while there are any."""
        cdef uint64_t left = self.invited
        cdef int worker = 0
        while left:
            if left & 1 and load_acquire_u32(self.ring.wanted(worker)) == self.generations[worker]:
                store_release_u64(self.ring.cursor(worker), self.head)
                store_release_u32(self.ring.attached(worker), self.generations[worker])
                self.consumers |= (<uint64_t> 1) << worker
                self.invited &= ~((<uint64_t> 1) << worker)
                fence_seq_cst()
                self.ring_doorbell(worker)
            left >>= 1
            worker += 1

    def detach(self, int worker):
        """Forget a dead consumer: its cursor no longer holds the ring."""
        self.consumers &= ~((<uint64_t> 1) << worker)
        self.invited &= ~((<uint64_t> 1) << worker)
        store_release_u32(self.ring.attached(worker), 0)
        self.doorbells[worker] = -1
        self.refresh_gating()

    @property
    def consumer_mask(self):
        return self.consumers

    cdef void refresh_gating(self) noexcept:
        """Read all cursors; wake who lags more than half a ring (it may sleep on frames not for it)."""
        cdef uint64_t slowest = self.head, cursor, left = self.consumers
        cdef int worker = 0
        while left:
            if left & 1:
                cursor = load_acquire_u64(self.ring.cursor(worker))
                if self.head - cursor > self.size >> 1:
                    self.ring_doorbell(worker)
                if cursor < slowest:
                    slowest = cursor
            left >>= 1
            worker += 1
        self.gating = slowest

    cdef bint has_space(self, uint64_t size) noexcept:
        """Whether a frame of `size` bytes (and a batch header) fits now."""
        if self.position + size + sizeof(BatchHeader) - self.gating <= self.size:
            return True
        self.refresh_gating()
        return self.position + size + sizeof(BatchHeader) - self.gating <= self.size

    cdef FrameHeader *claim(self, uint64_t size) noexcept:
        """Room for one frame of `size` bytes (a multiple of 8), or NULL when the ring is full.

        The frame may be written until `commit`; nobody sees it before `publish`.
        """
        cdef BatchHeader *batch
        # Let consumers start while a long turn still parses: a batch is at most a quarter of the ring.
        if self.position - self.batch_start > self.size >> 2:
            self.publish()
        if self.position + size + sizeof(BatchHeader) - self.gating > self.size:
            if not self.has_space(size):
                self.full_count += 1
                # Readers can free only what is published; the open batch may be what fills the ring.
                self.publish()
                return NULL
        if self.position == self.batch_start:
            batch = <BatchHeader *> (self.data + (self.position & self.mask_offset))
            self.batch_mask = 0
            self.batch_frames = 0
            self.position += sizeof(BatchHeader)
        return <FrameHeader *> (self.data + (self.position & self.mask_offset))

    cdef void commit(self, uint64_t size, uint64_t mask) noexcept:
        """Take the frame just written into the open batch."""
        self.position += size
        self.batch_mask |= mask
        self.batch_frames += 1

    cdef void publish(self) noexcept:
        """Make the open batch visible and wake who sleeps and is meant. Cheap when nothing is open."""
        cdef BatchHeader *batch
        cdef uint64_t left
        cdef int worker = 0
        if self.position == self.batch_start:
            return
        batch = <BatchHeader *> (self.data + (self.batch_start & self.mask_offset))
        batch.length = <uint32_t> (self.position - self.batch_start)
        batch.frames = self.batch_frames
        batch.mask = self.batch_mask
        batch.ticket = fetch_add_u64(self.ticket, 1)
        store_release_u64(self.ring.head(), self.position)
        self.head = self.batch_start = self.position
        self.batches += 1
        fence_seq_cst()
        left = self.batch_mask & self.consumers
        while left:
            if left & 1:
                self.ring_doorbell(worker)
            left >>= 1
            worker += 1

    cdef void ring_doorbell(self, int worker) noexcept:
        """Wake `worker` if it sleeps, at most once per sleep. The caller has fenced."""
        cdef uint64_t epoch = load_acquire_u64(sleeping_cell(self.board, worker)), one = 1
        if epoch & 1 and self.rung[worker] != epoch and self.doorbells[worker] >= 0:
            self.rung[worker] = epoch
            self.doorbells_rung += 1
            write(self.doorbells[worker], &one, 8)

    cdef void ask_for_space(self, uint64_t size) noexcept:
        """Tell consumers to ring once `size` bytes are free. The caller re-checks `has_space` afterwards.

        Only the producer writes the cell, and it holds a position, not a flag: a reader that frees too
        little neither wakes us nor takes the wish away (model: tests/models/doorbell_model.py).
        """
        store_release_u64(self.ring.want_space(), self.position + size + sizeof(BatchHeader) - self.size)
        fence_seq_cst()

    cdef void stop_asking(self) noexcept:
        """There is space again."""
        if load_relaxed_u64(self.ring.want_space()):
            store_release_u64(self.ring.want_space(), 0)

    # --- for tests and tools ----------------------------------------------------------------------------

    def positions(self):
        """(position, head, gating)."""
        return self.position, self.head, self.gating

    def put(self, bytes body, uint64_t mask):
        """Write a frame without publishing it; False when the ring is full."""
        cdef uint64_t size = (sizeof(FrameHeader) + len(body) + 7) & ~(<uint64_t> 7)
        cdef FrameHeader *frame = self.claim(size)
        if frame == NULL:
            return False
        memset(frame, 0, sizeof(FrameHeader))
        frame.length = <uint32_t> size
        frame.mask = mask
        frame.body_size = <uint32_t> len(body)
        memcpy(frame + 1, <const uint8_t *> body, len(body))
        self.commit(size, mask)
        return True

    def publish_batch(self):
        """Publish what was put."""
        self.publish()

    def admit_consumers(self):
        """Attach those invited who ask by now."""
        self.admit()


cdef class Collector(FrameHandler):
    """Keeps the frames of a round, for tests and tools: a list of (worker, body)."""

    cdef readonly list frames

    def __cinit__(self):
        self.frames = []

    cdef void on_frame(self, int worker, const FrameHeader *frame, const uint8_t *body) noexcept:
        self.frames.append((worker, body[: frame.body_size]))


cdef class Inbound:
    """Reads all other workers' rings, in ticket order."""

    def __cinit__(self, uint64_t board_address, int worker_index, uint32_t generation, Outbound outbound):
        self.rings = [None] * WORKERS_MAX
        memset(self.readings, 0, sizeof(self.readings))
        self.worker_index = worker_index
        self.generation = generation
        self.own_bit = (<uint64_t> 1) << worker_index
        self.ticket = <uint64_t *> (<uint8_t *> board_address + BOARD_TICKET)
        self.outbound = outbound

    def attach(self, int worker, RingMap ring):
        """Ask the producer of this ring to count us; reading begins once it does (`settle`)."""
        cdef Reading *reading = &self.readings[worker]
        self.rings[worker] = ring
        self.distrusted &= ~((<uint64_t> 1) << worker)
        reading.data = ring.data
        reading.mask_offset = ring.size - 1
        reading.size = ring.size
        reading.head_cell = ring.head()
        reading.cursor_cell = ring.cursor(self.worker_index)
        reading.want_space_cell = ring.want_space()
        reading.attached_cell = ring.attached(self.worker_index)
        self.waiting |= (<uint64_t> 1) << worker
        store_release_u32(ring.wanted(self.worker_index), self.generation)
        fence_seq_cst()
        self.outbound.ring_doorbell(worker)

    cdef void settle(self) noexcept:
        """Begin to read the rings whose producers count us by now."""
        cdef uint64_t left = self.waiting
        cdef int worker = 0
        cdef Reading *reading
        while left:
            if left & 1:
                reading = &self.readings[worker]
                if load_acquire_u32(reading.attached_cell) == self.generation:
                    reading.position = reading.stored = reading.head = load_acquire_u64(reading.cursor_cell)
                    self.attached |= (<uint64_t> 1) << worker
                    self.waiting &= ~((<uint64_t> 1) << worker)
            left >>= 1
            worker += 1

    def detach(self, int worker):
        """Stop reading a dead worker's ring. The caller has run a round after its death."""
        self.attached &= ~((<uint64_t> 1) << worker)
        self.distrusted &= ~((<uint64_t> 1) << worker)
        self.waiting &= ~((<uint64_t> 1) << worker)
        self.rings[worker] = None
        memset(&self.readings[worker], 0, sizeof(Reading))

    cdef void give_up(self, int worker) noexcept:
        """What the producer wrote cannot be: never read its ring again. Its successor gets a new one.

        Guessing where the next batch begins could deliver garbage; the event loop sees `distrusted` and has
        the producer replaced.
        """
        cdef uint64_t bit = (<uint64_t> 1) << worker
        self.broken += 1
        self.distrusted |= bit
        self.attached &= ~bit
        self.readings[worker].head = self.readings[worker].position

    cdef bint pending(self) noexcept:
        """Whether any ring has something unread: the consumer's re-check before it sleeps."""
        cdef uint64_t left = self.attached
        cdef Reading *reading
        cdef int worker = 0
        while left:
            reading = &self.readings[worker]
            if left & 1 and load_acquire_u64(reading.head_cell) != reading.position:
                return True
            left >>= 1
            worker += 1
        return False

    cdef int round(self, FrameHandler handler) noexcept:
        """Deliver every batch whose ticket is below the present counter; return how many.

        To be called after reading a socket and before acting on what was read.
        """
        cdef uint64_t limit, left, best_ticket, ticket
        cdef int worker, best, batches = 0
        cdef Reading *reading
        cdef BatchHeader *batch
        cdef bint anything = False
        if self.waiting:
            self.settle()
        # The counter first, the heads second: a batch with a smaller ticket whose head was stored before
        # any batch we are going to see is then in view.
        limit = load_acquire_u64(self.ticket)
        left = self.attached
        worker = 0
        while left:
            if left & 1:
                reading = &self.readings[worker]
                reading.head = load_acquire_u64(reading.head_cell)
                if reading.head - reading.position > reading.size or reading.head & 7:
                    # No producer in its senses is more than a ring ahead of a reader it waits for.
                    self.give_up(worker)
                if reading.head != reading.position:
                    anything = True
            left >>= 1
            worker += 1
        if not anything:
            return 0
        while True:
            best = -1
            best_ticket = limit
            left = self.attached
            worker = 0
            while left:
                if left & 1:
                    reading = &self.readings[worker]
                    if reading.head != reading.position:
                        batch = <BatchHeader *> (reading.data + (reading.position & reading.mask_offset))
                        ticket = batch.ticket
                        if ticket < best_ticket:
                            best_ticket = ticket
                            best = worker
                        elif ticket > limit + TICKET_LEAD_MAX:
                            self.give_up(worker)
                left >>= 1
                worker += 1
            if best < 0:
                break
            batches += self.deliver_batch(best, handler)
            handler.on_batch_end()
        left = self.attached  # not those given up meanwhile
        worker = 0
        while left:
            if left & 1 and self.readings[worker].stored != self.readings[worker].position:
                self.store_cursor(worker)
            left >>= 1
            worker += 1
        return batches

    cdef int deliver_batch(self, int worker, FrameHandler handler) noexcept:
        """Hand the next batch of one ring to the handler."""
        cdef Reading *reading = &self.readings[worker]
        cdef BatchHeader *batch = <BatchHeader *> (reading.data + (reading.position & reading.mask_offset))
        cdef FrameHeader *frame
        cdef uint64_t end = reading.position + batch.length, position, fixed
        # Lengths come from another process: check them before they are used (DESIGN, "Trust").
        if batch.length < sizeof(BatchHeader) or batch.length & 7 or end > reading.head:
            self.give_up(worker)
            return 0
        if batch.mask & self.own_bit:
            position = reading.position + sizeof(BatchHeader)
            while position < end:
                frame = <FrameHeader *> (reading.data + (position & reading.mask_offset))
                fixed = sizeof(FrameHeader) + <uint64_t> frame.pick_count * 16
                if (
                    frame.length < fixed
                    or frame.length & 7
                    or position + frame.length > end
                    or fixed + frame.body_size > frame.length
                ):
                    self.give_up(worker)
                    return 0
                if frame.mask & self.own_bit:
                    self.frames += 1
                    handler.on_frame(worker, frame, <const uint8_t *> frame + fixed)
                position += frame.length
        reading.position = end
        if reading.position - reading.stored > reading.size >> 3:
            self.store_cursor(worker)
        return 1

    cdef void store_cursor(self, int worker) noexcept:
        """Give the space read so far back to the producer, and wake it if it waits for space."""
        cdef Reading *reading = &self.readings[worker]
        cdef uint64_t wanted
        store_release_u64(reading.cursor_cell, reading.position)
        reading.stored = reading.position
        fence_seq_cst()
        wanted = load_acquire_u64(reading.want_space_cell)
        if wanted and reading.position >= wanted:
            self.outbound.ring_doorbell(worker)

    # --- for tests and tools ----------------------------------------------------------------------------

    def take(self):
        """Run a round; the frames for this worker as a list of (worker, body), in order."""
        cdef Collector collector = Collector()
        self.round(collector)
        return collector.frames

    def has_pending(self):
        """Whether any attached ring has something unread."""
        return self.pending()
