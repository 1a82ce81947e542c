"""Automated series: models that one account made by machine, told by name, base and time.

Sweeps over seeds, steps and checkpoints, course exercises, generated papers and mining keys fill a hub with thousands
of models that are one act. Without them set apart, counts of releases and derivatives measure bots.
"""
from __future__ import annotations
from headwater.observatory.questions.plan import Step
def steps(models: str, bases: str) -> tuple[Step, ...]:
    return ()
