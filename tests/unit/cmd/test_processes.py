"""What several processes of one service are told; how they live is tested with whole services."""

from __future__ import annotations

import signal
import subprocess

from dedupd.cmd.processes import Processes


def test_a_signal_reaches_those_that_live_where_one_has_just_ended() -> None:
    """It may come between the wait for a child and taking it off the list."""
    processes = Processes(2, lambda _place: None)
    with subprocess.Popen(["true"]) as gone, subprocess.Popen(["sleep", "60"]) as living:
        gone.wait()
        processes._children = {gone.pid: 0, living.pid: 1}
        processes._on_signal(signal.SIGTERM, None)
        assert living.wait() == -signal.SIGTERM
