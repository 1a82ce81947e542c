"""Every question of the Observatory, one file per group; ask.py collects them."""
