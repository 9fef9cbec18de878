"""Checks that only an agent can answer: what its own parts and its machine show. How, only the agent knows."""

from probes.checks import of_agent
from probes.finding import Signature

of_agent("service.active", "whether the broker's service runs, by actions.status_command")
of_agent("broker.files", "whether the broker could start with the files it has: passwords, ACL, certificate and key")
of_agent("journal.tail", "the end of a log", Signature(frozenset({"service"}), frozenset({"lines"})))
of_agent(
    "canary.send", "whether a message goes through broker and table now: the agent sends one and waits for its row"
)
of_agent("creds.enforced", "whether the newest set is in force, and other tenants' topics are denied: by logging in")
of_agent(
    "net.listening",
    "only these ports are open on addresses that others reach",
    Signature(frozenset(), frozenset({"allowed"})),
)
of_agent("tls.served_file", "the broker serves the certificate that is on the disk")
of_agent("tls.renewal", "the certificate is renewed by itself, by actions.renewal_command")
of_agent("tls.no_insecure", "no script or configuration of the machine switches verification off")
of_agent("key.private", "nobody but the broker and its group reads the broker's key")
of_agent("broker.files_private", "passwords are hashed, and nobody else reads or writes the broker's files")
of_agent("broker.acl_narrow", "no device has rights on all topics or on another tenant's")
of_agent("broker.limits", "the broker limits connections, packets and queues")
of_agent("broker.persistent", "the broker keeps what it queues over a restart")
of_agent("broker.reload_safe", "a damaged file does not open the broker when it is reloaded")
of_agent("broker.current", "the distribution has no newer broker")
of_agent("rollback.kept", "the set in force is kept on the disk, to be put back without the database")
of_agent("secrets.private", "nobody else reads the agent's own secrets and state")
of_agent("secrets.unseen", "no secret of the agent stands in logs, scripts or shell histories")
of_agent("secrets.no_argument", "no process shows a secret of the agent in its arguments")
of_agent("agent.unprivileged", "the agent runs without root's rights, and cannot get any")
of_agent("unit.sandbox", "systemd keeps agent and broker in a sandbox, by actions.sandbox_command")
of_agent("ssh.hardened", "SSH takes keys only, and not root, by actions.sshd_command")
of_agent("updates.automatic", "security updates come by themselves, and a restart that they need is not put off")
