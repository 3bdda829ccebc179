"""Dense outputs: medical images in the style of MONAI, U-Nets, autoencoders."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from network import Collection, real

collection = Collection("MONAI")
VOLUME, IMAGE = {"x": real(1, 16, 16, 16)}, {"x": real(3, 32, 32)}


class Convolution(nn.Sequential):
    """MONAI's block: modules named conv and adn.N, adn.A."""

    def __init__(self, inputs, outputs, stride=1, transposed=False):
        super().__init__()
        conv = (
            nn.ConvTranspose3d(inputs, outputs, 3, stride, 1, output_padding=stride - 1)
            if transposed
            else nn.Conv3d(inputs, outputs, 3, stride, 1)
        )
        self.add_module("conv", conv)
        adn = nn.Sequential()
        adn.add_module("N", nn.InstanceNorm3d(outputs))
        adn.add_module("D", nn.Dropout(0.1))
        adn.add_module("A", nn.PReLU())
        self.add_module("adn", adn)


class ResidualUnit(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = nn.Sequential(Convolution(inputs, outputs, stride), Convolution(outputs, outputs))
        self.residual = nn.Conv3d(inputs, outputs, 3, stride, 1) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        res = self.residual(x)
        return self.conv(x) + res


class SkipConnection(nn.Module):
    def __init__(self, submodule):
        super().__init__()
        self.submodule = submodule

    def forward(self, x):
        y = self.submodule(x)
        return torch.cat([x, y], dim=1)


class UNet3d(nn.Module):
    """Levels nested in one another: model.1.submodule.1.submodule ..."""

    def __init__(self):
        super().__init__()
        inner = nn.Sequential(ResidualUnit(4, 8, 2), SkipConnection(ResidualUnit(8, 8, 1)), Convolution(16, 4, 2, True))
        self.model = nn.Sequential(ResidualUnit(1, 4, 2), SkipConnection(inner), Convolution(8, 3, 2, True))

    def forward(self, x):
        return self.model(x)


collection.add("unet_3d", VOLUME, small=True)(UNet3d)


class SegResNet(nn.Module):
    """Group norms, and a skip that is added after upsampling."""

    def __init__(self):
        super().__init__()
        self.convInit, self.down = nn.Conv3d(1, 8, 3, padding=1, bias=False), nn.Conv3d(8, 16, 3, 2, 1, bias=False)
        self.block1, self.block2 = self.block(8), self.block(16)
        self.up = nn.Sequential(
            nn.Conv3d(16, 8, 1, bias=False), nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        )
        self.conv_final = nn.Sequential(nn.GroupNorm(4, 8), nn.ReLU(inplace=True), nn.Conv3d(8, 2, 1))

    @staticmethod
    def block(channels):
        return nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(4, channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x):
        x = F.dropout3d(self.convInit(x), 0.2, training=self.training)
        x = x + self.block1(x)
        skips = [x]
        x = self.down(x)
        x = x + self.block2(x)
        skips.reverse()
        x = self.up(x) + skips[0]
        return self.conv_final(x)


collection.add("segresnet", VOLUME)(SegResNet)


class DynUNet(nn.Module):
    """Deep supervision: outputs of every level, as one tensor in training and several here."""

    def __init__(self, stacked):
        super().__init__()
        self.input_block, self.down, self.bottom = (
            self.block(a, b, s) for a, b, s in ((1, 4, 1), (4, 8, 2), (8, 8, 2))
        )
        self.up1, self.up2 = nn.ConvTranspose3d(8, 8, 2, 2, bias=False), nn.ConvTranspose3d(8, 4, 2, 2, bias=False)
        self.dec1, self.dec2 = self.block(16, 8, 1), self.block(8, 4, 1)
        self.head, self.head1 = nn.Conv3d(4, 2, 1), nn.Conv3d(8, 2, 1)
        self.stacked = stacked

    @staticmethod
    def block(inputs, outputs, stride):
        return nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )

    def forward(self, x):
        a = self.input_block(x)
        b = self.down(a)
        c = self.bottom(b)
        d = self.dec1(torch.cat((self.up1(c), b), dim=1))
        e = self.dec2(torch.cat((self.up2(d), a), dim=1))
        out, deep = self.head(e), self.head1(d)
        if self.stacked:
            return torch.stack([out, F.interpolate(deep, out.shape[2:])], dim=1)
        return [out, deep]


collection.add("dynunet_several_outputs", VOLUME)(partial(DynUNet, False))
collection.add("dynunet_stacked_outputs", VOLUME)(partial(DynUNet, True))


class UNETR(nn.Module):
    """A transformer over patches of the volume, its tokens made a volume again."""

    def __init__(self):
        super().__init__()
        self.patch, self.position = nn.Conv3d(1, 12, 8, 8), nn.Parameter(torch.randn(1, 8, 12) * 0.1)
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(12, 2, 24, batch_first=True, norm_first=True) for _ in range(2)]
        )
        self.norm, self.out = nn.LayerNorm(12), nn.Conv3d(8, 2, 1)
        self.up = nn.Sequential(nn.ConvTranspose3d(12, 8, 2, 2), nn.ConvTranspose3d(8, 8, 4, 4))

    def proj_feat(self, x):
        new = [x.size(0), 2, 2, 2, 12]
        return x.view(new).permute(0, 4, 1, 2, 3).contiguous()

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(-1, -2) + self.position
        hidden = []
        for block in self.blocks:
            x = block(x)
            hidden.append(x)
        return self.out(self.up(self.proj_feat(self.norm(x)) + self.proj_feat(hidden[0])))


