"""What an agent may be told to do: names and parameters. How it is done, only the agent knows. Pure."""

from probes.finding import Signature

ACTIONS = {
    "broker.restart": Signature(),
    "creds.apply": Signature(),
    "creds.restore": Signature(),
    "ingest.pause": Signature(frozenset({"minutes"})),
    "ingest.resume": Signature(),
    "spool.drain": Signature(),
}
