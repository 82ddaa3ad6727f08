"""Load tests: locust scenarios, the comparison with nats-server, and micro benchmarks. See README.md."""
