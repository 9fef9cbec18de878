"""The seven panes: each loads rows, draws lines, and says what a key should bring about."""
