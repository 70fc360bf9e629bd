"""``dedupd check``: whether dedupd can work as it is configured, one line for each thing."""
