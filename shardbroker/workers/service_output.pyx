"""What a worker's services send: messages of the broker's own, acks and answers above all."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from shardbroker.digits cimport write_size_line
from shardbroker.routing.route_cache cimport Route
from shardbroker.routing.router cimport PublishView


cdef class ServiceOutput(Services):
    """Publishes through the worker's router. Nothing here waits: what finds no room overflows (router)."""

    def __dealloc__(self):
        free(self.scratch)

    cdef uint8_t *room(self, uint64_t size) noexcept:
        """Scratch memory of that size; NULL when there is none."""
        cdef uint8_t *larger
        if size > self.scratch_size:
            larger = <uint8_t *> realloc(self.scratch, size + (size >> 1))
            if larger == NULL:
                return NULL
            self.scratch = larger
            self.scratch_size = size + (size >> 1)
        return self.scratch

    cdef void send_raw(
        self, uint32_t account, const uint8_t *subject, uint32_t subject_size,
        const uint8_t *block, uint32_t block_size, const uint8_t *payload, uint32_t payload_size,
    ) noexcept:
        """Publish a message of our own; `block` is a header block or empty."""
        cdef PublishView view
        cdef uint32_t total = block_size + payload_size
        cdef uint8_t *place = self.room(64 + <uint64_t> total)
        cdef uint64_t digits
        if place == NULL or subject_size == 0:
            return
        digits = write_size_line(place, block_size, total) - place
        if block_size:
            memcpy(place + digits, block, block_size)
        memcpy(place + digits + block_size, payload, payload_size)
        memcpy(place + digits + total, b"\r\n", 2)
        view.subject = subject
        view.subject_size = subject_size
        view.reply = place
        view.reply_size = 0
        view.tail = place
        view.tail_size = <uint32_t> digits + total + 2
        view.payload = place + digits
        view.payload_size = total
        view.header_size = <int> block_size if block_size else -1
        view.account = account
        self.router.publish_own(&view)

    def send(
        self,
        uint32_t account,
        bytes subject,
        bytes payload,
        bytes block=b"",
        bytes reply=b"",
        bytes shown=b"",
    ):
        """Publish a message of our own; True when somebody gets it. `shown`: the subject receivers see."""
        cdef PublishView view
        cdef bytes tail
        if reply:
            sizes = b"%b %d" % (reply, len(payload)) if not block else b"%b %d %d" % (
                reply, len(block), len(block) + len(payload)
            )
        else:
            sizes = b"%d" % len(payload) if not block else b"%d %d" % (len(block), len(block) + len(payload))
        if shown:
            sizes = shown + b" " + sizes
        tail = b"%b\r\n%b%b\r\n" % (sizes, block, payload)
        view.subject = subject
        view.subject_size = len(subject)
        view.tail = tail
        view.tail_size = len(tail)
        view.shown_size = <uint32_t> len(shown)
        view.reply = view.tail + (len(shown) + 1 if shown else 0)
        view.reply_size = len(reply)
        view.payload_size = len(block) + len(payload)
        view.payload = view.tail + (view.tail_size - 2 - view.payload_size)
        view.header_size = <int> len(block) if block else -1
        view.account = account
        return self.router.publish_shown(&view) != 0

    def has_interest(self, uint32_t account, bytes subject):
        """Whether anybody would get a message on this subject."""
        cdef uint64_t hash = 0
        cdef Route *route = self.router.routes.find(account, subject, <uint32_t> len(subject), &hash)
        return route != NULL and (
            route.plain_count != 0 or route.group_count != 0 or route.remote_mask != 0
        )

    def count_api(self, bint failed):
        """One request of the API was answered."""
        self.router.statistics.api_requests += 1
        if failed:
            self.router.statistics.api_errors += 1
