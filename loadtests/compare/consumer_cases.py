"""The table of cases about consumers and key-value buckets.

A goal of a rate comes with its mirror: the CPU of the server for one message may be at most one divided by
the goal. Streams are on disk and servers run with their defaults, unless the title says otherwise: ours
acknowledges when a message is on disk, nats-server when the kernel has it.

To add a case: one line here, naming a function `(server, seconds) -> {figure: value}`.
"""

from typing import Any

from loadtests.compare import consumer_create, delivery_latency, key_value, key_watch
from loadtests.compare.case import Case, Figures, Goal, Scale, at_least, at_most, cpu_informs
from loadtests.compare.consumer_pull import measure_pull
from loadtests.compare.consumer_push import explicit, measure_push, ordered
from loadtests.servers import RunningServer

heavy_pairs_max = 3  # of cases that first fill a large store
watchers = 16
create_ms_max = 100  # until a consumer is there, however much it must count


def consumer_cases(scale: Scale) -> tuple[Case, ...]:
    """All of them; `scale` says how large the large ones are."""
    return (
        *_pull_cases(),
        *_push_cases(),
        *_key_value_cases(scale),
        *_latency_cases(),
        *_create_cases(scale),
    )


def _case(name: str, title: str, run, *goals: Goal, **options: Any) -> Case:
    return Case(name, title, run, goals, streams=True, **options)


def rate_and_cpu(ratio: float, figure: str = "messages_per_s") -> tuple[Goal, Goal]:
    """The goal of a rate, and its mirror for the CPU of the server."""
    return at_least(ratio, figure), at_most(round(1 / ratio, 3), "cpu_ns")


def _pull_cases() -> tuple[Case, ...]:
    def case(name: str, title: str, ratio: float, batch: int, workers: int = 1) -> Case:
        def run(server: RunningServer, seconds: float) -> Figures:
            return measure_pull(server, batch, workers, seconds)

        return _case(name, f"pull, {title}, 128 B, each acknowledged", run, *rate_and_cpu(ratio))

    return (
        case("pull_500", "fetch 500", 3, 500),
        case("pull_500_workers", "fetch 500 by 4 workers of one durable", 3, 500, workers=4),
        case("pull_10", "fetch 10", 2, 10),
        case("pull_1", "fetch 1", 1, 1),
    )


def _push_cases() -> tuple[Case, ...]:
    def case(name: str, title: str, ratio: float, config: dict[str, Any], consumers: int = 1) -> Case:
        def run(server: RunningServer, seconds: float) -> Figures:
            return measure_push(server, config, consumers, seconds)

        return _case(name, f"push, {title}, 128 B", run, *rate_and_cpu(ratio, "deliveries_per_s"))

    return (
        case("push_ordered_1", "1 ordered consumer", 2, ordered),
        case("push_ordered_4", "4 ordered consumers", 2, ordered, consumers=4),
        case("push_explicit_1000", "each acknowledged, at most 1,000 pending", 3, explicit(1000)),
        case("push_explicit_65536", "each acknowledged, at most 65,536 pending", 3, explicit(65_536)),
    )


def _key_value_cases(scale: Scale) -> tuple[Case, ...]:
    keys = f"{scale.keys:,} keys"
    latency = (Goal("p50_us"), Goal("p99_us"))

    def get_many(server: RunningServer, seconds: float) -> Figures:
        return key_value.measure_gets(server, scale.keys, key_value.in_flight, seconds)

    def get_one(server: RunningServer, seconds: float) -> Figures:
        return key_value.measure_gets(server, scale.keys, 1, seconds)

    def watch_initial(server: RunningServer, seconds: float) -> Figures:
        return key_watch.measure_initial(server, scale.keys, seconds)

    def watch_live(server: RunningServer, seconds: float) -> Figures:
        return key_watch.measure_live(server, watchers, seconds)

    put_title = "key-value put 128 B, 64 in flight"
    return (
        _case("kv_put", put_title, key_value.measure_puts, *rate_and_cpu(1.5), *latency),
        _case("kv_put_always", f"{put_title}, against sync_interval always", key_value.measure_puts,
              *rate_and_cpu(15), *latency, peer_syncs=True),
        _case("kv_get", f"key-value get of {keys}, 64 in flight", get_many,
              *rate_and_cpu(3, "requests_per_s"), *latency),
        _case("kv_get_1", f"key-value get of {keys}, one by one", get_one, at_most(1, "p50_us"),
              Goal("p99_us"), Goal("requests_per_s"), cpu_informs),
        _case("kv_watch_initial", f"key-value watch, all of {keys} to one watcher", watch_initial,
              *rate_and_cpu(1.5)),
        _case("kv_watch_live", f"key-value watch, updates to {watchers} watchers", watch_live,
              *rate_and_cpu(3, "deliveries_per_s")),
    )  # fmt: skip


def _latency_cases() -> tuple[Case, ...]:
    def case(name: str, title: str, storage: str, pull: bool, **options: Any) -> Case:
        def run(server: RunningServer, seconds: float) -> Figures:
            return delivery_latency.measure_latency(server, storage, pull, seconds)

        goals = (at_most(1, "p50_us"), at_most(1, "p99_us"), cpu_informs, Goal("late_us_max"))
        return _case(name, f"publish to delivery, 2,000 a second, {title}", run, *goals, **options)

    interval = {"our_flags": ("--sync", "interval")}
    on_disk = "stream on disk, ours with --sync interval"
    return (
        case("latency_push_memory", "push, stream in memory", "memory", False),
        case("latency_pull_memory", "waiting pull, stream in memory", "memory", True),
        case("latency_push_file", f"push, {on_disk}", "file", False, **interval),
        case("latency_pull_file", f"waiting pull, {on_disk}", "file", True, **interval),
    )


def _create_cases(scale: Scale) -> tuple[Case, ...]:
    def many(server: RunningServer, _seconds: float) -> Figures:
        return consumer_create.measure_creates(server, scale.consumers, scale.consumer_messages)

    def filtered(server: RunningServer, _seconds: float) -> Figures:
        return consumer_create.measure_filtered(server, scale.stored_messages, scale.stored_subjects)

    soon = [
        Goal(figure, at_most=create_ms_max, absolute=True)
        for figure in ("group_ms", "one_ms", "every_ms", "later_ms")
    ]
    return (
        _case("consumer_creates",
              f"create {scale.consumers:,} durables on {scale.consumer_messages:,} messages, 64 in flight",
              many, *rate_and_cpu(3, "creates_per_s"), pairs_max=heavy_pairs_max),
        _case("consumer_filters",
              f"filters on {scale.stored_messages:,} messages with {scale.stored_subjects:,} subjects",
              filtered, *soon, Goal("ping_p99_us"), cpu_informs, pairs_max=heavy_pairs_max),
    )  # fmt: skip
