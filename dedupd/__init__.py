"""dedupd: every POST to Nova that carries a client token takes effect exactly once.

It stands in front of the compute API as a drop-in endpoint. docs/contract.md says what is seen from
outside, docs/architecture.md how it is cut.
"""

__version__ = "0.1.0"
