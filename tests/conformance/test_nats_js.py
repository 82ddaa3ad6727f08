"""Property: a program written with the official JavaScript client works unchanged (see ``js/client.js``)."""

from tests.conformance import clients
from tests.conformance.servers import Server


def test_javascript_client(broker: Server) -> None:
    """Run the program."""
    environment = clients.node_environment()
    program = str(clients.HERE / "js" / "client.js")
    output = clients.run(["node", program, str(broker.port)], environment=environment)
    assert output.splitlines()[-1] == "ok all", output
