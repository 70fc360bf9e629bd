"""The rebuilt messages: they are etcd3's own, and nothing of the machine has to be set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dedupd.store import etcd_stubs
from dedupd.store.etcd_stubs import rpc

ROOT = Path(__file__).parents[3]


def test_nested_transactions_go_over_the_wire() -> None:
    inner = rpc.TxnRequest(
        compare=[rpc.Compare(key=b"k", target=rpc.Compare.MOD, mod_revision=7)],
        success=[rpc.RequestOp(request_put=rpc.PutRequest(key=b"k", value=b"\x00\xff"))],
    )
    outer = rpc.TxnRequest(success=[rpc.RequestOp(request_txn=inner)])
    again = rpc.TxnRequest.FromString(outer.SerializeToString())
    assert again == outer
    assert again.success[0].request_txn.compare[0].mod_revision == 7


def test_they_load_in_a_fresh_process_without_a_warning() -> None:
    environment = {
        name: text for name, text in os.environ.items() if "PROTOCOL_BUFFERS" not in name
    }
    code = (
        "from dedupd.store.etcd_stubs import rpc; import etcd3;"
        "from google.protobuf.internal import api_implementation as coding;"
        "assert etcd3.etcdrpc.TxnRequest is rpc.TxnRequest; print(coding.Type())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "upb\n", "")


def test_they_do_not_meet_others_who_know_the_same_messages() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("etcdserverpb.TxnRequest")


def test_another_release_is_named(tmp_path: Path) -> None:
    module = tmp_path / "rpc_pb2.py"
    module.write_text("DESCRIPTOR = build(b'')\n")
    with pytest.raises(ImportError, match=r"rpc_pb2.py carries no descriptor.*0\.12"):
        etcd_stubs._descriptor(module)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ImportError, match="etcd3 is not installed"):
        etcd_stubs._directory()
