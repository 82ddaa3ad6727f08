"""The durable log: frames, segment files, metadata slots, recovery. Floor 1: knows neither rings nor streams."""
