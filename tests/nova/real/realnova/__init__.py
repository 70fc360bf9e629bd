"""A real OpenStack Nova for tests: the programs that run it, and the real Keystone beside it.

Nova's API, conductor, scheduler and compute (with Nova's fake hypervisor) run in one process,
Placement in a second, Keystone in a third, all on loopback with SQLite. Cells, quota, policy,
microversions, the paste pipeline and the database schemas are Nova's own. Neutron, Glance and
Cinder are the fixtures that Nova's functional tests use.

The programs run in an environment of their own, which `setup` beside this package builds:

    python -P -m realnova.compute   Nova and Placement
    python -P -m realnova.identity  Keystone

Each prints one line of JSON when it is ready, and ends on SIGTERM or SIGINT.
"""
