"""The durable log: frames, segment files, metadata slots, recovery. Floor 1: knows no rings, no streams."""
