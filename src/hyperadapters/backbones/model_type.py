"""The type of a backbone, for type checkers."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    class Backbone(PreTrainedModel):  # type: ignore[misc]
        """A model of the transformers library that may write text; there, no class declares that it does."""

        def generate(self, inputs: Tensor | None = None, **options: Any) -> Any:
            """Write text, as `GenerationMixin.generate` describes; encoders cannot."""

else:
    Backbone = nn.Module
