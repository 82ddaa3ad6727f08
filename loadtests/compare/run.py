"""Runs the chosen cases in interleaved pairs and returns the results as plain data, ready for JSON.

    for each case:  prepare (peer)                        only some cases: find a rate both must stand
                    pair 1: ours, peer
                    pair 2: peer, ours                    the order turns, so that no side is always first
                    ...

Every sample gets a freshly started server, so that no case inherits the memory or the connections of another,
and where streams are measured an empty store.
A sample that fails is kept with its reason and counts as missing; the others go on.
"""

import contextlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from loadtests.compare.case import Case
from loadtests.compare.machine import describe_machine, describe_run
from loadtests.compare.meter import machine_busy_ns
from loadtests.compare.wire import LoadError
from loadtests.servers import ServerError, ServerSpec, Store

format_version = 1
sides = ("ours", "peer")

Progress = Callable[[str], None]


def run_cases(
    chosen: list[Case],
    servers: dict[str, ServerSpec],
    *,
    pairs: int,
    seconds: float,
    command_line: list[str],
    progress: Progress,
    store_root: Path = Path("."),
    quick: bool = False,
) -> dict[str, Any]:
    """Measure and return the results document; `servers` maps "ours" and "peer" to what is to be started.

    Streams are stored below `store_root`, in a directory of its own for each sample that is removed after it.
    """
    results: dict[str, Any] = {
        "format": format_version,
        **describe_run(command_line),
        "machine": describe_machine(),
        "servers": {
            side: {"name": spec.name, "command": list(spec.command), "version": spec.version()}
            for side, spec in servers.items()
        },
        "pairs": pairs,
        "seconds": seconds,
        "quick": quick,
        "cases": [],
    }
    for case in chosen:
        results["cases"].append(_run_case(case, servers, pairs, seconds, progress, store_root))
    results["duration_s"] = round(time.time() - results["start_s"], 1)
    return results


def pairs_of(case: Case, wanted: int) -> int:
    """How many pairs of this case are measured when `wanted` are asked for."""
    return min(wanted, case.pairs_max or wanted)


def spec_of(case: Case, side: str, servers: dict[str, ServerSpec]) -> ServerSpec:
    """What is started for that side: ours with the flags that the case wants."""
    spec = servers[side]
    return replace(spec, command=(*spec.command, *case.our_flags)) if side == "ours" else spec


def _run_case(
    case: Case,
    servers: dict[str, ServerSpec],
    pairs: int,
    seconds: float,
    progress: Progress,
    store_root: Path,
) -> dict[str, Any]:
    samples: dict[str, list[dict]] = {side: [] for side in sides}
    failure = _prepare(case, servers["peer"], seconds)
    pairs = pairs_of(case, pairs)
    for pair in range(pairs):
        for side in sides if pair % 2 == 0 else reversed(sides):
            progress(f"{case.name} {pair + 1}/{pairs} {servers[side].name}")
            if failure:
                samples[side].append({"failure": failure})
                continue
            with _store(case, side, store_root) as store:
                samples[side].append(_sample(case, spec_of(case, side, servers), seconds, store))
    return {
        "name": case.name,
        "title": case.title,
        "sweep": case.sweep,
        "x": case.x,
        "goals": [asdict(goal) for goal in case.goals],
        "samples": samples,
    }


def _prepare(case: Case, peer: ServerSpec, seconds: float) -> str:
    if case.prepare is None:
        return ""
    try:
        with peer.running() as server:
            case.prepare(server, seconds)
    except (LoadError, ServerError, OSError) as error:
        return f"prepare: {error}"
    return ""


@contextlib.contextmanager
def _store(case: Case, side: str, root: Path) -> Iterator[Store | None]:
    if not case.streams:
        yield None
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{case.name}_", dir=root) as directory:
        yield Store(Path(directory).resolve() / "store", sync_always=case.peer_syncs and side == "peer")


def _sample(case: Case, spec: ServerSpec, seconds: float, store: Store | None) -> dict[str, Any]:
    busy_ns, own_ns, start = machine_busy_ns(), _own_cpu_ns(), time.monotonic()
    said = ""
    try:
        with spec.running(with_monitor=case.with_monitor, store=store) as server:
            try:
                sample: dict[str, Any] = dict(case.run(server, seconds))
            except Exception:
                said = server.output()  # nobody can ask later why it lost a client
                raise
    except (LoadError, ServerError, OSError) as error:
        return {"failure": f"{type(error).__name__}: {error}", "server_said": said}
    foreign_ns = (machine_busy_ns() - busy_ns) - (_own_cpu_ns() - own_ns)
    # Cores kept busy by others meanwhile: a sample with more than a few hundredths is a disturbed one.
    sample["foreign_cores"] = round(max(0.0, foreign_ns / 1e9 / (time.monotonic() - start)), 3)
    return sample


def _own_cpu_ns() -> int:
    """CPU of this process and of all that it has waited for: load processes and servers."""
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    return int(used * 1e9)
