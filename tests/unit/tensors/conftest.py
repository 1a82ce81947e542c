"""Builders of small tensor files are shared by the tests of this folder and by the property tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out
