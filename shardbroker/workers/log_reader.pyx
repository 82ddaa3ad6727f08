"""Reading back, without mmap: a cold page would stall the loop unseen, a bad sector would be SIGBUS.

A record is read with preadv2(RWF_NOWAIT). What is not in the page cache is read again, waiting; or, where the
asker can come again, the kernel is told to fetch it and ColdRead is raised, so that a slow disk holds up
nobody else. That has an end, whoever asks: a page that is there but not whole, as after a failed read, the
kernel refuses for as long as nobody waits for it. So after a while the read waits, whatever it takes.

Everything that comes from a file is checked before it is handed out: no wrong byte is ever served.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from posix.uio cimport iovec

from shardbroker.shm.atomics cimport monotonic_ns
from shardbroker.storage.codec cimport record_is_good
from shardbroker.storage.frame cimport RECORD_HEAD_SIZE, SEGMENT_HEAD_SIZE, RecordHead

from shardbroker.errors import ColdRead, StorageError
from shardbroker.storage.layout import segment_name

cdef extern from "<sys/uio.h>" nogil:
    ssize_t preadv2(int fd, const iovec *vectors, int count, long offset, int flags)
    int RWF_NOWAIT

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buffer, size_t size, long offset)

cdef extern from "<fcntl.h>" nogil:
    int posix_fadvise(int fd, long offset, long size, int advice)
    int POSIX_FADV_WILLNEED

cdef enum:
    DESCRIPTORS_MAX = 8  # of one log; streams are many
    COLD_MAX = 256  # positions that are waited for at the same time, and remembered
    PATIENCE_NS = 200_000_000  # so long a disk may take without holding up others


cdef class LogReader:
    """`directory` holds the log's segments; or `memory_fd` is a stream's memory (kept open by the caller)."""

    def __cinit__(self, str directory, int memory_fd=-1):
        self.directory = directory
        self.memory_fd = memory_fd
        self.descriptors = {}
        self.cold = {}
        self.patient = True

    def __dealloc__(self):
        free(self.buffer)

    def close(self):
        """Give all descriptors back."""
        for fd in self.descriptors.values():
            os.close(fd)
        self.descriptors.clear()

    def forget(self, uint64_t base):
        """That segment is being removed."""
        fd = self.descriptors.pop(base, None)
        if fd is not None:
            os.close(fd)

    cdef int descriptor(self, uint64_t base) except -1:
        fd = self.descriptors.get(base)
        if fd is None:
            if len(self.descriptors) >= DESCRIPTORS_MAX:
                self.forget(next(iter(self.descriptors)))
            path = f"{self.directory}/{segment_name(base)}"
            fd = self.descriptors[base] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return fd

    cdef const RecordHead *record(self, uint64_t base, uint64_t position, uint64_t size_guess) except? NULL:
        """The record at a log position, valid until the next call. `size_guess` is about its size in bytes.

        Raises StorageError when it cannot be read or fails its checksum.
        """
        cdef uint64_t size = size_guess, got
        cdef const RecordHead *head
        cdef int attempt
        for attempt in range(2):
            if size > self.buffer_size:
                self.resize(size)
            got = self.read_at(base, position, size)
            head = <const RecordHead *> self.buffer
            if got >= RECORD_HEAD_SIZE and record_is_good(head, got):
                return head
            if got < RECORD_HEAD_SIZE or head.size <= size:
                break
            size = head.size  # the guess was too small
        raise StorageError(f"{self.directory}: the record at log position {position} cannot be read back")

    cdef bint may_wait(self, uint64_t position, int fd, long offset, uint64_t size) except -1:
        """Have the kernel fetch what is not in memory; False: it has had its time."""
        cdef uint64_t now_ns = monotonic_ns()
        if len(self.cold) >= COLD_MAX and position not in self.cold:
            self.cold.clear()
        if now_ns - <uint64_t> self.cold.setdefault(position, now_ns) >= PATIENCE_NS:
            return False
        posix_fadvise(fd, offset, <long> size, POSIX_FADV_WILLNEED)
        return True

    cdef bint ends_at(self, int fd, long offset) except -1:
        """Whether the file has no more bytes from there on."""
        return os.fstat(fd).st_size <= offset

    cdef void resize(self, uint64_t size) except *:
        cdef uint8_t *larger
        larger = <uint8_t *> realloc(self.buffer, size)
        if larger == NULL:
            raise MemoryError("no memory to read a record")
        self.buffer = larger
        self.buffer_size = size

    cdef uint64_t read_at(self, uint64_t base, uint64_t position, uint64_t size) except? 0:
        """Bytes read into the buffer."""
        cdef iovec vector
        cdef ssize_t got
        cdef int fd
        cdef long offset
        if self.memory_fd >= 0:
            fd = self.memory_fd
            offset = <long> position
        else:
            fd = self.descriptor(base)
            offset = <long> (SEGMENT_HEAD_SIZE + position - base)
        vector.iov_base = self.buffer
        vector.iov_len = size
        got = preadv2(fd, &vector, 1, offset, RWF_NOWAIT)
        if got < <ssize_t> size and not self.patient and (got >= 0 or errno == EAGAIN):
            if not self.ends_at(fd, offset + max(<ssize_t> 0, got)):
                if self.may_wait(position, fd, offset, size):
                    raise ColdRead(f"{self.directory}: log position {position} is not in memory")
        if self.cold:
            self.cold.pop(position, None)
        if got < <ssize_t> size:
            # Cold, or a part of it is; or the end of the file.
            while True:
                with nogil:
                    got = pread(fd, self.buffer, size, offset)
                if got >= 0 or errno != EINTR:
                    break
        if got < 0:
            reason = os.strerror(errno)
            raise StorageError(f"{self.directory}: cannot read at log position {position}: {reason}")
        return <uint64_t> got
