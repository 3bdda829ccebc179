"""What a network of the zoo is: a module, how it is called, and in which forms it is tried."""

import dataclasses
from typing import Callable

import torch


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    style: str  # whose networks it is like
    build: Callable[[], torch.nn.Module]
    inputs: dict  # argument of forward: maker(samples, generator) -> tensor, samples first
    note: str = ""  # what was made smaller, say
    forms: tuple = ("scripted", "traced")
    type: torch.dtype = torch.float32
    small: bool = False  # one of those that every test run tries

    def example(self, samples, seed):
        """Rows that differ from one another."""
        generator = torch.Generator().manual_seed(seed)
        return {name: self._typed(make(samples, generator)) for name, make in self.inputs.items()}

    def module(self, type=None):
        """In evaluation mode, with weights that depend on the network alone."""
        torch.manual_seed(sum(self.name.encode()))
        module = self.build()
        randomise(module)
        return module.to(type or self.type).eval()

    def _typed(self, tensor):
        return tensor.to(self.type) if tensor.is_floating_point() else tensor


class Collection(list):
    """The networks of a style; `add` decorates what builds one."""

    def __init__(self, style):
        super().__init__()
        self.style = style

    def add(self, name, inputs, **more):
        def register(build):
            self.append(Network(name, self.style, build, inputs, **more))
            return build

        return register


def real(*size):
    return lambda samples, generator: torch.randn(samples, *size, generator=generator)


def tokens(length, vocabulary=50):
    return lambda samples, generator: torch.randint(1, vocabulary, (samples, length), generator=generator)


def mask(length, type=torch.int64):
    """1 where there is a token: each row has its own length."""

    def make(samples, generator):
        lengths = length - torch.arange(samples) % (length - 1)
        return (torch.arange(length) < lengths[:, None]).to(type)

    return make


@torch.no_grad()
def randomise(module):
    """As after training: batch norms have seen data, and nothing is exactly 0, 1, or nearly 0.

    An untrained network hides mistakes: a bias of zero that is left out, a statistic that is not read.
    """
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None:
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    for name, value in module.named_parameters():
        if not value.is_floating_point() or value.numel() == 0:
            continue
        if name.endswith(("bias", "beta")) or not value.any():
            value.normal_(0, 0.1)
        elif value.min() == value.max() and value.numel() > 1:
            value.uniform_(0.5, 1.5)
