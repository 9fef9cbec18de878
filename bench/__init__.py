"""Measurements. Never part of the tests: they print numbers and save them."""
