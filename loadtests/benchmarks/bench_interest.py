"""The interest directory: what a publish asks about the other workers, and what a SUB writes.

One process plays four workers; three of them want 30,000 subjects each, and the fourth looks up.
"""

from types import ModuleType

from loadtests.benchmarks.regions import Region, make_board
from loadtests.benchmarks.timing import measure, once, show
from shardbroker.shm.interest_directory import InterestDirectory

worker_count = 4
subject_count = 30_000
segment_size = 64 << 20


def run(loops: ModuleType) -> None:
    board = make_board(worker_count)
    segments = [Region(segment_size) for _ in range(worker_count)]
    directories = [
        InterestDirectory(worker, board.address, segment.address, -1, segment_size)
        for worker, segment in enumerate(segments)
    ]
    for worker in range(1, worker_count):
        directories[0].set_peer(worker, segments[worker].address, segment_size)
    wanted = loops.SubjectArray([b"orders.%06d.eu" % index for index in range(subject_count)])
    unwanted = loops.SubjectArray([b"nobody.%06d.eu" % index for index in range(subject_count)])
    adding_ns = [
        once(lambda: loops.interest_change(directory, wanted, 1), subject_count)  # noqa: B023
        for directory in directories[1:]
    ]
    show("interest: add a literal", sorted(adding_ns)[1], min(adding_ns))
    look = directories[0]
    assert loops.interest_lookup(look, wanted, subject_count) == subject_count
    assert loops.interest_lookup(look, unwanted, subject_count) == 0
    show("interest: lookup, 3 workers want it", *measure(lambda n: loops.interest_lookup(look, wanted, n)))
    show("interest: lookup, nobody wants it", *measure(lambda n: loops.interest_lookup(look, unwanted, n)))
    current = measure(lambda n: loops.interest_current(look, b"orders.000001.eu", n))
    show("interest: is a cached route current", *current)
    wildcards = loops.SubjectArray([b"orders.*.eu", b"orders.>"])
    loops.interest_change(directories[1], wildcards, 1)
    show("interest: lookup, with wildcards", *measure(lambda n: loops.interest_lookup(look, wanted, n)))
    removing_ns = once(lambda: loops.interest_change(directories[1], wanted, -1), subject_count)
    show("interest: remove a literal", removing_ns)
