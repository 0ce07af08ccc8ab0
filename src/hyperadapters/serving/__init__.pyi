"""What other packages use of this one; each name is imported when it is first used."""

from . import exporting as exporting
from .catalogue import Catalogue as Catalogue
from .catalogue import ServedTask as ServedTask
from .exporting import ExportFormat as ExportFormat
from .exporting import export as export
from .fan import Fan as Fan
from .fan import check_fans as check_fans
from .fan import file_of_all as file_of_all
from .folder_predictor import open_predictor as open_predictor
from .harness_scores import harness_model as harness_model
from .harness_scores import score_with_harness as score_with_harness
from .loaded_adapters import LoadedAdapters as LoadedAdapters
from .prediction_file import answered_row as answered_row
from .prediction_file import as_json as as_json
from .prediction_file import check_prediction_file as check_prediction_file
from .prediction_file import check_scored as check_scored
from .prediction_file import check_unanswered as check_unanswered
from .prediction_file import write_predictions as write_predictions
from .predictor import ROWS_AT_ONCE as ROWS_AT_ONCE
from .predictor import Predictor as Predictor
from .predictor import rows_of_file as rows_of_file
from .predictor import rows_of_texts as rows_of_texts
from .saved_tasks import answer_column as answer_column
from .saved_tasks import saved_task as saved_task
from .shared_passes import SharedPasses as SharedPasses
from .shared_passes import by_group as by_group
