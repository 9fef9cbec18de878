"""All checks, under one name: importing this fills the catalogue."""

from probes import checks_az, checks_db, checks_hard, checks_host, checks_net
from probes.checks import CHECKS, Argument, Check, Listener, World, ask

__all__ = ["CHECKS", "PARTS", "Argument", "Check", "Listener", "World", "ask"]
PARTS = (checks_az, checks_db, checks_hard, checks_host, checks_net)
