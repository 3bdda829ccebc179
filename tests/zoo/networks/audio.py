"""Sound: waveforms and spectrograms."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from network import Collection, real

collection = Collection("audio")
WAVE, SPECTROGRAM = {"x": real(1, 400)}, {"x": real(1, 16, 24)}


class M5(nn.Module):
    """The tutorial's network for raw sound."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.pool1 = nn.Conv1d(1, 8, 40, stride=4), nn.BatchNorm1d(8), nn.MaxPool1d(4)
        self.conv2, self.bn2, self.pool2 = nn.Conv1d(8, 16, 3), nn.BatchNorm1d(16), nn.MaxPool1d(4)
        self.fc1 = nn.Linear(16, 5)

    def forward(self, x):
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return F.log_softmax(self.fc1(x), dim=2)


collection.add("m5", WAVE)(M5)


class GlobalNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(1, channels, 1)), nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x):
        mean = x.mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        power = torch.pow(x - mean, 2).mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        return self.gamma * (x - mean) / torch.pow(power + 1e-8, 0.5) + self.beta


class Separator(nn.Module):
    """Conv-TasNet: encode, mask, decode by a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.encoder, self.norm, self.bottleneck = (
            nn.Conv1d(1, 8, 16, stride=8, bias=False),
            GlobalNorm(8),
            nn.Conv1d(8, 6, 1),
        )
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv1d(6, 12, 1),
                    nn.PReLU(),
                    GlobalNorm(12),
                    nn.Conv1d(12, 12, 3, padding=2**i, dilation=2**i, groups=12),
                    nn.PReLU(),
                    GlobalNorm(12),
                    nn.Conv1d(12, 6, 1),
                )
                for i in range(2)
            ]
        )
        self.mask, self.decoder = nn.Conv1d(6, 16, 1), nn.ConvTranspose1d(8, 1, 16, stride=8, bias=False)

    def forward(self, x):
        batch = x.shape[0]
        weights = F.relu(self.encoder(x))
        y = self.bottleneck(self.norm(weights))
        for block in self.blocks:
            y = y + block(y)
        masks = F.relu(self.mask(y)).view(batch, 2, 8, -1)
        return self.decoder((weights.unsqueeze(1) * masks).view(batch * 2, 8, -1)).view(batch, 2, -1)


collection.add("conv_tasnet", WAVE)(Separator)


class CRNN(nn.Module):
    """Convolutions, then a GRU with positions first; a log probability for every frame."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d((4, 2))
        )
        self.rnn, self.fc = nn.GRU(24, 8, bidirectional=True), nn.Linear(16, 5)

    def forward(self, x):
        x = self.cnn(x)
        b, c, h, w = x.size()
        x = x.view(b, c * h, w).permute(2, 0, 1)
        x, _ = self.rnn(x)
        t, b, h = x.size()
        x = self.fc(x.view(t * b, h)).view(t, b, -1)
        return F.log_softmax(x, dim=2).permute(1, 0, 2)


collection.add("crnn", SPECTROGRAM, small=True)(CRNN)


