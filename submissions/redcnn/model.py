"""RED-CNN: an encoder and a decoder of 5 x 5 convolutions with shortcuts (Chen et al., IEEE TMI 36, 2017)."""

from torch import nn

LAYERS = 5


class Network(nn.Module):
    """Five convolutions without padding and five transposed ones, `width` channels between them. The paper's has 96."""

    def __init__(self, width=96):
        super().__init__()
        self.encoder = nn.ModuleList(nn.Conv2d(width if layer else 1, width, 5) for layer in range(LAYERS))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(width, width if layer < LAYERS - 1 else 1, 5) for layer in range(LAYERS)
        )

    def denoise(self, noisy):
        """(n, 1, height, width), 0 to 1 -> the same, clean."""
        values, shortcuts = noisy, []
        for layer, convolution in enumerate(self.encoder):
            if layer % 2 == 0:  # the input, and what the second and the fourth convolution give
                shortcuts.append(values)
            values = convolution(values).relu()
        for layer, transposed in enumerate(self.decoder):
            values = transposed(values)
            if layer % 2 == 0:
                values = values + shortcuts.pop()
            values = values.relu()
        return values

    def loss(self, noisy, clean):
        """The paper's equation 4: the squared error."""
        return nn.functional.mse_loss(self.denoise(noisy), clean)
