"""Program: Keystone. See `python -P -m realnova.identity --help`.

Users admin (project admin), demo and reader (demo), alt_demo (alt_demo), nova and dedupd (service),
all with the password `secret`. The catalogue names the compute service at the address given, and
the image and network services beside it, where realnova.look_ups answers for them.
"""

import sys
import time
import warnings

from realnova import databases, life, options, settings, web
from realnova.identity_client import Client


def main() -> None:
    """Run until told to end."""
    started = time.monotonic()
    chosen = options.identity(sys.argv[1:])
    end = life.end_signal(chosen.until_eof)
    warnings.simplefilter("ignore")
    with life.state_directory(chosen.state, "realkeystone") as state:
        if not databases.path(state, "keystone").exists():
            databases.copy_template("identity_template", state)
        taken = web.bind("127.0.0.1", chosen.port)
        port = web.port_of(taken)
        address = f"http://127.0.0.1:{port}"
        from realnova.identity_app import application

        web.serve(taken, application(settings.write_keystone(state, address)), chosen.threads)
        _write_catalogue(Client(port), address, chosen.compute)
        life.say_ready(
            port=port,
            auth_url=f"{address}/v3",
            state=str(state),
            password=settings.PASSWORD,
            startup_s=round(time.monotonic() - started, 2),
        )
        end.wait()


def _write_catalogue(keystone: Client, own: str, compute: str) -> None:
    urls = {
        "identity": f"{own}/v3",
        "compute": f"{compute}/v2.1",
        "image": f"{compute}/image",
        "network": f"{compute}/network",
    }
    kinds = {row["id"]: row["type"] for row in keystone.rows("services")}
    for endpoint in keystone.rows("endpoints"):
        url = urls[kinds[endpoint["service_id"]]]
        keystone.call("PATCH", f"/endpoints/{endpoint['id']}", {"endpoint": {"url": url}})


if __name__ == "__main__":
    life.run(main)
