"""Micro benchmarks of single modules inside one process: `python -m loadtests.benchmarks [NAME...]`."""
