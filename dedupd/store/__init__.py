"""Where records are kept: the implementations of ``dedupd.ports.Store``."""
