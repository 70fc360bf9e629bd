"""Nova without eventlet."""

import os
import sys


def choose() -> None:
    """Make Nova run in native threads. Comes before any other import of Nova in the process.

    Nova would read the command line too, which is not meant for it.
    """
    sys.argv = sys.argv[:1]
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
