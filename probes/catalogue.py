"""All checks, under one name: importing this fills the catalogue."""

from probes import checks_az, checks_db, checks_hard, checks_host, checks_net, checks_smoke, checks_tenants, checks_vm
from probes.checks import CHECKS, Argument, Check, Listener, Probe, World, ask, database

__all__ = ["CHECKS", "PARTS", "Argument", "Check", "Listener", "Probe", "World", "ask", "database"]
PARTS = (checks_az, checks_db, checks_hard, checks_host, checks_net, checks_smoke, checks_tenants, checks_vm)
