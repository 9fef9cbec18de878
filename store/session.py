"""Who we are to the database."""

from dataclasses import dataclass
from datetime import datetime

from store.db import Db

WHO = "select session_user::text as login, now() as now"


@dataclass(frozen=True, slots=True)
class Who:
    """now is the database's clock."""

    login: str
    now: datetime


async def who(db: Db) -> Who:
    row = await db.row(WHO)
    assert row is not None
    return Who(**row)
