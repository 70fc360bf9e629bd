"""An etcd whose users have passwords."""

from __future__ import annotations

from dedupd.store.etcd_cluster import Cluster
from dedupd.store.etcd_stubs import rpc

USER, PASSWORD = "dedupd", "secret"


async def enable(cluster: Cluster, prefix: str) -> None:
    """Switch authentication on; USER may read and write below ``prefix``, and nothing else."""
    grant = rpc.AuthRoleGrantPermissionRequest(name="records")
    grant.perm.permType = 2  # auth.proto: READWRITE
    grant.perm.key, grant.perm.range_end = prefix.encode(), prefix[:-1].encode() + b"0"
    for method, message in (
        ("UserAdd", rpc.AuthUserAddRequest(name="root", password="root")),
        ("UserGrantRole", rpc.AuthUserGrantRoleRequest(user="root", role="root")),
        ("UserAdd", rpc.AuthUserAddRequest(name=USER, password=PASSWORD)),
        ("RoleAdd", rpc.AuthRoleAddRequest(name="records")),
        ("RoleGrantPermission", grant),
        ("UserGrantRole", rpc.AuthUserGrantRoleRequest(user=USER, role="records")),
        ("AuthEnable", rpc.AuthEnableRequest()),
    ):
        await cluster.ask("Auth", method, message)
