"""Deterministic simulation: whole installations on virtual time, tormented by a seeded scheduler.

A *history* is one run of fronts, workers and clients over a hostile store, queue and cloud. Its
seed decides everything, so that the same seed gives the same history on any machine.
"""
