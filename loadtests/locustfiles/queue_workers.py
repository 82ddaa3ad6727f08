"""Queue workers: users put jobs on one subject; all users of all processes work them off as one queue group.

Each job must be done exactly once: the worker that got it tells the producer by a message to the producer's
own inbox, and the producer counts. The time is from putting the job until the word "done" arrives.

    locust -f loadtests/locustfiles/queue_workers.py --headless -u 50 -r 50 -t 30s --burst 16
"""

import time

from gevent.event import Event
from locust import task

from loadtests.nats_user import Message, NatsError, NatsUser, timeout_s_default


class QueueWorkerUser(NatsUser):
    """One producer connection with `--burst` jobs in flight, one worker connection in the queue group."""

    def on_start(self) -> None:
        self.subject = f"{self.prefix}.queue_workers.jobs"
        self.inbox = f"_INBOX.{self.name}"
        self.sequence = 0
        self.starts: dict[int, float] = {}
        self.all_done = Event()
        self.leaving = False
        self.worker = self.connect("worker")
        self.membership = self.worker.subscribe(self.subject, self.work, queue="workers")
        self.worker.flush()
        self.producer = self.connect("producer")
        self.producer.subscribe(f"{self.inbox}.*", self.on_done)
        self.producer.flush()

    @task
    def put_jobs(self) -> None:
        count = self.environment.parsed_options.burst
        first = self.sequence
        self.sequence += count
        self.all_done.clear()
        for sequence in range(first, first + count):
            self.starts[sequence] = time.perf_counter()
            self.producer.publish(self.subject, self.payload(sequence), reply=f"{self.inbox}.{sequence}")
        if not self.all_done.wait(timeout=timeout_s_default):
            for start in self.starts.values():
                self.report("JOB", "put to done", start, exception=NatsError("lost: not done in time"))
            self.starts.clear()

    def work(self, message: Message) -> None:
        self.worker.publish(message.reply, message.payload)

    def on_done(self, message: Message) -> None:
        if self.leaving:
            return
        problem = None
        sequence = int(message.subject.rpartition(".")[2])
        start = self.starts.pop(sequence, None)
        if start is None:
            start, problem = time.perf_counter(), NatsError("done twice, or after its time")
        elif message.is_no_responders:
            problem = NatsError("no responders")
        elif message.payload != self.payload(sequence):
            problem = NatsError("other content")
        self.report("JOB", "put to done", start, len(message.payload), problem)
        if not self.starts:
            self.all_done.set()

    def on_stop(self) -> None:
        # Locust has killed our task, perhaps between putting jobs and their end: these jobs no longer count.
        self.leaving = True
        try:
            self.producer.flush()  # They must be handed out before the last worker may leave.
            self.worker.unsubscribe(self.membership)
            self.worker.flush()
        except NatsError:
            pass  # The connection is gone, and with it the subscription.
        super().on_stop()
