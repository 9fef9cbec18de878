"""A fleet that publishes through a real broker, for demos, drills and load."""
