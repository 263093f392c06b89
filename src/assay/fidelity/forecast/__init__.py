"""The forecast of a profile: how likely a sound benchmark passes each gate, and the cost.

`expectation` has the expected score of each model, `rates` draws how often it solves each task, `simulation` makes
rollouts from these rates, and `forecast` lets the gates judge them.
"""

from assay.fidelity.forecast.expectation import Expectation, Rates, expect
from assay.fidelity.forecast.forecast import TRIALS, Setting, forecast, tasks_of_size

__all__ = ["TRIALS", "Expectation", "Rates", "Setting", "expect", "forecast", "tasks_of_size"]
