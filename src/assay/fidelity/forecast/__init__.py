"""The forecast of a profile: how likely a sound benchmark passes each gate, and what that costs, before it is paid.

`expect` says what is known of each model, `rates` draws how often it solves each task, `simulated` makes rollouts of
that, and `forecast` lets the gates themselves judge these.
"""

from assay.fidelity.forecast.expectation import Expectation, Rates, expect
from assay.fidelity.forecast.forecast import TRIALS, Setting, forecast, tasks_of_size

__all__ = ["TRIALS", "Expectation", "Rates", "Setting", "expect", "forecast", "tasks_of_size"]
