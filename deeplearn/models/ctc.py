"""A convolutional recogniser: log-mel frames in, letters out, as Wav2Letter and QuartzNet read speech.

Collobert et al. (2016), arXiv:1609.03193; Kriman et al. (2020), arXiv:1910.10261. Letters: B rows, F frames, M mel
bands, T = F / stride steps, D width, V symbols of which 0 is CTC's blank.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class ConvCTC(nn.Module):
    """Residual convolutions over time behind one that is strided."""

    symbols: int
    """Letters and the blank."""
    width: int = 160
    """Channels."""
    layers: int = 6
    """Residual convolutions; the last two look twice as far."""
    kernel: int = 5
    """Steps that each of them sees."""
    stride: int = 3
    """Frames a step."""
    dropout: float = 0.1
    """Share of channels dropped after each of them, and twice that before the last product."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F M"], frames: Int[Array, "B"], *, train: bool
    ) -> tuple[Float[Array, "B T V"], Int[Array, "B"]]:
        """(logits, steps of each row); what lies behind a row's frames changes nothing."""
        steps = -(-frames // self.stride)
        # "SAME" would move the strided places with the length of the array.
        x = nn.Conv(self.width, (11,), (self.stride,), [(5, 5)], use_bias=False)(x)
        real = (jnp.arange(x.shape[1])[None] < steps[:, None])[..., None]  # [B, T, 1]
        x = self.activated(x, real, train)
        for layer in range(self.layers):
            reach = 1 if layer < self.layers - 2 else 2
            y = nn.Conv(self.width, (self.kernel,), use_bias=False, kernel_dilation=(reach,))(x)
            y = nn.Dropout(self.dropout, deterministic=not train)(self.activated(y, real, train))
            x = x + y
        x = self.activated(nn.Conv(2 * self.width, (1,), use_bias=False)(x), real, train)
        x = nn.Dropout(2 * self.dropout, deterministic=not train)(x)
        return nn.Dense(self.symbols)(x), steps

    @nn.nowrap
    def activated(self, x: Float[Array, "B T D"], real: Bool[Array, "B T 1"], train: bool) -> Float[Array, "B T D"]:
        """Normalised by the statistics of real steps alone; zero behind the end, where the next convolution looks."""
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.95)
        return nn.relu(norm(x, mask=jnp.broadcast_to(real, x.shape))) * real.astype(x.dtype)
