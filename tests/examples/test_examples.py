"""Property: the programs in examples/ run as they stand, and print what their comments promise.

Each is started as a user would start it, as a program of its own, against a broker with two workers and with
JetStream.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker_process import BrokerProcess

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TIMEOUT_S = 60.0
#: program -> lines it must print, in this order, other lines may stand between
PROMISES = {
    "core_publish.py": [
        "weather.berlin: rain, says somebody",
        "weather.cairo.airport: sun, says somebody",
        "weather.oslo: snow, says the window",
    ],
    "request_reply.py": [
        "the square of 3 is 9",
        "the square of 12 is 144",
        "nobody answers math.cube",
    ],
    "queue_workers.py": ["300 jobs, each done once"],
    "work_queue.py": ["300 jobs stored, each done once"],
    "object_store.py": [
        "sky.png: 700000 bytes in 6 chunks",
        "got back: 700000 bytes, grey, mostly",
        "there is: [('sky.png', 'blue, after all')]",
        "sky.png is gone",
        "somebody saw that sky.png was deleted",
    ],
    "dead_letters.py": [
        "translated: good morning",
        "dead: b'bonjour' (max_deliver, deliveries: 3)",
        r"dead: b'\xff\xfe' (terminated, deliveries: 1)",
        "translated: bonjour",
        "dead letters left: 1",
    ],
    "key_value.py": [
        "too late: colour.sky was changed by somebody else",
        "colour.sky revision 1: grey",
        "colour.sky revision 2: blue",
        "colour.sky revision 4: DEL",
        "it was grey, blue; keys now: ['size.sky']",
    ],
}


@pytest.mark.parametrize("name", PROMISES)
def test_example(name: str, tmp_path: Path) -> None:
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        command = [sys.executable, str(EXAMPLES / name), f"nats://{broker.host}:{broker.port}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert result.returncode == 0, result.stdout + result.stderr
    printed = [line for line in result.stdout.splitlines() if line in PROMISES[name]]
    assert printed == PROMISES[name], result.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PROMISES)
