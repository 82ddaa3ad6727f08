"""The table of JetStream cases. Ours acknowledges when a message is on disk (`--sync commit`, the default).

The peer is nats-server with its default, which acknowledges what the kernel has, or where the title says so
with `sync_interval: always`, which syncs before it acknowledges as we do. Figures named `absolute` are bounds
on what we do ourselves; some have no counterpart in nats-server, whose column then says "-".

To add a case: one line here, naming a function `(server, seconds) -> {figure: value}`.
"""

from functools import partial

from loadtests.compare import stream_batches, stream_faults, stream_reads, stream_sizes
from loadtests.compare.case import Case, Figures, Goal, Scale, at_least, at_most, cpu_informs
from loadtests.compare.stream_publish import Publishing, measure_publishing
from loadtests.servers import RunningServer

rate = "messages_per_s"
size_sweep = "stream_size"
heavy_pairs_max = 3  # of cases that first fill a large store
#: Group commit: one sync for all that waits. 20 for 1,000 messages are 50 messages a sync.
syncs_bound = Goal("syncs_per_1000", at_most=20, absolute=True)


def publishing(
    name: str, title: str, *goals: Goal, peer_syncs: bool = False, sweep: bool = False, **shape
) -> Case:
    """A case of acknowledged publishes; `shape` is that of `Publishing`."""
    wanted = Publishing(**shape)
    return Case(
        name,
        f"{title}, against sync_interval always" if peer_syncs else title,
        partial(_measure_publishing, wanted),
        (*goals, cpu_informs),
        with_monitor=True,
        streams=True,
        peer_syncs=peer_syncs,
        sweep=size_sweep if sweep else "",
        x=wanted.payload_size if sweep else 0.0,
    )


def _measure_publishing(shape: Publishing, server: RunningServer, seconds: float) -> Figures:
    return measure_publishing(server, shape, seconds)


def _gets(messages: int, by_subject: bool, server: RunningServer, seconds: float) -> Figures:
    return stream_reads.measure_gets(server, messages, seconds, by_subject=by_subject)


def _with_store(name: str, title: str, run, *goals: Goal, **options) -> Case:
    return Case(name, title, run, goals, streams=True, **options)


def stream_cases(scale: Scale) -> tuple[Case, ...]:
    """All of them; `scale` says how large the large ones are."""
    return (*_publishing_cases(scale), *_batch_and_read_cases(scale), *_large_cases(scale))


def _publishing_cases(scale: Scale) -> tuple[Case, ...]:
    disk_informs = Goal("disk_percent")
    return (
        publishing("js_16", "16 B, window 4000", at_least(2, rate), syncs_bound, payload_size=16, sweep=True),
        publishing("js_128", "128 B, window 4000", at_least(2, rate), syncs_bound, sweep=True),
        publishing("js_1024", "1 KiB, window 4000", at_least(1.5, rate), disk_informs, payload_size=1024,
                   sweep=True),
        # One of the two is enough: faster than the disk nobody is.
        publishing("js_16384", "16 KiB, window 4000", at_least(1, rate),
                   Goal("disk_percent", at_least=80, absolute=True), payload_size=16384, sweep=True),
        publishing("js_128_always", "128 B, window 4000", at_least(60, rate), peer_syncs=True),
        publishing("js_sync_1", "128 B, 1 publisher waits for each answer", at_least(1, rate),
                   at_most(1, "p50_us"), Goal("p99_us"), peer_syncs=True, window=1),
        publishing("js_sync_16", "128 B, 16 publishers wait for each answer", at_least(4, rate),
                   Goal("p50_us"), Goal("p99_us", at_most=3000, absolute=True),
                   peer_syncs=True, window=1, publishers=16),
        publishing("js_message_ids", "128 B with Nats-Msg-Id, window 4000", at_least(2, rate),
                   message_ids=True),
        publishing("js_subjects", "128 B over 10,000 subjects, window 4000", at_least(2, rate),
                   subject_count=10_000),
        publishing("js_streams", f"128 B over {scale.streams:,} streams, window 4000", at_least(1, rate),
                   syncs_bound, stream_count=scale.streams),
        publishing("js_memory", "128 B, memory storage, window 4000", at_least(3, rate), storage="memory"),
    )  # fmt: skip


def _batch_and_read_cases(scale: Scale) -> tuple[Case, ...]:
    messages = f"{scale.read_messages:,} messages"
    gets = (at_least(3, "requests_per_s"), Goal("p99_us"), cpu_informs)
    return (
        _with_store("js_fast_batch", "128 B, fast batch", stream_batches.measure_fast, at_least(1.5, rate),
                    cpu_informs),
        _with_store("js_atomic_batch", "128 B, atomic batches of 500", stream_batches.measure_atomic,
                    at_least(1.5, rate), cpu_informs),
        _with_store("js_get_sequence", f"direct get by sequence of {messages}, 64 in flight",
                    partial(_gets, scale.read_messages, False), *gets),
        _with_store("js_get_last", f"direct get, last of a subject of {messages}, 64 in flight",
                    partial(_gets, scale.read_messages, True), *gets),
    )  # fmt: skip


def _large_cases(scale: Scale) -> tuple[Case, ...]:
    subjects = scale.stored_subjects

    def stall(server: RunningServer, _seconds: float) -> Figures:
        return stream_faults.stall(server, scale.stall_s)

    def cold(server: RunningServer, _seconds: float) -> Figures:
        return stream_faults.cold_reads(server, scale.cold_messages, scale.stall_s)

    def take_over(server: RunningServer, _seconds: float) -> Figures:
        return stream_faults.take_over(server, subjects)

    def start_up(server: RunningServer, _seconds: float) -> Figures:
        return stream_sizes.start_up(server, scale.streams, scale.stored_messages)

    def memory(server: RunningServer, _seconds: float) -> Figures:
        return stream_sizes.subject_memory(server, subjects)

    def empty(server: RunningServer, _seconds: float) -> Figures:
        return stream_sizes.empty_streams(server, scale.empty_streams)

    heavy = {"pairs_max": heavy_pairs_max}
    times_quiet = (Goal("p99_times_quiet", at_most=2, absolute=True), Goal("p99_us"), Goal("quiet_p99_us"),
                   Goal("late_us_max"))  # fmt: skip
    return (
        _with_store("js_stall", f"core 128 B, 5,000 a second, while no sync returns for {scale.stall_s:g} s",
                    stall, *times_quiet, Goal("recovery_ms"), with_monitor=True),
        _with_store("js_cold", f"core 128 B, 5,000 a second, beside 200 cold gets of {scale.cold_messages:,}",
                    cold, *times_quiet, Goal("read_megabytes"), **heavy),
        _with_store("js_take_over", f"owner of a stream with {subjects:,} subjects is killed", take_over,
                    Goal("take_over_ms", at_most=1000, absolute=True), with_monitor=True, **heavy),
        _with_store("js_start", f"start with {scale.streams:,} streams, {scale.stored_messages:,} messages",
                    start_up, at_most(1, "start_s"), Goal("reachable_s"), Goal("store_megabytes"), **heavy),
        _with_store("js_subject_memory", f"one stream with {subjects:,} subjects", memory,
                    at_most(1, "megabytes"), Goal("store_megabytes"), **heavy),
        _with_store("js_empty_streams", f"{scale.empty_streams:,} empty streams", empty,
                    Goal("store_megabytes", at_most=2000, absolute=True), Goal("megabytes"),
                    Goal("creates_per_s"), **heavy),
    )  # fmt: skip
