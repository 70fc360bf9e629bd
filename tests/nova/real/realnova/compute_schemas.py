"""Program: make the databases of Nova and Placement, with their schema and nothing in them.

python -P -m realnova.compute_schemas DIR
"""

import sys
from pathlib import Path

from realnova import databases, life, native_threads, options, settings


def main(state: Path) -> None:
    """Leave the databases in `state`, and nothing else."""
    native_threads.choose()
    _make_nova(state)
    _make_placement(state)
    databases.use_write_ahead_log(state, databases.NOVA)
    for left in set(state.iterdir()) - {databases.path(state, name) for name in databases.NOVA}:
        left.unlink()


def _make_nova(state: Path) -> None:
    from nova import config, context, objects
    from nova.db import migration

    nova_conf = settings.write_nova(state, options.compute([]), "http://127.0.0.1:9")
    config.parse_args(["nova", "--config-file", str(nova_conf)], default_config_files=[])
    objects.register_all()
    migration.db_sync(database="api")
    migration.db_sync(database="main")
    admin = context.get_admin_context()
    cell0 = objects.CellMapping(
        uuid=objects.CellMapping.CELL0_UUID,
        name="cell0",
        transport_url="none:///",
        database_connection=databases.urls(state)["nova_cell0"],
    )
    with context.target_cell(admin, cell0) as in_cell0:
        migration.db_sync(database="main", context=in_cell0)


def _make_placement(state: Path) -> None:
    from realnova import placement

    placement.application(settings.write_placement(state, migrate=True))


if __name__ == "__main__":
    life.run(lambda: main(Path(sys.argv[1])))
