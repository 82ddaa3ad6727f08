"""The one place where frames meet files.

`FileCalls(disk)` writes and syncs by system calls without the GIL when `disk` is a plain Disk, and through
the methods of `disk` when it is a test's: what calls it sees no difference.
"""

from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport uint8_t, uint64_t
from posix.types cimport off_t
from posix.uio cimport iovec

from shardbroker.storage.disk import Disk


cdef extern from "<sys/uio.h>" nogil:
    ssize_t pwritev(int fd, const iovec *parts, int count, off_t offset)

cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)

cdef enum:
    PARTS_MAX = 1024  # IOV_MAX of Linux


cdef class FileCalls:

    def __cinit__(self, disk):
        self.disk = disk
        self.direct = type(disk) is Disk

    cdef int write(self, int fd, iovec *parts, int count, uint64_t offset) noexcept:
        """Write all parts one after the other from `offset`; 0, or the errno. `parts` is used up."""
        cdef ssize_t written
        cdef int error = 0
        while count:
            written = self.write_once(fd, parts, count if count < PARTS_MAX else PARTS_MAX, offset, &error)
            if written < 0:
                if error == EINTR:
                    continue
                return error
            if written == 0:
                return EIO
            offset += <uint64_t> written
            while count and <size_t> written >= parts.iov_len:
                written -= <ssize_t> parts.iov_len
                parts += 1
                count -= 1
            if count:
                parts.iov_base = <uint8_t *> parts.iov_base + written
                parts.iov_len -= <size_t> written
        return 0

    cdef int sync(self, int fd) noexcept:
        """Make what was written durable; 0, or the errno, after which the file is not to be trusted."""
        cdef int result
        self.syncs += 1
        if not self.direct:
            try:
                self.disk.fdatasync(fd)
            except OSError as failure:
                return failure.errno or EIO
            return 0
        while True:

            with nogil:
                result = fdatasync(fd)

            if result == 0:
                return 0
            if errno != EINTR:
                return errno

    cdef uint64_t new_syncs(self) noexcept:
        """Syncs since the last call, also those that go through the Disk: of metadata, names and the like."""
        cdef uint64_t total = self.syncs, new
        if self.direct:
            total += <uint64_t> self.disk.syncs
        new = total - self.told if total > self.told else 0
        self.told += new
        return new

    cdef ssize_t write_once(self, int fd, iovec *parts, int count, uint64_t offset, int *error) noexcept:
        cdef ssize_t written
        cdef int part
        self.writes += 1
        if self.direct:

            with nogil:
                written = pwritev(fd, parts, count, <off_t> offset)

            if written < 0:
                error[0] = errno
            return written
        try:
            buffers = [(<uint8_t *> parts[part].iov_base)[: parts[part].iov_len] for part in range(count)]
            return self.disk.pwritev(fd, buffers, offset)
        except OSError as failure:
            error[0] = failure.errno or EIO
            return -1
