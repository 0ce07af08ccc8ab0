"""Tables, figures and documents from result files.

Read `writing` first: `report` says which sections there are. Results become estimates (`estimates`: scores with their
uncertainty), estimates become tables (`tables`, `row_counts`, with `notes` in words), tables become sections
(`sections`, of what `document` and `figures` define), and `markdown`, `latex`, `html` and `drawing` write those.
`comparison` is the short form that `train` and `compare` show. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
