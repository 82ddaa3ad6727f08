"""A segment file seen through a window of memory that moves forward.

Plain preads into a buffer that fits the processor's cache, and no mapping of the file: a bad sector under a
mapping is a signal, under a pread it is an error code. Sectors that cannot be read are seen as zeros, which
is never a frame and never a record: what lay there is then lost and told like any other damage. What cannot
be opened, or is no file, is one of size zero, for the same reason.
"""

from libc.errno cimport EINTR, errno
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.unistd cimport pread

import os
import stat

from shardbroker.storage.segment_list import sync_names

cdef enum:
    WINDOW_SIZE = 1 << 20  # bytes: stays in the second-level cache, and is 250 pages a call
    PAGE = 4096  # the step in which a bad stretch of the disk is narrowed down
    SPARES_MAX = 2  # windows of one scan

# Memory of closed windows. A thousand logs are read one after the other, and fresh memory is 250 page faults.
cdef uint8_t *spares[SPARES_MAX]
cdef int spare_count = 0


def free_spares():
    """Give the memory back that closed windows have left for the next ones."""
    global spare_count
    while spare_count:
        spare_count -= 1
        free(spares[spare_count])


cdef class SegmentWindow:
    """One open segment. `open` may be called again for another file. `step`: bytes read at once at least."""

    def __cinit__(self, uint64_t step=WINDOW_SIZE):
        self.descriptor = -1
        self.step = step

    def __dealloc__(self):
        global spare_count
        self.close()
        if self.capacity == WINDOW_SIZE and spare_count < SPARES_MAX:
            spares[spare_count] = self.buffer
            spare_count += 1
        else:
            free(self.buffer)

    cdef int open(self, str path) except -1:
        """Begin with another file. One that is missing, or is a folder or a link, is an empty one."""
        self.close()
        self.size = self.start = self.filled = 0
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            status = os.fstat(self.descriptor)
            if stat.S_ISREG(status.st_mode):
                self.size = status.st_size
            else:
                self.close()
        except OSError:
            self.size = 0
        return 0

    cdef void close(self) noexcept:
        """Give the descriptor back; the memory stays for the next file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    cdef int make_durable(self, str path, list notes) except -1:
        """Sync the file and its name: who made them may have been killed before it could."""
        try:
            if self.descriptor >= 0:
                os.fdatasync(self.descriptor)
            sync_names(path)
        except OSError as error:
            notes.append(f"{path} cannot be synced, its end may not be durable: {error.strerror}")
        return 0

    cdef const uint8_t *load(self, uint64_t offset, uint64_t size) except? NULL:
        """Move the window so that it holds the bytes asked for. Raises MemoryError."""
        cdef uint64_t first = offset & ~(<uint64_t> PAGE - 1)
        cdef uint64_t want
        cdef uint8_t *larger
        global spare_count
        if offset > self.size or size > self.size - offset:
            return NULL
        want = offset + size - first
        if want < self.step:
            want = self.step
        if self.capacity == 0 and want == WINDOW_SIZE and spare_count:
            spare_count -= 1
            self.buffer = spares[spare_count]
            self.capacity = WINDOW_SIZE
        if want > self.capacity:
            larger = <uint8_t *> realloc(self.buffer, want)
            if larger == NULL:
                raise MemoryError("no memory for %d bytes of a segment" % want)
            self.buffer = larger
            self.capacity = want
        want = min(self.capacity, self.size - first)
        self.start = first
        self.filled = 0
        while self.filled < want:
            self.read_some(want)
        return self.buffer + (offset - first)

    cdef int read_some(self, uint64_t want) except -1:
        """Append to the window; a page of zeros where the disk gives an error or the file has shrunk."""
        cdef uint64_t ask = want - self.filled
        cdef ssize_t got
        got = pread(self.descriptor, self.buffer + self.filled, ask, self.start + self.filled)
        if got < 0 and errno == EINTR:
            return 0
        if got < 0 and ask > PAGE:
            ask = PAGE
            got = pread(self.descriptor, self.buffer + self.filled, ask, self.start + self.filled)
        if got <= 0:
            ask = min(ask, <uint64_t> PAGE)
            memset(self.buffer + self.filled, 0, ask)
            self.unreadable += ask
            got = ask
        self.filled += got
        return 0
