"""A shared-memory region mapped into this process at an address that Cython code uses directly."""

from libc.stdint cimport uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap


cdef class Mapping:
    """Maps `size` bytes of `fd` (which may be closed afterwards) for reading and writing.

    Raises OSError when the kernel refuses. The address is valid until close() or the end of the object.
    """

    cdef readonly uint64_t address
    cdef readonly uint64_t size

    def __cinit__(self, int fd, uint64_t size):
        cdef void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if area == MAP_FAILED:
            raise OSError("cannot map %d bytes of shared memory" % size)
        self.address = <uint64_t> <size_t> area
        self.size = size

    def __dealloc__(self):
        self.close()

    def close(self):
        """Unmap now; nothing may use the address any more."""
        if self.address:
            munmap(<void *> <size_t> self.address, self.size)
            self.address = 0
