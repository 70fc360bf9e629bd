"""``python -m dedupd``: the ``dedupd`` command, for where it is not on the path."""

import sys

from dedupd.cmd.main import main

if __name__ == "__main__":
    sys.exit(main())
