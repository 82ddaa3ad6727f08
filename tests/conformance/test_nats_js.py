"""Property: programs written with the official JavaScript client work unchanged (see ``js/*.js``)."""

from tests.conformance import clients
from tests.conformance.servers import Server


def test_javascript_client(broker: Server) -> None:
    """Run the program."""
    environment = clients.node_environment()
    program = str(clients.HERE / "js" / "client.js")
    output = clients.run(["node", program, str(broker.port)], environment=environment)
    assert output.splitlines()[-1] == "ok all", output


def test_javascript_client_with_jetstream(jetstream_broker: Server) -> None:
    """Consumers, key-value, objects."""
    environment = clients.node_environment("jetstream", "kv", "obj")
    program = str(clients.HERE / "js" / "jetstream.js")
    output = clients.run(["node", program, str(jetstream_broker.port)], environment=environment)
    assert output.splitlines()[-1] == "ok all", output
