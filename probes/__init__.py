"""Read-only questions about the world: host, TLS, broker, database."""
