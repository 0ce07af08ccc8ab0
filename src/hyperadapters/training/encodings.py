"""The encoding of each kind of backbone."""

from hyperadapters.backbones import BackboneKind
from hyperadapters.training.decoder import Decoder
from hyperadapters.training.encoder import Encoder
from hyperadapters.training.encoder_decoder import EncoderDecoder
from hyperadapters.training.encoding import Encoding

ENCODINGS: dict[BackboneKind, Encoding] = {
    encoding.name: encoding for encoding in (EncoderDecoder(), Encoder(), Decoder())
}
"""By the name of the kind of backbone."""
