"""The etcd3 package's own messages and stubs, made to load with today's protobuf.

etcd3 0.12 (2020) carries generated modules that protobuf has refused since its release 4. The
descriptors inside them are as good as ever, so the three message modules are built anew from them,
in a descriptor pool of their own: protobuf's C implementation, no compiler, no environment
variable, and no clash with another library that knows the same messages.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

_PACKAGE = "etcd3.etcdrpc"
_MODULES = ("kv_pb2", "auth_pb2", "rpc_pb2")
"""In the order of their imports of one another."""


def _install() -> None:
    """Put the rebuilt modules where ``etcd3.etcdrpc`` will import them from."""
    pool = descriptor_pool.DescriptorPool()
    for name in _MODULES:
        path = _directory() / f"{name}.py"
        pool.AddSerializedFile(_descriptor(path))
        sys.modules[f"{_PACKAGE}.{name}"] = _module(pool, path)


def _directory() -> Path:
    """Where etcd3 is installed; looked up without importing it."""
    found = importlib.util.find_spec("etcd3")
    if found is None or found.submodule_search_locations is None:
        raise ImportError("The package etcd3 is not installed.", name="etcd3")
    return Path(found.submodule_search_locations[0]) / "etcdrpc"


def _descriptor(path: Path) -> bytes:
    """The serialized file descriptor that a generated module passes on as ``serialized_pb``."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    for call in calls:
        for keyword in call.keywords:
            if keyword.arg == "serialized_pb" and isinstance(keyword.value, ast.Call):
                return str(ast.literal_eval(keyword.value.args[0])).encode("latin-1")
    raise ImportError(f"{path} carries no descriptor: this is not etcd3 0.12.", path=str(path))


def _module(pool: Any, path: Path) -> ModuleType:
    """The module that protoc would write today for a file that is in the pool."""
    module = ModuleType(f"{_PACKAGE}.{path.stem}")
    module.__file__ = str(path)
    module.__package__ = _PACKAGE
    contents = vars(module)
    contents["DESCRIPTOR"] = pool.FindFileByName(f"{path.stem.removesuffix('_pb2')}.proto")
    builder.BuildMessageAndEnumDescriptors(contents["DESCRIPTOR"], contents)
    builder.BuildTopDescriptorsAndMessages(contents["DESCRIPTOR"], module.__name__, contents)
    return module


if f"{_PACKAGE}.rpc_pb2" not in sys.modules:
    _install()

from etcd3 import etcdrpc  # noqa: E402 # only now can it be imported

rpc: Any = etcdrpc
"""The messages (``rpc.TxnRequest``) and stubs (``rpc.KVStub``); they carry no types."""
