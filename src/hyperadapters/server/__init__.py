"""An HTTP server for thousands of adapters on one backbone, and its client.

Read `app` first (the routes), then `engine` (what answers a query) and `batcher` (which rows are computed together);
`ray_serving` runs the same app on a cluster. The extra `serve` installs what it needs. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
