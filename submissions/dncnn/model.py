"""DnCNN: plain convolutions with batch normalisation that predict the noise (Zhang et al., IEEE TIP 26, 2017)."""

from torch import nn


class Network(nn.Module):
    """`depth` convolutions of 3 x 3, `width` channels between them. The paper's has 17 of 64."""

    def __init__(self, width=64, depth=17):
        super().__init__()
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def denoise(self, noisy):
        """(n, 1, height, width), 0 to 1 -> the same, clean."""
        return noisy - self.layers(noisy)

    def loss(self, noisy, clean):
        """The paper's equation 1: the squared error of the predicted noise."""
        return nn.functional.mse_loss(self.layers(noisy), noisy - clean)
