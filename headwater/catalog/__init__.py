"""What is known about a revision: card, tags, sizes, counts; what search looks in. Derived: may be thrown away.

Invariants: every row names the commit it was read from; a wrong row is never a data-loss bug; lists are filtered in
SQL by what the actor may see. Refuses to know: HTTP, how bytes are kept.
"""
