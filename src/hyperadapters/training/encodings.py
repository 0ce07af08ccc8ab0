"""The encoding of each kind of backbone."""

from hyperadapters.backbones import BackboneKind
from hyperadapters.training.decoder import Decoder
from hyperadapters.training.encoder import Encoder
from hyperadapters.training.encoder_decoder import EncoderDecoder
from hyperadapters.training.encoding import Encoding

ENCODINGS: dict[BackboneKind, Encoding] = {kind.name: kind for kind in (EncoderDecoder(), Encoder(), Decoder())}
"""Every kind by its name."""
