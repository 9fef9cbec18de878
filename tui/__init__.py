"""The console. No SQL here; what it shows and changes are rows."""
