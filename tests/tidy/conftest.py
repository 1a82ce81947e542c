"""Lets the tidy tests import their rules: pytest's importlib mode leaves a test's own folder out of the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
