"""Every architecture of torchvision, with random weights and small images; what is very large is made smaller."""

from unittest import mock

import torch
from torch import nn
from torchvision import models

from network import Collection, real

collection = Collection("torchvision")


def add(name, size=64, note="", small=False, input_size=None, **arguments):
    def build():
        return models.get_model(name, weights=None, **arguments)

    collection.add(name, {"x": real(*(input_size or (3, size, size)))}, note=note, small=small)(build)


PLAIN = """
    resnet18 mobilenet_v2 densenet121 squeezenet1_1 alexnet vgg11_bn shufflenet_v2_x1_0 mnasnet1_0 efficientnet_b0
    mobilenet_v3_small convnext_tiny regnet_y_400mf swin_t swin_v2_t
    vgg11 vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn squeezenet1_0
    resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2
    densenet161 densenet169 densenet201 mnasnet0_5 mnasnet0_75 mnasnet1_3 mobilenet_v3_large
    shufflenet_v2_x0_5 shufflenet_v2_x1_5 shufflenet_v2_x2_0
    efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7
    efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l convnext_small convnext_base
    regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
    regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf
    swin_s swin_b swin_v2_s swin_v2_b
""".split()
for plain in PLAIN:
    add(plain, num_classes=10, small=plain == "resnet18")

add("inception_v3", size=80, num_classes=10, aux_logits=False, init_weights=False)
add("googlenet", num_classes=10, aux_logits=False, init_weights=False)
for segmenting in [
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
]:
    add(segmenting, weights_backbone=None, num_classes=5)
for video in ["r3d_18", "mc3_18", "r2plus1d_18"]:
    add(video, input_size=(3, 4, 32, 32), num_classes=10)

# With quantize=False: the networks that become quantised ones later.
for floating in [
    "resnet18",
    "resnet50",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]:
    add("quantized_" + floating, num_classes=10, quantize=False, note="before quantisation")
add(
    "quantized_googlenet",
    num_classes=10,
    quantize=False,
    aux_logits=False,
    init_weights=False,
    note="before quantisation",
)
add(
    "quantized_inception_v3",
    size=80,
    num_classes=10,
    quantize=False,
    aux_logits=False,
    init_weights=False,
    note="before quantisation",
)


def image(size=64):
    return {"x": real(3, size, size)}


for patch in (16, 32):
    add(f"vit_b_{patch}", image_size=64, num_classes=10)

    @collection.add(f"vit_l_{patch}", image(), note="4 of 24 layers")
    def vit_large(patch=patch):
        return models.VisionTransformer(
            image_size=64, patch_size=patch, num_layers=4, num_heads=16, hidden_dim=1024, mlp_dim=4096, num_classes=10
        )


@collection.add("vit_h_14", image(56), note="2 of 32 layers")
def vit_huge():
    return models.VisionTransformer(
        image_size=56, patch_size=14, num_layers=2, num_heads=16, hidden_dim=1280, mlp_dim=5120, num_classes=10
    )


@collection.add("convnext_large", image(), note="a quarter of the channels")
def convnext_large():
    from torchvision.models.convnext import CNBlockConfig

    setting = [
        CNBlockConfig(48, 96, 3),
        CNBlockConfig(96, 192, 3),
        CNBlockConfig(192, 384, 27),
        CNBlockConfig(384, None, 3),
    ]
    return models.ConvNeXt(setting, 0.5, num_classes=10)


@collection.add("regnet_y_128gf", image(), note="an eighth of the channels")
def regnet_huge():
    from torchvision.models.regnet import BlockParams

    params = BlockParams.from_init_params(depth=27, w_0=56, w_a=20, w_m=2.52, group_width=8, se_ratio=0.25)
    return models.RegNet(params, num_classes=10)


@collection.add("maxvit_t", image(), note="partitions of 2 x 2, not 7 x 7")
def maxvit():
    return models.MaxVit(
        input_size=(64, 64),
        stem_channels=64,
        partition_size=2,
        block_channels=[64, 128, 256, 512],
        block_layers=[2, 2, 5, 2],
        head_dim=32,
        stochastic_depth_prob=0.2,
        num_classes=10,
    )


@collection.add("s3d", {"x": real(3, 16, 64, 64)}, note="pools 2 x 2 places at the end, not 7 x 7")
def s3d():
    net = models.video.s3d(weights=None, num_classes=10)
    net.avgpool = nn.AvgPool3d(kernel_size=(2, 2, 2), stride=1)
    return net


def add_mvit(name):
    @collection.add(name, {"x": real(3, 4, 32, 32)}, note="4 frames of 32 x 32")
    def build():
        from torchvision.models.video import mvit

        original = mvit.MViT

        def small(**arguments):
            return original(**{**arguments, "spatial_size": (32, 32), "temporal_size": 4})

        with mock.patch.object(mvit, "MViT", small):
            return getattr(mvit, name)(weights=None, num_classes=10)


add_mvit("mvit_v1_b")
add_mvit("mvit_v2_s")


class Flow(nn.Module):
    """The last estimate of the flow; two updates of it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image1, image2):
        return self.net(image1, image2, num_flow_updates=2)[-1]


for size in ("small", "large"):

    @collection.add(
        f"raft_{size}", {"image1": real(3, 128, 128), "image2": real(3, 128, 128)}, note="2 updates of the flow"
    )
    def raft(size=size):
        return Flow(getattr(models.optical_flow, f"raft_{size}")(weights=None))


class Detections(nn.Module):
    """Boxes of the first image: detectors take a list of images and give as many boxes as they find."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net([x[0]])[0]["boxes"]


for name in models.list_models(models.detection):

    @collection.add(name, {"x": real(3, 64, 64)}, note="a list of images becomes boxes", forms=("traced",))
    def detector(name=name):
        return Detections(models.get_model(name, weights=None, weights_backbone=None, num_classes=5))
