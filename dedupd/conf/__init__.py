"""The configuration: one module for each group of options, checked as a whole when it is loaded.

``load`` gives a frozen ``Settings``. There is no global configuration object: what needs a setting
is given it.
"""

from dedupd.conf.load import Settings, list_opts, load

__all__ = ["Settings", "list_opts", "load"]
