"""Lru: a bounded, thread-safe memory of things that never change under their key.

Knows no git: whoever uses it chooses keys under which a value is true for ever (object names, commit ids), so that
nothing ever has to be invalidated but by eviction.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `weight_max` in all, the least recently used going first. A value heavier than that is not kept."""

    def __init__(self, weight_max: int) -> None:
        self._weight_max = weight_max
        self._weight = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            found = self._items.get(key)
            if found is None:
                return None
            self._items.move_to_end(key)
            return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        with self._lock:
            self._drop(key)
            if weight > self._weight_max:
                return
            self._items[key] = (value, weight)
            self._weight += weight
            while self._weight > self._weight_max:
                _, (_, gone) = self._items.popitem(last=False)
                self._weight -= gone

    def drop(self, key: K) -> None:
        with self._lock:
            self._drop(key)

    def __len__(self) -> int:
        return len(self._items)

    def _drop(self, key: K) -> None:
        old = self._items.pop(key, None)
        if old is not None:
            self._weight -= old[1]
