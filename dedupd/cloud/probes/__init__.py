"""Probes: how a lost POST is found again in the cloud, one module for each resource."""
