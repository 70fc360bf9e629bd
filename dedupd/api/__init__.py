"""The front: what clients talk to."""