class SpectrogramNet(nn.Module):
    """The spectrogram is computed inside of the network."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.register_buffer("mel", torch.rand(33, 10))
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        spectrum = torch.stft(x.squeeze(1), 64, hop_length=32, window=self.window, return_complex=True)
        power = spectrum.abs().pow(2.0)
        mel = torch.matmul(power.transpose(-1, -2), self.mel).clamp(min=1e-5).log10().unsqueeze(1)
        return self.fc(F.relu(self.conv(mel)).mean((2, 3)))


collection.add("stft_inside", WAVE)(SpectrogramNet)


class FeatureExtractor(nn.Module):
    """wav2vec 2.0: group norm after the first convolution, layer norm over channels, convolved positions under weight norm."""

    def __init__(self):
        super().__init__()
        self.conv_layers = nn.ModuleList(
            [nn.Conv1d(1, 8, 10, stride=5, bias=False), nn.Conv1d(8, 8, 3, stride=2, bias=False)]
        )
        self.group, self.layer_norm, self.projection = nn.GroupNorm(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)
        self.pos_conv = nn.utils.weight_norm(nn.Conv1d(8, 8, 4, padding=2, groups=2), name="weight", dim=2)
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
        self.encoder, self.lm_head = nn.TransformerEncoder(encoder, 1), nn.Linear(8, 6)

    def forward(self, x):
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-7)
        x = F.gelu(self.group(self.conv_layers[0](x)))
        x = F.gelu(self.conv_layers[1](x)).transpose(1, 2)
        x = self.projection(self.layer_norm(x))
        positions = F.gelu(self.pos_conv(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
        return {"logits": self.lm_head(self.encoder(x + positions)), "extract_features": x}


collection.add("wav2vec2", WAVE)(FeatureExtractor)


class ConformerBlock(nn.Module):
    """Half feed-forward, attention with positions first, convolution with a gate, half feed-forward."""

    def __init__(self, hidden=8):
        super().__init__()

        def feed():
            return nn.Sequential(
                nn.LayerNorm(hidden), nn.Linear(hidden, 16), nn.SiLU(), nn.Dropout(0.1), nn.Linear(16, hidden)
            )

        self.ffn1, self.ffn2, self.norm = feed(), feed(), nn.LayerNorm(hidden)
        self.attn_norm, self.attn = nn.LayerNorm(hidden), nn.MultiheadAttention(hidden, 2)
        self.conv_norm = nn.LayerNorm(hidden)
        self.conv = nn.Sequential(
            nn.Conv1d(hidden, 2 * hidden, 1),
            nn.GLU(dim=1),
            nn.Conv1d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.BatchNorm1d(hidden),
            nn.SiLU(),
            nn.Conv1d(hidden, hidden, 1),
        )

    def forward(self, x):
        x = x + 0.5 * self.ffn1(x)
        y = self.attn_norm(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.conv_norm(x).transpose(0, 1).transpose(1, 2)
        x = x + self.conv(y).transpose(1, 2).transpose(0, 1)
        return self.norm(x + 0.5 * self.ffn2(x))


class Conformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.subsample, self.blocks, self.fc = (
            nn.Conv2d(1, 2, 3, stride=2),
            nn.ModuleList([ConformerBlock() for _ in range(2)]),
            nn.Linear(8, 5),
        )
        self.project = nn.Linear(14, 8)

    def forward(self, x):
        x = F.relu(self.subsample(x))
        b, c, f, t = x.size()
        x = self.project(x.permute(3, 0, 1, 2).contiguous().view(t, b, c * f))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean(0))


collection.add("conformer", SPECTROGRAM)(Conformer)


class SincNet(nn.Module):
    """Filters made from two learned frequencies each."""

    def __init__(self):
        super().__init__()
        self.low, self.band = nn.Parameter(torch.rand(6, 1) * 0.1), nn.Parameter(torch.rand(6, 1) * 0.2)
        n = torch.arange(-16, 17).float()
        self.register_buffer("n", n[n != 0][None])
        self.register_buffer("window", torch.hamming_window(32)[None])
        self.norm, self.fc = nn.InstanceNorm1d(6, affine=True), nn.Linear(6, 5)

    def forward(self, x):
        low = self.low.abs() + 0.01
        high = low + self.band.abs()
        filters = (
            (torch.sin(2 * math.pi * high * self.n) - torch.sin(2 * math.pi * low * self.n)) / self.n * self.window
        )
        x = F.leaky_relu(self.norm(F.conv1d(x, filters.unsqueeze(1), stride=4)))
        mean, std = x.mean(-1), x.std(-1)
        return self.fc(mean / (std + 0.1))


collection.add("sincnet", WAVE)(SincNet)


class WaveNet(nn.Module):
    """Gated dilated convolutions whose skips are summed."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 6, 1)
        self.filters = nn.ModuleList([nn.Conv1d(6, 6, 2, dilation=2**i) for i in range(3)])
        self.gates = nn.ModuleList([nn.Conv1d(6, 6, 2, dilation=2**i) for i in range(3)])
        self.skips = nn.ModuleList([nn.Conv1d(6, 8, 1) for _ in range(3)])
        self.out = nn.Sequential(nn.ReLU(), nn.Conv1d(8, 4, 1))

    def forward(self, x):
        x, total = self.first(x), None
        for filter, gate, skip in zip(self.filters, self.gates, self.skips):
            y = torch.tanh(filter(x)) * torch.sigmoid(gate(x))
            s = skip(y)
            total = s if total is None else total[:, :, -s.size(2) :] + s
            x = x[:, :, -y.size(2) :] + y
        return self.out(total).mean(-1)


collection.add("wavenet_gates", {"x": real(1, 40)})(WaveNet)
