"""Everything that answers HTTP: parse a request, ask one room, shape the answer.

The five fronts (hub, git, lfs, xet, pages) do not know each other. This is the only storey that knows asyncio: handlers
are plain functions `(rooms, request) -> Answer`, run in worker threads. Refuses to know: SQL, git, byte layouts.
"""
