"""Measurements: how fast dedupd is, beside its peers on the same machine in the same run.

``python -m bench --help`` tells what can be measured; docs/performance.md tells what was.
"""
