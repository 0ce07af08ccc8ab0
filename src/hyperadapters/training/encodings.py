"""The encoding of each kind of backbone."""

from hyperadapters.backbones import BackboneKind
from hyperadapters.training.decoder import _Decoder
from hyperadapters.training.encoder import _Encoder
from hyperadapters.training.encoder_decoder import _EncoderDecoder
from hyperadapters.training.encoding import _Encoding

ENCODINGS: dict[BackboneKind, _Encoding] = {
    encoding.name: encoding for encoding in (_EncoderDecoder(), _Encoder(), _Decoder())
}
"""By the name of the kind of backbone."""
