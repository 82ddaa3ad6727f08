"""Property: programs written with nats.c, the official C client, work unchanged (see ``c/*.c``)."""

from tests.conformance import clients
from tests.conformance.servers import Server


def test_c_client(broker: Server, tmp_path) -> None:
    """Compile and run the program."""
    program = clients.compiled_c_client(tmp_path)
    output = clients.run([str(program), f"nats://127.0.0.1:{broker.port}"])
    assert output.splitlines()[-1] == "ok all", output


def test_c_client_with_jetstream(jetstream_broker: Server, tmp_path) -> None:
    """Streams, pull and push consumers, key-value."""
    program = clients.compiled_c_client(tmp_path, "jetstream.c")
    output = clients.run([str(program), f"nats://127.0.0.1:{jetstream_broker.port}"])
    assert output.splitlines()[-1] == "ok all", output
