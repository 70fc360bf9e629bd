"""The sample configuration: ``python -m dedupd.conf.sample > etc/dedupd.conf``.

The same on every machine: dedupd's own options as oslo.config's generator prints them, and after
them what has to be said about the libraries' options, whose full lists change with their releases.
"""

from __future__ import annotations

import io
import sys

from oslo_config import cfg, generator

_HEAD = """\
# The sample configuration of dedupd: every option with its default. Copy what you change to
# /etc/dedupd/dedupd.conf (or name a file with --config-file), without the leading #.
# Any option can come from the environment instead: OS_NOVA__ENDPOINT=http://controller:8774
# In values $name stands for another option: write $$ for a dollar sign.
"""

_LIBRARIES = """\
# What follows belongs to libraries. All their options are listed by
#   oslo-config-generator --namespace oslo.log --namespace keystonemiddleware.auth_token
# Of oslo.log, in [DEFAULT] above, these are most in use: debug, log_file, log_dir, use_json,
# default_log_levels. Where no file is named, services log to stderr.


[keystone_authtoken]
# How callers' tokens are validated, where [auth] strategy = keystone (keystonemiddleware's group).
# dedupd has other defaults for some of its options: http_connect_timeout is half of [auth]
# timeout_seconds, http_request_max_retries is 1, service_type is compute,
# service_token_roles_required is true, and unless memcached_servers is set nothing is cached here,
# since [auth] cache_seconds does that work.

#auth_type = password
#auth_url = http://controller:5000/v3
#www_authenticate_uri = http://controller:5000
#username = dedupd
#password = secret
#user_domain_name = Default
#project_name = service
#project_domain_name = Default
#service_token_roles = service
#memcached_servers = controller:11211


[service_user]
# The service user whose token goes beside a caller's own (X-Service-Token) when dedupd looks
# things up in Nova, and in place of it where that one no longer works (keystoneauth's options).
# Without it a lost answer whose caller's token has expired stays unknown; so does one of which
# nothing is found in a project with as many servers as Nova lists at once, since only an
# administrator is told (GET /os-services) whether a cell of Nova is down.

#auth_type = password
#auth_url = http://controller:5000/v3
#username = dedupd
#password = secret
#user_domain_name = Default
#project_name = service
#project_domain_name = Default
"""


def render() -> str:
    """The whole sample, as a text that ends with a newline."""
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf(["--namespace", "dedupd", "--wrap-width", "98"], default_config_files=[])
    options = io.StringIO()
    generator.generate(conf, options)
    return f"{_HEAD}\n{options.getvalue()}\n\n{_LIBRARIES}"


if __name__ == "__main__":
    sys.stdout.write(render())
