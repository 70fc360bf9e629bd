"""Program: Nova and Placement. See `python -P -m realnova.compute --help`."""

import argparse
import socket
import sys
import time
import warnings
from pathlib import Path

from realnova import databases, life, native_threads, options, placement, settings, web

_POLL_SECONDS = 1.0


def main() -> None:
    """Run until told to end."""
    started = time.monotonic()
    chosen = options.compute(sys.argv[1:])
    end = life.end_signal(chosen.until_eof)
    warnings.simplefilter("ignore")
    native_threads.choose()
    with life.state_directory(chosen.state, "realnova") as state:
        new = not databases.path(state, "nova_cell1").exists()
        if new:
            databases.copy_template("compute_schemas", state)
        own, theirs = (web.bind(chosen.host, port) for port in (chosen.port, chosen.placement_port))
        placement_port = web.port_of(theirs)
        nova_conf = settings.write_nova(state, chosen, f"http://{chosen.host}:{placement_port}")
        settings.write_placement(state)
        with placement.running(state, theirs) as child:
            _configure(nova_conf)
            placement.wait_until_it_listens(child, (chosen.host, placement_port))
            facts = _start(state, chosen, own, new=new)
            life.say_ready(
                port=web.port_of(own),
                compute_url=f"http://{chosen.host}:{web.port_of(own)}/v2.1",
                placement_port=placement_port,
                placement_pid=child.pid,
                state=str(state),
                auth=chosen.auth,
                startup_s=round(time.monotonic() - started, 2),
                **facts,
            )
            while not end.wait(_POLL_SECONDS):
                if child.poll() is not None:
                    print("Placement ended by itself", file=sys.stderr)
                    break


def _configure(nova_conf: Path) -> None:
    from nova import config, objects
    from nova.tests.fixtures import DatabaseWriteLock
    from oslo_log import log

    config.parse_args(["nova", "--config-file", str(nova_conf)], default_config_files=[])
    log.setup(config.CONF, "nova")
    objects.register_all()
    # SQLite has one writer for a file: Nova's own fixture for native threads makes them queue.
    DatabaseWriteLock().setUp()


def _start(
    state: Path, chosen: argparse.Namespace, own: socket.socket, *, new: bool
) -> dict[str, object]:
    """Start the services and the API; what there is to know of them."""
    from nova.api.openstack import wsgi_app
    from nova.api.wsgi import Loader

    from realnova import cloud, faults, look_ups, stand_ins

    if new:
        cloud.fill(state)
    others = stand_ins.StandIns()
    cloud.start_services(state, chosen)
    wsgi_app._setup_service("compute1", "osapi_compute")
    api = Loader(str(state / "api-paste.ini")).load_app("osapi_compute")
    web.serve(own, look_ups.LookUps(others, faults.Faults(api)), chosen.threads)
    tokens = {"admin": "admin", "member": "demo"} if chosen.auth == "fake" else None
    return {"flavor": "1", "tokens": tokens, **others.facts()}


if __name__ == "__main__":
    life.run(main)
