"""How networks are put together: shared and several inputs, loops, in-place writes, parametrisations, types."""

import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from network import Collection, mask, real, tokens

collection = Collection("how networks are put together")
ROW, IMAGE = {"x": real(6)}, {"x": real(3, 16, 16)}


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower, self.fc = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), nn.Linear(4, 2)

    def forward(self, first, second):
        return self.fc(torch.abs(self.tower(first) - self.tower(second)))


collection.add("siamese", {"first": real(6), "second": real(6)}, small=True)(Siamese)


class SharedActivation(nn.Module):
    """One ReLU for all layers, as many people have it; one layer twice."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.relu = nn.Linear(6, 6), nn.Linear(6, 3), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc1(x))
        return self.fc2(self.relu(x - 0.5))


collection.add("shared_relu_and_layer", ROW)(SharedActivation)


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 6)
        self.decoder = self.encoder
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.decoder(torch.tanh(self.encoder(x)))))


collection.add("one_module_two_names", ROW)(TwoNames)


class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.age, self.sex = nn.Sequential(nn.Linear(6, 8), nn.GELU()), nn.Linear(8, 1), nn.Linear(8, 2)

    def forward(self, x) -> Dict[str, torch.Tensor]:
        h = self.body(x)
        return {"sex": self.sex(h), "age": self.age(h).squeeze(-1)}


collection.add("multi_task_dictionary", ROW)(MultiTask)


class Result(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.body(x))
        return Result(self.head(h), h)


collection.add("named_tuple_output", ROW)(Named)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.body(x))
        return self.head(h), (h, {"double": 2 * h})


collection.add("nested_outputs", ROW)(Nested)


class LoopOverSamples(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        rows: List[torch.Tensor] = []
        for i in range(x.size(0)):
            rows.append(torch.tanh(self.fc(x[i])).mean(0))
        return self.head(torch.stack(rows))


collection.add("loop_over_samples", {"x": real(5, 3)})(LoopOverSamples)


class LoopOverModules(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.norms = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)]), nn.ModuleDict(
            {"a": nn.LayerNorm(6), "b": nn.LayerNorm(6)}
        )
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        collected: List[torch.Tensor] = []
        for i, layer in enumerate(self.layers):
            x = x + F.gelu(layer(x))
            if i % 2 == 1:
                x = self.norms["a"](x)
            else:
                x = self.norms["b"](x)
            collected.append(x)
        return self.head(torch.cat(collected, 1))


collection.add("loops_over_modules", ROW)(LoopOverModules)


class Branch(nn.Module):
    """A path that data decides: the same for all samples of a batch, so a trace can't have it."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.tanh(self.fc1(x))
        if bool(torch.isnan(x).any()):
            x = torch.zeros_like(x)
        else:
            x = self.fc2(x)
        return self.head(x)


collection.add("branch_on_data", ROW, forms=("scripted",))(Branch)


class InPlace(nn.Module):
    """Writes through views, by masks and indices."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.fc1(x)
        x[:, :2] = x[:, :2] * 2
        y = x.clone()
        y[:, 4:].mul_(0.5).add_(1)
        y.masked_fill_(y < -1, -1.0)
        z = torch.zeros_like(y)
        z[:, [0, 3, 5]] = y[:, [1, 2, 6]]
        z += self.fc2(y)
        z.clamp_(max=2.0)
        return self.head(z)


collection.add("in_place_writes", ROW, small=True)(InPlace)


class Scatter(nn.Module):
    def __init__(self):
        super().__init__()
        self.value, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        v = self.value(x)
        order = v.argsort(dim=1)
        sorted_values = v.gather(1, order)
        back = torch.zeros_like(v).scatter_(1, order, sorted_values * torch.arange(5, dtype=v.dtype, device=v.device))
        top, places = v.topk(2, dim=1)
        return self.head(back + torch.where(v > top[:, 1:], v, torch.zeros_like(v)))


collection.add("sort_gather_scatter", ROW)(Scatter)


@collection.add("spectral_norm", {"input": real(3, 16, 16)})
def spectral():
    norm = nn.utils.spectral_norm
    return nn.Sequential(norm(nn.Conv2d(3, 6, 3)), nn.LeakyReLU(0.2), nn.Flatten(), norm(nn.Linear(1176, 3)))


@collection.add("parametrisations", {"input": real(6)})
def parametrised():
    from torch.nn.utils import parametrizations, parametrize

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

    first, second = parametrizations.spectral_norm(nn.Linear(6, 8)), nn.Linear(8, 8)
    parametrize.register_parametrization(second, "weight", Symmetric())
    return nn.Sequential(first, nn.Tanh(), second, nn.Softplus(), nn.Linear(8, 3))


@collection.add("weight_norm", {"input": real(6)})
def weight_normed():
    return nn.Sequential(
        nn.utils.weight_norm(nn.Linear(6, 8)), nn.Tanh(), nn.utils.weight_norm(nn.Linear(8, 3), dim=None)
    )


@collection.add("norms", {"input": real(4, 8, 8)})
def norms():
    return nn.Sequential(
        nn.InstanceNorm2d(4),
        nn.Conv2d(4, 8, 3),
        nn.GroupNorm(2, 8),
        nn.LocalResponseNorm(3),
        nn.Mish(),
        nn.LayerNorm([8, 6, 6]),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(288, 3),
    )


@collection.add("activations", {"input": real(12)})
def activations():
    kinds = [
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.Hardsigmoid(),
        nn.ELU(),
        nn.CELU(),
        nn.SELU(),
        nn.GELU(),
        nn.SiLU(),
        nn.Mish(),
        nn.Softsign(),
        nn.Tanhshrink(),
        nn.LogSigmoid(),
        nn.RReLU(),
        nn.Threshold(0.1, 0.2),
        nn.PReLU(),
        nn.Softshrink(0.1),
        nn.Hardshrink(0.1),
    ]
    layers = [layer for kind in kinds for layer in (nn.Linear(12, 12), kind)]
    return nn.Sequential(*layers, nn.Linear(12, 3), nn.Softmax(dim=-1))


@collection.add("pools", {"input": real(3, 24, 24)})
def pools():
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(3, 6, 3),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(2, count_include_pad=False),
        nn.ZeroPad2d(1),
        nn.LPPool2d(2, 2),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


@collection.add("dropouts", {"input": real(4, 6, 6)})
def dropouts():
    return nn.Sequential(
        nn.Dropout2d(0.5),
        nn.Conv2d(4, 4, 3),
        nn.AlphaDropout(0.2),
        nn.SELU(),
        nn.FeatureAlphaDropout(0.2),
        nn.Flatten(1),
        nn.Dropout(),
        nn.Linear(64, 3),
    )


class NoGrad(nn.Module):
    """Part of it hands on no gradient."""

    def __init__(self):
        super().__init__()
        self.frozen, self.fc, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        with torch.no_grad():
            gate = torch.sigmoid(self.frozen(x))
        h = self.fc(x) * gate + self.fc(x).detach()
        return self.head(h)


collection.add("no_grad_block", ROW)(NoGrad)


class GradientReversal(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return -gradient


class Adversarial(nn.Module):
    """A derivative of its author's own, which no file can hold."""

    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(GradientReversal.apply(torch.tanh(self.fc(x))))


