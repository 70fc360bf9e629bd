"""The ``dedupd`` command: where ports meet their implementations."""
