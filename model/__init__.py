"""The protocol as a Promela model, and what spin finds when it tries every schedule of it."""
