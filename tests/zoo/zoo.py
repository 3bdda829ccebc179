"""All networks, by style."""

import importlib

STYLES = ["torchvision_models", "language", "vision", "sequence", "audio", "segmentation", "construction"]


def networks():
    everything = []
    for style in STYLES:
        everything += importlib.import_module(f"networks.{style}").collection
    names = [network.name for network in everything]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two networks are named {sorted(twice)}")
    return everything