collection.add("unetr", VOLUME)(UNETR)


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class UNet2d(nn.Module):
    """The well-known one: sizes that do not fit are padded when skips are put beside."""

    def __init__(self, bilinear):
        super().__init__()
        self.inc, self.down1 = DoubleConv(3, 6), nn.Sequential(nn.MaxPool2d(2), DoubleConv(6, 12))
        self.up = (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            if bilinear
            else nn.ConvTranspose2d(12, 12, 2, 2)
        )
        self.conv, self.outc = DoubleConv(18, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.up(self.down1(x1))
        diff_y, diff_x = x1.size()[2] - x2.size()[2], x1.size()[3] - x2.size()[3]
        x2 = F.pad(x2, [diff_x // 2, diff_x - diff_x // 2, diff_y // 2, diff_y - diff_y // 2])
        return self.outc(self.conv(torch.cat([x1, x2], dim=1)))


collection.add("unet_2d_bilinear", {"x": real(3, 33, 33)})(partial(UNet2d, True))
collection.add("unet_2d_transposed", {"x": real(3, 33, 33)})(partial(UNet2d, False))


class FPN(nn.Module):
    """A feature pyramid, nearest upsampling by size, levels in a dictionary."""

    def __init__(self):
        super().__init__()
        self.c2, self.c3 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.lateral = nn.ModuleList([nn.Conv2d(8, 6, 1), nn.Conv2d(16, 6, 1)])
        self.smooth = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        c2 = F.relu(self.c2(x))
        c3 = F.relu(self.c3(c2))
        p3 = self.lateral[1](c3)
        p2 = self.smooth(self.lateral[0](c2) + F.interpolate(p3, size=c2.shape[-2:], mode="nearest"))
        return {"p2": p2, "p3": p3, "pool": F.max_pool2d(p3, 1, 2, 0)}


collection.add("feature_pyramid", IMAGE)(FPN)


class SuperResolution(nn.Module):
    """Pixel shuffle, reflections at the border, a skip over everything."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.Conv2d(
            8, 12, 3, padding=1, padding_mode="replicate"
        )
        self.shuffle, self.act = nn.PixelShuffle(2), nn.PReLU(8)

    def forward(self, x):
        return self.shuffle(self.body(self.act(self.head(x)))) + F.interpolate(
            x, scale_factor=2, mode="bicubic", align_corners=False
        )


collection.add("super_resolution", IMAGE)(SuperResolution)


class VAE(nn.Module):
    """In evaluation mode the mean stands for the sample."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ELU(), nn.Flatten())
        self.fc_mu, self.fc_var, self.decoder_input = nn.Linear(1536, 4), nn.Linear(1536, 4), nn.Linear(4, 96)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(6, 6, 3, 2, 1, 1),
            nn.SELU(),
            nn.UpsamplingNearest2d(scale_factor=4),
            nn.Conv2d(6, 3, 3, padding=1),
            nn.Tanh(),
        )

    def reparameterize(self, mu, log_var):
        if self.training:
            return mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return mu

    def forward(self, x):
        encoded = self.encoder(x)
        mu, log_var = self.fc_mu(encoded), self.fc_var(encoded)
        z = self.reparameterize(mu, log_var)
        return self.decoder(self.decoder_input(z).view(-1, 6, 4, 4)), mu, log_var


collection.add("vae", IMAGE)(VAE)


@collection.add("autoencoder", {"input": real(32)})
def autoencoder():
    return nn.Sequential(
        nn.Sequential(nn.Linear(32, 12), nn.ReLU(True), nn.Linear(12, 3)),
        nn.Sequential(nn.Linear(3, 12), nn.ReLU(True), nn.Linear(12, 32), nn.Sigmoid()),
    )


class MaxUnpool(nn.Module):
    """SegNet: the places of the maxima are used on the way up."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.unpool, self.out = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.MaxPool2d(2, return_indices=True),
            nn.MaxUnpool2d(2),
            nn.Conv2d(6, 2, 3, padding=1),
        )

    def forward(self, x):
        x, places = self.pool(torch.tanh(self.conv(x)))
        return self.out(self.unpool(x, places))


collection.add("segnet_unpooling", IMAGE)(MaxUnpool)


class Diffusion(nn.Module):
    """A denoiser: an image and the number of a step, embedded by sines."""

    def __init__(self):
        super().__init__()
        self.time, self.conv1, self.conv2 = (
            nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8)),
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 3, 3, padding=1),
        )
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x, timestep):
        frequency = torch.exp(-torch.arange(4, dtype=torch.float32, device=x.device) * 2.0)
        angle = timestep[:, None].float() * frequency[None, :]
        embedded = self.time(torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1))
        h = F.silu(self.norm(self.conv1(x)) + embedded[:, :, None, None])
        return self.conv2(h)


collection.add("diffusion_step", {**IMAGE, "timestep": lambda samples, generator: 3 + 7 * torch.arange(samples)})(
    Diffusion
)
