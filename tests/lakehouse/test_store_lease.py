"""Where tables are on S3 the store decides who holds a lease: seen on the real S3-compatible server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
import pytest
import waiting

from lakehouse import lease
from lakehouse.errors import LeaseHeld, LeaseLost, ServiceUnreachable, StoreIgnoresConditions
from lakehouse.object_store import Store, s3_client, store_of
from lakehouse.settings import PREFIX, Settings
from lakehouse.store_lease import StoreLease

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
until = partial(waiting.until, seconds=60.0, pause=0.02)
FOLDER = "leased"
SECONDS = 4.0
CHILD = """
import sys
from lakehouse import lease
from lakehouse.errors import LeaseLost
from lakehouse.settings import load_settings
try:
    with lease.hold("stream-a", load_settings()) as held:
        print("held", flush=True)
        sys.stdin.readline()
        held.require()
except LeaseLost as error:
    print(error, flush=True)
"""


@pytest.fixture
def settings(stack: Settings) -> Iterator[Settings]:
    """A warehouse in the landing bucket, and a term of a few seconds."""
    uri = f"s3a://{stack.landing_bucket}/{FOLDER}"
    own = stack.model_copy(update={"warehouse_uri": uri, "lease_seconds": SECONDS})
    yield own
    s3_client(own).delete_object(**place(own))


def place(settings: Settings) -> dict[str, str]:
    return {"Bucket": settings.landing_bucket, "Key": f"{FOLDER}/_leases/stream-a.json"}


def shown(settings: Settings) -> dict[str, Any]:
    return dict(json.loads(s3_client(settings).get_object(**place(settings))["Body"].read()))


def made(settings: Settings, client: Any = None, seconds: float = SECONDS) -> StoreLease:
    bucket, key = place(settings).values()
    return StoreLease("stream-a", store_of(settings), client or s3_client(settings), bucket, key, seconds)


@contextmanager
def holder_elsewhere(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """Another driver that holds the lease, until it is told to go on."""
    names = ("home", "warehouse_uri", "lease_seconds", "s3_endpoint", "s3_region")
    variables = {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}
    for name in ("s3_access_key", "s3_secret_key"):
        variables[f"{PREFIX}{name.upper()}"] = getattr(settings, name).get_secret_value()
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", CHILD], env=variables, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_second_holder_is_refused_and_told_who_holds_it(settings: Settings) -> None:
    with holder_elsewhere(settings) as other:
        told = rf"stream-a \(process {other.pid} on .+; it ends in \d s unless it is renewed\)"
        with pytest.raises(LeaseHeld, match=told), lease.hold("stream-a", settings):
            pass
        assert lease.is_held("stream-a", settings)
        output, _ = other.communicate("go on\n")
    # It did not notice that others looked.
    assert output == ""
    assert not lease.is_held("stream-a", settings)
    with lease.hold("stream-a", settings, wait_seconds=0):
        pass


def test_a_look_changes_nothing(settings: Settings) -> None:
    with lease.hold("stream-a", settings.model_copy(update={"lease_seconds": 60.0})):
        before = shown(settings)
        assert lease.is_held("stream-a", settings)
        assert shown(settings) == before
    assert not lease.is_held("stream-a", settings)
    assert "Contents" not in s3_client(settings).list_objects_v2(Bucket=settings.landing_bucket, Prefix=f"{FOLDER}/")


def test_a_holder_that_lives_stays_the_holder(settings: Settings) -> None:
    with lease.hold("stream-a", settings) as held:
        # Two and a half terms.
        until(lambda: int(shown(settings)["puts"]) > 10)
        held.require()
        assert lease.is_held("stream-a", settings)


def test_the_lease_of_a_killed_holder_is_taken_over_when_it_is_over(settings: Settings) -> None:
    with holder_elsewhere(settings) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with pytest.raises(LeaseHeld), lease.hold("stream-a", settings):
            pass
        with lease.hold("stream-a", settings, wait_seconds=60) as held:
            held.require()


def test_a_holder_that_slept_writes_nothing_more_and_removes_nothing(settings: Settings) -> None:
    with holder_elsewhere(settings) as other:
        other.send_signal(signal.SIGSTOP)
        with lease.hold("stream-a", settings, wait_seconds=60) as held:
            other.send_signal(signal.SIGCONT)
            output, _ = other.communicate("go on\n")
            assert output.startswith("This process has lost the lease stream-a")
            assert "could not be renewed in time" in output or "now held by process" in output
            held.require()


RIVAL = {"host": "rival", "pid": 7, "seconds": 60, "token": "x"}


def test_a_holder_that_was_replaced_is_told(settings: Settings) -> None:
    with pytest.raises(LeaseLost, match="now held by process 7 on rival"):
        be_replaced(settings)
    assert shown(settings) == RIVAL


def be_replaced(settings: Settings) -> None:
    told = threading.Event()
    with lease.hold("stream-a", settings, when_lost=told.set) as held:
        lease.require_all([held])
        s3_client(settings).put_object(**place(settings), Body=json.dumps(RIVAL).encode())
        assert told.wait(30)
        with pytest.raises(LeaseLost):
            lease.require_all([held])


def test_a_commit_is_refused_before_the_next_renewal_would_notice(settings: Settings) -> None:
    one = made(settings, seconds=600)
    assert one.take(lambda: None) == ""
    one.require()
    s3_client(settings).delete_object(**place(settings))
    with pytest.raises(LeaseLost, match="its object was removed"):
        one.require()


def test_of_many_at_once_one_holds_it(settings: Settings) -> None:
    def race() -> list[str]:
        rivals = [made(settings, seconds=60) for _ in range(8)]
        with ThreadPoolExecutor(len(rivals)) as pool:
            taken = [one for one, who in zip(rivals, pool.map(taken_by, rivals), strict=True) if not who]
        won = [one for one in taken if holds(one)]
        for one in rivals:
            one.release()
        return [one._token for one in won]

    assert len(race()) == 1
    is_over = RIVAL | {"seconds": -60}
    s3_client(settings).put_object(**place(settings), Body=json.dumps(is_over).encode())
    assert len(race()) == 1


def taken_by(one: StoreLease) -> str:
    return one.take(lambda: None)


def holds(one: StoreLease) -> bool:
    try:
        one.require()
    except LeaseLost:
        return False
    return True


def test_a_lease_that_was_renewed_meanwhile_is_not_taken_over(settings: Settings) -> None:
    holder, rival = made(settings, seconds=600), made(settings)
    assert holder.take(lambda: None) == ""
    seen = rival._look()
    assert seen is not None
    with holder._lock:
        holder._renew()
    assert not rival._put(IfMatch=seen.etag)
    holder.require()
    holder.release()


def test_a_renewal_that_does_not_get_through_in_time_loses_the_lease(settings: Settings) -> None:
    nobody = Store("http://127.0.0.1:9", "us-east-1", "x", "x")
    told = threading.Event()
    one = made(settings)
    assert one.take(told.set) == ""
    one._client = boto3.client(
        "s3", endpoint_url=nobody.endpoint, region_name="x", aws_access_key_id="x", aws_secret_access_key="x"
    )
    assert told.wait(60)
    with pytest.raises(LeaseLost, match="could not be renewed in time"):
        one.require()


def test_without_the_store_nobody_starts(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(ServiceUnreachable, match="lease stream-a"), lease.hold("stream-a", nowhere):
        pass
    no_bucket = settings.model_copy(update={"warehouse_uri": "s3a://nobodys-bucket/lake"})
    with pytest.raises(ServiceUnreachable, match="NoSuchBucket"), lease.hold("stream-a", no_bucket):
        pass


def test_a_store_that_ignores_conditions_is_refused(settings: Settings) -> None:
    store = store_of(settings)
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )

    def forget(request: Any, **_: Any) -> None:
        del request.headers["If-None-Match"]

    client.meta.events.register("before-sign.s3.PutObject", forget)
    with pytest.raises(StoreIgnoresConditions):
        made(settings, client).take(lambda: None)
    assert not lease.is_held("stream-a", settings)
