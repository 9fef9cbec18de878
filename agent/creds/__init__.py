"""Credential sets from the database into the broker, and proof that they are in force."""
