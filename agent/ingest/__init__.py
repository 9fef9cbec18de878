"""MQTT to PostgreSQL. Every delivery ends as row, duplicate, dead letter, spooled, or unacknowledged."""
