"""S3-compatible server (S3Proxy) over a folder: the landing bucket of the click collector."""

from __future__ import annotations

from infra.local.jars import jar_paths
from infra.local.plan import Plan, write_private
from infra.local.processes import Launch
from infra.local.service import Service, http_answers, java, simple_logging

NAME = "s3"


def prepare(plan: Plan) -> Launch:
    """Write the settings, which hold the keys, and make the folder of the buckets."""
    folder = plan.folder(NAME)
    (folder / "buckets").mkdir(parents=True, exist_ok=True)
    properties = {
        "s3proxy.endpoint": f"http://{plan.address(NAME)}",
        "s3proxy.authorization": "aws-v2-or-v4",
        "s3proxy.identity": plan.secrets["s3_access"],
        "s3proxy.credential": plan.secrets["s3_secret"],
        "jclouds.provider": "filesystem-nio2",
        "jclouds.filesystem.basedir": str(folder / "buckets"),
    }
    file = folder / "s3proxy.properties"
    write_private(file, "".join(f"{key}={value}\n" for key, value in properties.items()))
    command = [*java(192, *simple_logging("warn")), "-jar", str(jar_paths("s3proxy")[0]), "--properties", str(file)]
    return Launch(command, folder, {"LOG_LEVEL": "warn"})


def answers(plan: Plan) -> bool:
    """Whether the server answers; without a signature it has to refuse."""
    return http_answers(f"http://{plan.address(NAME)}/", expected=(403,))


SERVICE = Service(NAME, ("s3",), prepare, answers)
