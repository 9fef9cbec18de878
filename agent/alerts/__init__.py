"""Evaluates rules, keeps what they find, and tells people. What is decided is in alerting/."""
