"""What every room stands on: settings, errors, names, the database, events, jobs, clock, log.

Knows no room: nothing here imports `headwater.store`, `headwater.accounts` or anything above them, and nothing here
knows what a repository is beyond how its name is spelled.
"""
