"""Vision networks in the style of timm: small, the code as it is written there."""

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from network import Collection, real

collection = Collection("timm")
IMAGE = {"x": real(3, 32, 32)}


class LayerNorm2d(nn.LayerNorm):
    """Over channels of N x C x H x W."""

    def forward(self, x):
        return F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps).permute(
            0, 3, 1, 2
        )


class DropPath(nn.Module):
    def __init__(self, probability):
        super().__init__()
        self.probability = probability

    def forward(self, x):
        if self.probability == 0.0 or not self.training:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.probability)
        return x * keep / (1 - self.probability)


class Mlp(nn.Module):
    def __init__(self, hidden, inner):
        super().__init__()
        self.fc1, self.act, self.drop1 = nn.Linear(hidden, inner), nn.GELU(), nn.Dropout(0.1)
        self.norm, self.fc2, self.drop2 = nn.Identity(), nn.Linear(inner, hidden), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1(x))))))


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels, channels_first=False):
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels) if channels_first else nn.LayerNorm(channels)
        self.mlp = (
            nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1))
            if channels_first
            else Mlp(channels, 4 * channels)
        )
        self.gamma, self.drop_path, self.channels_first = (
            nn.Parameter(1e-6 * torch.ones(channels)),
            DropPath(0.1),
            channels_first,
        )

    def forward(self, x):
        shortcut = x
        x = self.conv_dw(x)
        if self.channels_first:
            x = self.mlp(self.norm(x))
        else:
            x = x.permute(0, 2, 3, 1)
            x = self.mlp(self.norm(x)).permute(0, 3, 1, 2)
        return self.drop_path(x.mul(self.gamma.reshape(1, -1, 1, 1))) + shortcut


class ConvNeXt(nn.Module):
    def __init__(self, channels_first):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 4, 4), LayerNorm2d(12))
        self.stages = nn.Sequential(
            ConvNeXtBlock(12, channels_first),
            LayerNorm2d(12),
            nn.Conv2d(12, 24, 2, 2),
            ConvNeXtBlock(24, channels_first),
        )
        self.norm_pre, self.head_norm, self.fc = nn.Identity(), LayerNorm2d(24), nn.Linear(24, 5)

    def forward(self, x):
        x = self.norm_pre(self.stages(self.stem(x)))
        x = self.head_norm(x.mean((2, 3), keepdim=True))
        return self.fc(x.flatten(1))


collection.add("convnext_channels_last", IMAGE)(lambda: ConvNeXt(False))
collection.add("convnext_channels_first", IMAGE)(lambda: ConvNeXt(True))


class MixerBlock(nn.Module):
    def __init__(self, hidden, length):
        super().__init__()
        self.norm1, self.mlp_tokens = nn.LayerNorm(hidden), Mlp(length, 2 * length)
        self.norm2, self.mlp_channels = nn.LayerNorm(hidden), Mlp(hidden, 2 * hidden)

    def forward(self, x):
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, hidden, size=8):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, hidden, size, size), nn.Identity()

    def forward(self, x):
        assert x.shape[2] == 32, "wrong height"
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = PatchEmbed(12), nn.Sequential(*[MixerBlock(12, 16) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x))).mean(dim=1))


collection.add("mlp_mixer", IMAGE)(Mixer)


