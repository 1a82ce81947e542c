"""All of `headwater observatory`; loaded when it is asked for, since its libraries weigh more than the whole hub."""

from __future__ import annotations

from headwater.cli.observe import observatory
from headwater.cli.observe_ask import ask, questions
from headwater.cli.observe_show import chart, claims, report

for command in (ask, questions, claims, chart, report):
    observatory.add_command(command)

__all__ = ["observatory"]
