"""The headless service on the VM: ingest, credentials, alerts, health. Never imports tui."""

import sys

# structlog imports rich, if it is there, for a renderer that we do not use: 4 MB of the 60 that an agent may take.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog.dev  # noqa: F401

    del sys.modules["rich"]