class Attention(nn.Module):
    def __init__(self, hidden, heads=4):
        super().__init__()
        self.num_heads, self.scale = heads, (hidden // heads) ** -0.5
        self.qkv, self.attn_drop = nn.Linear(hidden, 3 * hidden, bias=True), nn.Dropout(0.0)
        self.proj, self.proj_drop = nn.Linear(hidden, hidden), nn.Dropout(0.1)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = self.attn_drop(((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1))
        return self.proj_drop(self.proj((attn @ v).transpose(1, 2).reshape(B, N, C)))


class LayerScale(nn.Module):
    def __init__(self, hidden, inplace=False):
        super().__init__()
        self.gamma, self.inplace = nn.Parameter(1e-5 * torch.ones(hidden)), inplace

    def forward(self, x):
        return x.mul_(self.gamma) if self.inplace else x * self.gamma


class Block(nn.Module):
    def __init__(self, hidden, inplace=False):
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(hidden), Attention(hidden), LayerScale(hidden, inplace)
        self.norm2, self.mlp, self.ls2, self.drop_path = (
            nn.LayerNorm(hidden),
            Mlp(hidden, 2 * hidden),
            LayerScale(hidden, inplace),
            DropPath(0.1),
        )

    def forward(self, x):
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class ViT(nn.Module):
    """pool: token, avg, or map; distilled: DeiT's second token."""

    def __init__(self, pool="token", distilled=False, inplace=False):
        super().__init__()
        hidden, extra = 16, 2 if distilled else 1
        self.patch_embed, self.pos_drop = PatchEmbed(hidden), nn.Dropout(0.1)
        self.cls_token, self.pos_embed = nn.Parameter(torch.zeros(1, extra, hidden)), nn.Parameter(
            torch.randn(1, 16 + extra, hidden) * 0.02
        )
        self.blocks = nn.Sequential(*[Block(hidden, inplace) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, 5)
        self.head_dist = nn.Linear(hidden, 5) if distilled else None
        self.pool = pool

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.norm(self.blocks(self.pos_drop(x + self.pos_embed)))
        if self.head_dist is not None:
            return (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        return self.head(x[:, 1:].mean(dim=1) if self.pool == "avg" else x[:, 0])


collection.add("vit", IMAGE, small=True)(ViT)
collection.add("vit_average_pool", IMAGE)(lambda: ViT("avg"))
collection.add("vit_layer_scale_in_place", IMAGE)(lambda: ViT(inplace=True))
collection.add("deit_distilled", IMAGE)(lambda: ViT(distilled=True))


class CaiT(nn.Module):
    """Talking heads, and class attention that looks at the patches from one token."""

    def __init__(self, hidden=16, heads=4):
        super().__init__()
        self.patch_embed, self.heads = PatchEmbed(hidden), heads
        self.qkv, self.proj_l, self.proj_w = (
            nn.Linear(hidden, 3 * hidden),
            nn.Linear(heads, heads),
            nn.Linear(heads, heads),
        )
        self.proj, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.q, self.k, self.v = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 5)

    def forward(self, x):
        x = self.patch_embed(x)
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        attn = (qkv[0] * 0.5) @ qkv[1].transpose(-2, -1)
        attn = self.proj_l(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(dim=-1)
        attn = self.proj_w(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = x + self.proj((attn @ qkv[2]).transpose(1, 2).reshape(B, N, C))
        u = torch.cat((self.cls_token.expand(B, -1, -1), x), dim=1)
        u = self.norm(u)
        q = self.q(u[:, 0]).unsqueeze(1).reshape(B, 1, self.heads, C // self.heads).permute(0, 2, 1, 3)
        k = self.k(u).reshape(B, N + 1, self.heads, C // self.heads).permute(0, 2, 1, 3)
        v = self.v(u).reshape(B, N + 1, self.heads, C // self.heads).permute(0, 2, 1, 3)
        out = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(B, 1, C)
        return self.head(out[:, 0])


collection.add("cait_talking_heads", IMAGE)(CaiT)


class PiT(nn.Module):
    """Tokens become an image again to be pooled; blocks take and give tuples."""

    class Pool(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(before, after, 3, stride=2, padding=1, groups=before), nn.Linear(
                before, after
            )

        def forward(self, x, cls_token):
            return self.conv(x), self.fc(cls_token)

    def __init__(self):
        super().__init__()
        self.conv, self.cls_token = nn.Conv2d(3, 16, 8, 4), nn.Parameter(torch.randn(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 16, 7, 7) * 0.1)
        self.block1, self.pool, self.block2 = Block(16), PiT.Pool(16, 32), Block(32)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x):
        x = self.conv(x) + self.pos_embed
        cls = self.cls_token.expand(x.shape[0], -1, -1)
        B, C, H, W = x.shape
        t = self.block1(torch.cat((cls, x.flatten(2).transpose(1, 2)), dim=1))
        cls, x = t[:, :1], t[:, 1:].transpose(1, 2).reshape(B, C, H, W)
        x, cls = self.pool(x, cls)
        t = self.block2(torch.cat((cls, x.flatten(2).transpose(1, 2)), dim=1))
        return self.head(self.norm(t[:, 0]))


collection.add("pit_pooling", IMAGE)(PiT)


class SwinBlock(nn.Module):
    """Windows, shifted ones with a mask, relative positions."""

    def __init__(self, hidden, shift):
        super().__init__()
        self.window, self.shift, self.heads = 4, shift, 4
        self.norm1, self.norm2, self.mlp = nn.LayerNorm(hidden), nn.LayerNorm(hidden), Mlp(hidden, 2 * hidden)
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.relative_position_bias_table = nn.Parameter(torch.randn(49, 4))
        coords = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + 3
        self.register_buffer("relative_position_index", relative[..., 0] * 7 + relative[..., 1])
        mask = None
        if shift:
            image, count = torch.zeros((1, 8, 8, 1)), 0
            for h in (slice(0, -4), slice(-4, -2), slice(-2, None)):
                for w in (slice(0, -4), slice(-4, -2), slice(-2, None)):
                    image[:, h, w, :] = count
                    count += 1
            windows = self.partition(image).view(-1, 16)
            mask = windows.unsqueeze(1) - windows.unsqueeze(2)
            mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        self.register_buffer("attn_mask", mask)

    def partition(self, x):
        B, H, W, C = x.shape
        x = x.view(B, H // 4, 4, W // 4, 4, C)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 4, 4, C)

    def forward(self, x):
        B, L, C = x.shape
        shortcut, x = x, self.norm1(x).view(B, 8, 8, C)
        if self.shift > 0:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = self.partition(x).view(-1, 16, C)
        count = windows.shape[0]
        qkv = self.qkv(windows).reshape(count, 16, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = q @ k.transpose(-2, -1) * 0.5
        bias = (
            self.relative_position_bias_table[self.relative_position_index.view(-1)]
            .view(16, 16, -1)
            .permute(2, 0, 1)
            .contiguous()
        )
        attn = attn + bias.unsqueeze(0)
        if self.attn_mask is not None:
            many = self.attn_mask.shape[0]
            attn = attn.view(count // many, many, self.heads, 16, 16) + self.attn_mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.heads, 16, 16)
        x = self.proj((attn.softmax(-1) @ v).transpose(1, 2).reshape(count, 16, C)).view(-1, 4, 4, C)
        x = x.view(B, 2, 2, 4, 4, C).permute(0, 1, 3, 2, 4, 5).contiguous().view(B, 8, 8, C)
        if self.shift > 0:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x.view(B, L, C)
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 4, 4)
        self.block1, self.block2 = SwinBlock(16, 0), SwinBlock(16, 2)
        self.reduction, self.norm, self.head = nn.Linear(64, 32, bias=False), nn.LayerNorm(64), nn.Linear(32, 5)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = self.block2(self.block1(x))
        B, L, C = x.shape
        x = x.view(B, 8, 8, C)
        x = torch.cat([x[:, 0::2, 0::2, :], x[:, 1::2, 0::2, :], x[:, 0::2, 1::2, :], x[:, 1::2, 1::2, :]], -1).view(
            B, -1, 4 * C
        )
        return self.head(self.reduction(self.norm(x)).mean(1))


collection.add("swin_windows", IMAGE)(Swin)


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv_reduce, self.act1 = nn.Conv2d(channels, 4, 1), nn.SiLU(inplace=True)
        self.conv_expand, self.gate = nn.Conv2d(4, channels, 1), nn.Sigmoid()

    def forward(self, x):
        se = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.conv_expand(self.act1(self.conv_reduce(se))))


class InvertedResidual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        inner = 3 * channels
        self.conv_pw, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv_dw, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner)
        self.se, self.conv_pwl, self.bn3 = (
            SqueezeExcite(inner),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.act = nn.SiLU(inplace=True)

    def forward(self, x):
        shortcut = x
        x = self.act(self.bn1(self.conv_pw(x)))
        x = self.act(self.bn2(self.conv_dw(x)))
        return self.bn3(self.conv_pwl(self.se(x))) + shortcut


class EfficientNet(nn.Module):
    """pool: how the places are averaged away."""

    def __init__(self, pool):
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks, self.global_pool = nn.Sequential(InvertedResidual(8), InvertedResidual(8)), nn.AdaptiveAvgPool2d(1)
        self.classifier, self.pool = nn.Linear(8, 5), pool

    def forward(self, x):
        x = F.silu(self.bn1(self.conv_stem(x)), inplace=True)
        x = self.blocks(x)
        if self.pool == "squeeze":
            x = self.global_pool(x).squeeze(-1).squeeze(-1)
        elif self.pool == "squeeze_all":
            x = self.global_pool(x).squeeze()
        elif self.pool == "view":
            x = F.avg_pool2d(x, x.size()[2:]).view(x.size(0), -1)
        else:
            x = x.mean([2, 3])
        return self.classifier(x)


for pool in ("mean", "squeeze", "squeeze_all", "view"):
    collection.add(
        f"efficientnet_pool_{pool}",
        IMAGE,
        note="an output of one sample has no row" if pool == "squeeze_all" else "",
        small=pool == "squeeze",
    )(partial(EfficientNet, pool))


class ScaledStdConv2d(nn.Conv2d):
    """NFNet: weights are standardised when they are used."""

    def __init__(self, inputs, outputs, kernel, **more):
        super().__init__(inputs, outputs, kernel, **more)
        self.gain = nn.Parameter(torch.full((outputs, 1, 1, 1), 1.0))
        self.scale = (self.weight[0].numel()) ** -0.5

    def forward(self, x):
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            weight=(self.gain * self.scale).view(-1),
            training=True,
            momentum=0.0,
            eps=1e-6,
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class NFNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv1, self.conv2 = (
            ScaledStdConv2d(3, 8, 3, stride=2),
            ScaledStdConv2d(8, 8, 3, padding=1),
            ScaledStdConv2d(8, 8, 1),
        )
        self.alpha, self.fc = 0.2, nn.Linear(8, 5)

    def forward(self, x):
        x = F.gelu(self.stem(x)) * 1.7015043497085571
        out = F.gelu(self.conv1(x)) * 1.7015043497085571
        x = self.conv2(out).mul_(self.alpha) + x
        return self.fc(x.mean((2, 3)))


collection.add("nfnet_standardised_weights", IMAGE)(NFNet)


class WeightStandardisation(nn.Conv2d):
    """BiT: by mean and variance in the open."""

    def forward(self, x):
        var, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        return F.conv2d(x, (self.weight - mean) / torch.sqrt(var + 1e-8), self.bias, self.stride, self.padding)


@collection.add("bit_group_norm", {"input": real(3, 32, 32)})
def bit():
    return nn.Sequential(
        WeightStandardisation(3, 8, 3, stride=2),
        nn.GroupNorm(4, 8),
        nn.ReLU(inplace=True),
        WeightStandardisation(8, 8, 3, padding=1),
        nn.GroupNorm(4, 8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


class AttentionPool(nn.Module):
    """CLIP's ResNet: the mean of the places looks at the places."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=4), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.AvgPool2d(2)
        )
        self.positional_embedding = nn.Parameter(torch.randn(17, 16) / 4)
        self.q_proj, self.k_proj, self.v_proj, self.c_proj = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        x = self.stem(x)
        x = x.flatten(start_dim=2).permute(2, 0, 1)
        x = torch.cat([x.mean(dim=0, keepdim=True), x], dim=0)
        x = x + self.positional_embedding[:, None, :].to(x.dtype)
        x, _ = F.multi_head_attention_forward(
            query=x[:1],
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=4,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            training=self.training,
            need_weights=False,
        )
        return x.squeeze(0)


collection.add("clip_attention_pool", {"x": real(3, 33, 33)})(AttentionPool)


class Residual(nn.Module):
    """The skip is written into in place, as in ResNets that save memory."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = (
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


@collection.add("resnet_in_place", {"input": real(3, 32, 32)})
def resnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        Residual(),
        Residual(),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


class BlurPool(nn.Module):
    def __init__(self, channels):
        super().__init__()
        kernel = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer(
            "filt", (kernel[:, None] * kernel[None, :] / 16)[None, None].repeat(channels, 1, 1, 1), persistent=False
        )
        self.padding = [1, 1, 1, 1]

    def forward(self, x):
        return F.conv2d(F.pad(x, self.padding, "reflect"), self.filt, stride=2, groups=self.filt.shape[0])


@collection.add("blur_pool_and_gem", {"input": real(3, 32, 32)})
def blur():
    class GeM(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.ones(1) * 3)

        def forward(self, x):
            return F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), (x.size(-2), x.size(-1))).pow(1.0 / self.p).flatten(1)

    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.1), BlurPool(8), nn.Conv2d(8, 8, 3), nn.Hardswish(), GeM(), nn.Linear(8, 5)
    )
