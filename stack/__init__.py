"""A private PostgreSQL, Mosquitto, agent and fleet on this machine: for demo, tests, drills and benchmarks."""
