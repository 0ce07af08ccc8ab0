"""What other packages use of this one; each name is imported when it is first used."""

from .adapterhub import adapterhub_backbone as adapterhub_backbone
from .adapterhub import export_adapterhub as export_adapterhub
from .adapterhub import is_adapterhub as is_adapterhub
from .collection import Collection as Collection
from .collection import locate_adapters as locate_adapters
from .compacter_checkpoints import load_compacter_checkpoint as load_compacter_checkpoint
from .loading import backbone_of as backbone_of
from .loading import check_backbone as check_backbone
from .loading import check_config as check_config
from .loading import load as load
from .loading import outline as outline
from .loading import read_adapter as read_adapter
from .loading import read_config as read_config
from .loading import saved_structure as saved_structure
from .loading import task_embeddings as task_embeddings
from .lora_export import export_lora as export_lora
from .pushing import push_adapters as push_adapters
from .repositories import locate_adapter as locate_adapter