collection.add("own_autograd_function", ROW, note="its own derivative is in no file")(Adversarial)


class GraphConvolution(nn.Module):
    """Nodes by features, and a dense adjacency, for each sample."""

    def __init__(self):
        super().__init__()
        self.w1, self.w2, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, nodes, adjacency):
        adjacency = (adjacency + adjacency.transpose(1, 2)) / 2
        adjacency = torch.softmax(adjacency, -1) + torch.eye(adjacency.size(-1), device=adjacency.device)
        degree = adjacency.sum(-1, keepdim=True)
        h = F.relu(torch.bmm(adjacency, self.w1(nodes)) / degree)
        h = F.relu(torch.bmm(adjacency, self.w2(h)) / degree)
        return self.head(torch.max(h, dim=1)[0])


collection.add("graph_dense_adjacency", {"nodes": real(5, 4), "adjacency": real(5, 5)})(GraphConvolution)


class EdgeList(nn.Module):
    """One graph for all samples, its edges a buffer; messages by index_add."""

    def __init__(self):
        super().__init__()
        self.register_buffer("edges", torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]]))
        self.fc, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        source, destination = self.edges[0], self.edges[1]
        messages = torch.tanh(self.fc(torch.cat([x[:, source], x[:, destination]], dim=-1)))
        out = torch.zeros(x.size(0), x.size(1), 6, dtype=x.dtype, device=x.device)
        out = out.index_add(1, destination, messages)
        return self.head(out.mean(1))


collection.add("graph_edge_list", {"x": real(5, 4)})(EdgeList)


class DeepSets(nn.Module):
    def __init__(self):
        super().__init__()
        self.phi, self.rho = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8)), nn.Linear(16, 3)

    def forward(self, x, there: Optional[torch.Tensor] = None):
        h = self.phi(x)
        if there is not None:
            h = h * there.unsqueeze(-1).to(h.dtype)
        return self.rho(torch.cat([h.sum(1), h.amax(1)], dim=-1))


collection.add("deep_sets_masked", {"x": real(5, 4), "there": mask(5, torch.bool)})(DeepSets)
collection.add("deep_sets_without_mask", {"x": real(5, 4)})(DeepSets)


class Tabular(nn.Module):
    """Numbers and categories, an embedding for each column."""

    def __init__(self):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(10, 3) for _ in range(3)])
        self.bn, self.layers = nn.BatchNorm1d(4), nn.Sequential(
            nn.Linear(13, 8), nn.ReLU(inplace=True), nn.BatchNorm1d(8), nn.Linear(8, 1)
        )

    def forward(self, x_cat, x_cont):
        x = torch.cat([e(x_cat[:, i]) for i, e in enumerate(self.embeds)], 1)
        return self.layers(torch.cat([x, self.bn(x_cont)], 1))


collection.add("tabular_categories", {"x_cat": tokens(3, 10), "x_cont": real(4)})(Tabular)


