"""The Observatory: the open-model ecosystem measured, with every choice stated and every claim checked.

This room turns other people's metadata and the hub's own events into dated snapshots of one set of tables (schema.py),
kept in files of their own (world.py), and answers questions over them (run.py). It refuses to know HTTP servers, pages
and people: what it reads was written by strangers, and what it answers is a table.
"""
