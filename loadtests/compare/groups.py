"""The groups of cases, and choosing from them by name."""

from loadtests.compare.case import Case, Scale, full_scale
from loadtests.compare.cases import cases as core_cases
from loadtests.compare.consumer_cases import consumer_cases
from loadtests.compare.stream_cases import stream_cases


def groups(scale: Scale = full_scale) -> dict[str, tuple[Case, ...]]:
    """All cases, by the name of their group; `scale` is that of the large cases with streams."""
    return {"core": core_cases, "jetstream": stream_cases(scale), "consumers": consumer_cases(scale)}


def choose(names: str, scale: Scale = full_scale) -> list[Case]:
    """Names separated by commas: `all`, a group, a case; a name ending in * chooses all that start so."""
    grouped = groups(scale)
    every = [case for group in grouped.values() for case in group]
    chosen: list[Case] = []
    for name in names.split(","):
        if name == "all":
            found = every
        elif name in grouped:
            found = list(grouped[name])
        else:
            starts = name.removesuffix("*") if name.endswith("*") else None
            found = [c for c in every if c.name == name or (starts is not None and c.name.startswith(starts))]
        if not found:
            known = ", ".join([*grouped, *(case.name for case in every)])
            raise ValueError(f"no case {name!r}; there are: {known}")
        chosen += [case for case in found if case not in chosen]
    return chosen
