"""Checks that only the console can answer: what it brings along itself. Importing this fills the catalogue."""

import asyncio
from datetime import UTC, datetime

from alerting.document import DocumentError
from probes.checks import World, check
from probes.finding import Finding, judged, unknown
from probes.shipped import rules_file
from tui import library


@check("runbooks.sound")
async def runbooks_sound(world: World) -> Finding:
    """Every alert has a runbook; every runbook leads somewhere, and was read against the system lately."""
    today = datetime.fromtimestamp(world.now(), UTC).date()
    try:
        found = await asyncio.to_thread(library.mistakes, library.directory(), rules_file(), today)
    except (OSError, DocumentError) as error:
        return unknown(str(error))
    return judged(
        not found, f"{len(found)} mistakes: {found[0]}" if found else "complete, and read lately", "\n".join(found)
    )
