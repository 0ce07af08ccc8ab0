"""What other packages use of this one; each name is imported when it is first used."""

from .batcher import Batcher as Batcher
from .batcher import Waiting as Waiting
from .client import ServerFan as ServerFan
from .client import ServerPredictor as ServerPredictor
from .queries import Answer as Answer
from .queries import Gauges as Gauges
from .queries import Limits as Limits
from .queries import Query as Query
from .queries import Reply as Reply
from .ray_serving import Replicas as Replicas
from .ray_serving import serve_on_ray as serve_on_ray
from .serving import open_catalogue as open_catalogue
from .serving import open_engine as open_engine
from .serving import serve_http as serve_http
