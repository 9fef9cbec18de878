"""The database: a row type, or a statement on rows. The only package that imports asyncpg."""
