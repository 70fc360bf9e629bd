"""The simulated Nova: a small compute API in memory, for the demo and for tests.

`SimulatedNova` is the model (pure, synchronous, clock injected); `dedupd.sim.app` serves it over
HTTP with faults on demand; `python -m dedupd.sim` starts that as a process.
"""

from dedupd.sim.nova.simulated_nova import SimulatedNova
from dedupd.sim.nova.wire import Answer
from dedupd.sim.nova.world import Settings

__all__ = ["Answer", "Settings", "SimulatedNova"]
