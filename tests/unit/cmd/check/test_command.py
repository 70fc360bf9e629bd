"""The table of `dedupd check`: what is wrong in one place hides nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dedupd.cmd import main


def test_a_mistyped_plugin_is_one_failure_among_the_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without [nova] endpoint nobody loads it, since nobody asks Keystone."""
    config = tmp_path / "dedupd.conf"
    config.write_text("[api]\nhold_secnds = 1\n[keystone_authtoken]\nauth_type = pasword\n")
    command = ["check", "-f", "json", "--state-path", str(tmp_path / "state")]
    assert main.main(["--config-file", str(config), *command]) == 1
    lines = {line["Check"]: line for line in json.loads(capsys.readouterr().out)}
    assert {name: line["Result"] for name, line in lines.items()} == {
        "configuration": "failed",
        "keys": "warning",
        "store": "ok",
        "queue": "ok",
        "keystone": "ok",
        "service user": "ok",
        "nova": "warning",
    }
    complaint = "[keystone_authtoken] auth_type = 'pasword' is no plugin of keystoneauth: write pas"
    assert complaint in lines["configuration"]["Detail"]
