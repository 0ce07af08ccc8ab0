"""Many runs: a list of experiments, carried out by processes, a cluster, or together on one backbone.

Read `sweeping` (`sweep`) and `jobs` first. `experiment_files`, `keys` and `narrowing` say what is run; `executors`,
`processes`, `worker` and `ray_cluster` who runs it, `attempts` how; `packing` trains several runs in one pass,
`in_turn` is the simple way in one process. `selection` chooses settings from results, `forecasting` says how long a
sweep takes. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
