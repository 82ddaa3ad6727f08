"""Requests that Python code answers: the JetStream API, and what callables have subscribed to.

They are copied as they come in and answered at the start of the next turn, a limited number a turn. Longer
work (a snapshot, a restore) is a job: a callable that does a little each turn until it says that it is done.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.hosted cimport JOB_PRESSES, JOB_SOON, JOB_WAITS, SERVICE_CALL, SERVICE_DIRECT
from shardbroker.errors import ColdRead

cdef enum:
    COLD_WAIT_NS = 1_000_000
    REQUESTS_MAX = 10_000  # that wait in this worker; nats-server has the same limit


cdef class ServiceRequests(ServiceSubscriptions):
    """The queue of requests, and the jobs."""

    def set_api(self, api):
        """Who handles API requests: called with (account, subject, reply, headers, payload, cid or 0)."""
        self.api = api

    cdef void queue_request(
        self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher
    ) noexcept:
        """Copy a request for the Python side, which answers it at the start of the next turn."""
        cdef uint32_t header_size = <uint32_t> view.header_size if view.header_size > 0 else 0
        cdef bytes subject = (
            view.tail[: view.shown_size] if view.shown_size else view.subject[: view.subject_size]
        )
        if len(self.requests) >= REQUESTS_MAX:
            self.router.statistics.drops += 1
            return
        self.requests.append(
            (
                target.service,
                target.service_index,
                view.account,
                subject,
                view.reply[: view.reply_size],
                view.payload[:header_size],
                (view.payload + header_size)[: view.payload_size - header_size],
                publisher.cid if publisher != NULL else view.publisher,
            )
        )
        self.pressing = True

    def answer_requests(self, uint32_t count):
        """Hand requests to the API, or to whom they are for."""
        for _ in range(count):
            request = self.requests.popleft()
            service, index, account, subject, reply, block, payload, cid = request
            hosted = self.hosted[index] if service == SERVICE_DIRECT else None
            try:
                if service == SERVICE_CALL:
                    target = self.targets.get(index)
                    if target is not None:
                        target(account, subject, reply, block, payload, cid)
                elif hosted is not None:
                    hosted.reader.patient = False
                    self.api(hosted, account, subject, reply, block, payload, cid)
                elif service != SERVICE_DIRECT:
                    self.api(None, account, subject, reply, block, payload, cid)
            except ColdRead:
                self.cold.append(request)
                self.soon = True
            except Exception as error:
                self.tell_failure(repr(subject), error)
            finally:
                if hosted is not None:
                    hosted.reader.patient = True

    cdef void look_at_cold(self, uint64_t now_ns) noexcept:
        """Requests whose message was not in memory: once a millisecond they are tried again."""
        if now_ns - self.cold_since_ns < COLD_WAIT_NS:
            return
        self.cold_since_ns = now_ns
        self.requests.extend(self.cold)
        self.cold.clear()
        self.soon = False

    def tell_failure(self, what, error):
        """Log a bug of ours that one request or job has met."""
        import traceback

        trace = " <- ".join(
            f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__))
        )
        self.log.error(f"JetStream: {what} failed: {type(error).__name__}: {error} in {trace}")

    def run_later(self, job):
        """Call `job()` once a turn, from the next one on. It returns what it wishes.

        JOB_PRESSES when the turn after it should come at once, JOB_SOON when it may take a millisecond,
        JOB_WAITS when it may take a tick, anything else when it is done.
        """
        self.jobs.append(job)
        self.pressing = True

    def run_jobs(self):
        """One slice of each long piece of work, such as a backup."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            try:
                wish = job()
            except Exception as error:
                self.tell_failure(repr(job), error)
                continue
            if wish == JOB_PRESSES or wish == JOB_WAITS or wish == JOB_SOON:
                self.jobs.append(job)
                if wish == JOB_PRESSES:
                    self.pressing = True
                elif wish == JOB_SOON:
                    self.soon = True
