"""The cloud: what each POST means there, and how to talk to it."""
