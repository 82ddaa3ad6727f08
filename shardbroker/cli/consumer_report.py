"""The answer of ``shardbroker consumer explain`` as text for a terminal: verdict, reasons, figures."""

import shutil
import textwrap

from shardbroker.jetstream.explain_facts import ago
from shardbroker.jetstream.go_time import parse_time

_VERDICTS = {
    "blocked": "something keeps messages from being delivered",
    "limited": "messages go out slower than they might",
    "idle": "nothing is left to be delivered",
    "healthy": "messages flow",
}
#: Columns: wider lines are hard to read, narrower ones break in the middle of everything.
_WIDTH_MIN, _WIDTH_MAX = 40, 100
_INDENT = "    "
_LABEL_WIDTH = 24


def report(answer: dict) -> str:
    """All of it, without a newline at the end. ``answer`` is the broker's JSON."""
    width = min(max(shutil.get_terminal_size().columns, _WIDTH_MIN), _WIDTH_MAX)
    verdict = answer["verdict"]
    lines = [
        f"{answer['stream']} > {answer['consumer']}: {verdict.upper()}, {_VERDICTS.get(verdict, '')}",
        "",
    ]
    for reason in answer["reasons"]:
        lines.append(f"{reason['severity'].upper()}  {reason['code']}")
        lines += _wrapped(reason["text"], width, "")
        if reason["what_to_do"]:
            lines += _wrapped(reason["what_to_do"], width, "-> ")
        lines.append("")
    lines += [f"{_INDENT}{label:<{_LABEL_WIDTH}}{text}" for label, text in _figures(answer["figures"])]
    return "\n".join(lines)


def _wrapped(text: str, width: int, mark: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=_INDENT + mark,
        subsequent_indent=_INDENT + " " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _figures(figures: dict) -> list[tuple[str, str]]:
    """Label and text of each figure that says something about this kind of consumer."""
    now_ns = parse_time(figures["now"])
    coming = f", next is stream sequence {figures['next_sequence']}" if figures["next_sequence"] else ""
    rows = [
        ("kind", f"{figures['kind']}, ack policy {figures['ack_policy']}"),
        ("to be delivered", f"{figures['num_pending']}{coming}"),
    ]
    if figures["ack_policy"] != "none":
        rows += [
            ("not acknowledged", _of(figures["num_ack_pending"], figures["max_ack_pending"])),
            ("due again", str(figures["num_redelivery_due"])),
            ("reached max_deliver", str(figures["num_exhausted"])),
        ]
    if figures["kind"] == "pull":
        rows.append(("pull requests waiting", _of(figures["num_waiting"], figures["max_waiting"])))
        rows.append(("last pull request", _when(figures["last_request"], now_ns)))
    else:
        rows.append(("somebody listens", "yes" if figures["push_bound"] else "no"))
    rows += [
        ("delivered up to", _pair(figures["delivered"])),
        ("acknowledged up to", _pair(figures["ack_floor"])),
        ("last delivery", _when(figures["last_delivery"], now_ns)),
        ("last acknowledgement", _when(figures["last_ack"], now_ns)),
        (
            "stream",
            f"{figures['stream_messages']} messages, sequences {figures['stream_first_sequence']} to "
            f"{figures['stream_last_sequence']}",
        ),
    ]
    return rows


def _when(text: str | None, now_ns: int) -> str:
    """A time of the broker, seen from its clock."""
    return f"{ago(parse_time(text), now_ns)} ({text})" if text else "none seen"


def _of(count: int, most: int) -> str:
    return f"{count} of {most} at most" if most > 0 else str(count)


def _pair(sequences: dict) -> str:
    return f"stream sequence {sequences['stream_seq']}, consumer sequence {sequences['consumer_seq']}"
