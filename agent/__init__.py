"""The headless service on the VM: ingest, credentials, alerts, health. Never imports tui."""
