"""Runbooks: Markdown that people read, with at most one fenced step a section that a program can offer to do."""
