"""How the rates of Table 1 were found: every method at five rates, the best chosen on validation."""

import hyperadapters as ha
import table1
from recipes import at_rates


def experiments() -> list[ha.Experiment]:
    return at_rates(table1.experiments())