class Einsum(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = (layer(x).reshape(x.shape[0], x.shape[1], 2, 4) for layer in (self.q, self.k, self.v))
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).mul(0.5).softmax(-1)
        return self.head(torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2).mean(1))


collection.add("einsum_attention", {"x": real(5, 4)})(Einsum)


class Fourier(nn.Module):
    """A global filter in the frequencies, complex inside."""

    def __init__(self):
        super().__init__()
        self.complex_weight, self.head = nn.Parameter(torch.randn(3, 16, 9, 2) * 0.3), nn.Linear(3, 3)

    def forward(self, x):
        spectrum = torch.fft.rfft2(x, norm="ortho") * torch.view_as_complex(self.complex_weight)
        return self.head(torch.relu(torch.fft.irfft2(spectrum, s=(16, 16), norm="ortho")).mean((2, 3)))


collection.add("fourier_filter", IMAGE)(Fourier)


class Deformed(nn.Module):
    """A spatial transformer: the image is sampled where the network says."""

    def __init__(self):
        super().__init__()
        self.localisation, self.fc = nn.Sequential(
            nn.Conv2d(3, 4, 7, 4), nn.ReLU(True), nn.Flatten(), nn.Linear(36, 6), nn.Tanh()
        ), nn.Conv2d(3, 3, 3)

    def forward(self, x):
        theta = self.localisation(x).view(-1, 2, 3) * 0.3 + torch.eye(2, 3, device=x.device, dtype=x.dtype)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return self.fc(F.grid_sample(x, grid, align_corners=False)).flatten(2).mean(2)


collection.add("spatial_transformer", IMAGE)(Deformed)


class Mixture(nn.Module):
    """Experts, each for the samples that chose it."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts, self.head = (
            nn.Linear(6, 3),
            nn.ModuleList([nn.Linear(6, 8) for _ in range(3)]),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        top, chosen = weights.topk(1, dim=-1)
        out = torch.zeros(x.size(0), 8, dtype=x.dtype, device=x.device)
        for i, expert in enumerate(self.experts):
            out = out + expert(x) * (top * (chosen == i).to(x.dtype))
        return self.head(out)


collection.add("mixture_of_experts", ROW)(Mixture)


class SparseMixture(Mixture):
    """Experts compute only their own samples."""

    def forward(self, x):
        top, chosen = self.gate(x).softmax(-1).max(dim=-1)
        out = torch.zeros(x.size(0), 8, dtype=x.dtype, device=x.device)
        for i, expert in enumerate(self.experts):
            mine = torch.nonzero(chosen == i).squeeze(1)
            out.index_add_(0, mine, expert(x[mine]) * top[mine].unsqueeze(1))
        return self.head(out)


collection.add("mixture_of_experts_sparse", ROW)(SparseMixture)


class Quantised(nn.Module):
    """VQ-VAE: the nearest code stands for the value, gradients go straight through."""

    def __init__(self):
        super().__init__()
        self.encoder, self.codebook, self.head = nn.Linear(6, 4), nn.Embedding(8, 4), nn.Linear(4, 3)

    def forward(self, x):
        z = self.encoder(x)
        distances = (
            z.pow(2).sum(1, keepdim=True) - 2 * z @ self.codebook.weight.t() + self.codebook.weight.pow(2).sum(1)
        )
        code = self.codebook(distances.argmin(1))
        return self.head(z + (code - z).detach())


collection.add("vector_quantised_straight_through", ROW)(Quantised)


class Physics(nn.Module):
    """A constant that a helper makes, sines, a learned frequency."""

    def __init__(self):
        super().__init__()
        self.register_buffer("B", torch.randn(6, 8))
        self.omega, self.fc = nn.Parameter(torch.tensor(3.0)), nn.Linear(16, 3)

    def scale(self) -> float:
        return 2 * math.pi

    def forward(self, x):
        p = self.scale() * x @ self.B * 0.1
        return self.fc(torch.cat([torch.sin(self.omega * p), torch.cos(p)], -1))


collection.add("helper_method_constant", ROW)(Physics)


class Halves(nn.Module):
    """Computes in bfloat16 inside of a single-precision network."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        h = F.linear(h.to(torch.bfloat16), self.fc2.weight.to(torch.bfloat16), self.fc2.bias.to(torch.bfloat16))
        return self.head(h.to(x.dtype))


collection.add("bfloat16_inside", ROW)(Halves)


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(294, 3)
    )


collection.add("double", {"input": real(6)}, type=torch.float64)(mlp)
collection.add("double_convolutional", {"input": real(3, 16, 16)}, type=torch.float64)(convolutional)
collection.add("half", {"input": real(6)}, type=torch.float16)(mlp)
collection.add("bfloat16", {"input": real(6)}, type=torch.bfloat16)(mlp)
collection.add("one_sample_row_output", {"x": real(6)})(lambda: OneNumber())
collection.add("returns_its_input_too", ROW)(lambda: WithInput())


class OneNumber(nn.Module):
    """A number a sample, squeezed."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.body(x).squeeze()


class WithInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        return self.body(x), x
