"""``dedupd request``: the records, for operators; beside a running server, on the same store.

Every action is one compare-and-swap: where the record has moved meanwhile, nothing is changed and
the operator is told what it is now. Every action is logged with the operator's name.
"""
