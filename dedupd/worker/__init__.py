"""The worker: takes requests off the queue and carries each out exactly once."""
