"""``dedupd demo``: a retry storm with lost answers and a kill -9, measured and shown live."""
