"""What notifications and the lister missed: list the prefixes of whole days and announce what Bronze does not hold.

Only this finds an object whose notification was lost, and (for stores without notifications) one whose key is older
than the newest announced. Keys must have the layout `<prefix>date=YYYY-MM-DD/...` with the UTC day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from lakehouse.logs import get_logger
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from streaming.announcer import Announcer
from streaming.landing_bucket import listed
from streaming.object_register import settled, version_of

log = get_logger(__name__)
DAYS_BACK = 2


@dataclass(frozen=True)
class Reconciliation:
    """Objects of some days: how many the bucket holds, Bronze knows, were announced, and are still being written."""

    listed: int
    known: int
    announced: int
    incomplete: int


def nights_days(business_date: date) -> list[date]:
    """The UTC days that a night looks through: the business day, the day after, and two days for late objects."""
    first = business_date - timedelta(days=DAYS_BACK)
    return [first + timedelta(days=number) for number in range(DAYS_BACK + 2)]


def reconcile(settings: Settings, days: Sequence[date]) -> Reconciliation:
    """Compare the bucket with `ops.click_objects` by key, etag and size, and announce the rest.

    An object that is announced but not read yet is announced again; the stream drops the repeat. Raises
    `ServiceUnreachable`.
    """
    s3 = s3_client(settings)
    known = settled(settings, days)
    prefixes = [f"{settings.landing_prefix}date={day}/" for day in days]
    found = [one for prefix in prefixes for _, one in listed(s3, settings, prefix)]
    complete = [one for one in found if one is not None]
    missed = [one for one in complete if version_of(one) not in known]
    if missed:
        Announcer(settings).send(one.to_json() for one in missed)
    result = Reconciliation(
        listed=len(found),
        known=len(complete) - len(missed),
        announced=len(missed),
        incomplete=len(found) - len(complete),
    )
    log.info("click_objects_reconciled", first=str(min(days)), last=str(max(days)), **vars(result))
    return result
