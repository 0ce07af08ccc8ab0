"""What other packages use of this one; each name is imported when it is first used."""

from .batcher import open_predictor as open_predictor
from .predictor import Predictor as Predictor
from .predictor import write_predictions as write_predictions
