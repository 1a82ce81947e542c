"""Readers of what others publish: one file per kind of source, each of which fills tables of schema.py.

`door.import_source` is the way in. An importer says by which columns it knows its kind, and gives an SQL expression
for each column of each table; job.py runs them over the input without holding it in memory, and keeps account of every
value that could not be read.
"""
