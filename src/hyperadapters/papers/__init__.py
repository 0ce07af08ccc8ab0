"""Numbers of the papers: parameter counts, published scores, the table of costs.

Read `parameter_counts`. Everything a paper prints stands here once, with its source. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
