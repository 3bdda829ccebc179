"""What PyTorch itself makes of a network, by forward hooks on the module as its author wrote it."""

import collections
import contextlib

import numpy
import torch

from export_model import GradientLayout


def leaves(value):
    """Tensors in a value, in order."""
    if torch.is_tensor(value):
        return [value]
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return [value.data]  # one object in TorchScript; its rows are of no one sample
    if isinstance(value, collections.abc.Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return []


def with_leaf(value, number, tensor):
    """The value with its tensor of that number replaced."""

    def rebuilt(part):
        if torch.is_tensor(part):
            count[0] += 1
            return tensor if count[0] == number else part
        if isinstance(part, torch.nn.utils.rnn.PackedSequence):
            return part._replace(data=rebuilt(part.data))
        if isinstance(part, collections.abc.Mapping):
            copy = part.copy()
            for key, inner in part.items():
                copy[key] = rebuilt(inner)
            return copy
        if hasattr(part, "_fields"):
            return type(part)(*(rebuilt(inner) for inner in part))
        if isinstance(part, (tuple, list)):
            return type(part)(rebuilt(inner) for inner in part)
        return part

    count = [-1]
    return rebuilt(value)


class Call:
    """One call of a module: clones of the tensors that went in and came out."""

    def __init__(self, module, number, inputs, outputs):
        self.module, self.number, self.inputs, self.outputs = module, number, inputs, outputs


class Reference:
    """A network on its samples. Modules are known by the first of their names; `names` has all."""

    def __init__(self, module, inputs):
        self.module, self.inputs = module, inputs
        self.samples = next(iter(inputs.values())).shape[0]
        self.names, self.modules = {}, {}
        for name, part in module.named_modules(remove_duplicate=False):
            if name:
                self.names.setdefault(part, []).append(name)
                self.modules[name] = part
        self.calls, self.outputs = self._record(inputs)
        # Where samples lie shows from one sample more, and from what another first sample changes.
        self._longer, _ = self._record({k: torch.cat([v, v[:1]]) for k, v in inputs.items()})
        self._changed, _ = self._record({k: torch.cat([v[1:2], v[1:]]) for k, v in inputs.items()})

    def _record(self, inputs):
        calls, counts, pending = [], collections.Counter(), []

        def before(part, arguments):
            pending.append([leaf.detach().clone() for leaf in leaves(arguments)])

        def after(part, arguments, output):
            counts[part] += 1
            calls.append(Call(part, counts[part], pending.pop(), [leaf.detach().clone() for leaf in leaves(output)]))

        handles = []
        for part in self.names:
            handles += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
        try:
            with torch.enable_grad():
                outputs = leaves(self.module(**inputs))
        finally:
            for handle in handles:
                handle.remove()
        return calls, [output.detach() for output in outputs]

    def call(self, name, number):
        part = self.modules.get(name)
        return next((call for call in self.calls if call.module is part and call.number == number), None)

    def rows(self, call, side, leaf, value=None):
        """Ways to write a value of a call as samples x the rest; none where it has no samples.

        value: something of the same shape, such as a gradient; else the value itself.
        """
        at = self.calls.index(call)
        original = getattr(call, side)[leaf]
        value = original if value is None else value
        if at >= len(self._longer) or self._longer[at].module is not call.module:
            return []
        longer, changed = getattr(self._longer[at], side)[leaf], getattr(self._changed[at], side)[leaf]
        return arrangements(value, original, longer, changed, self.samples)


def arrangements(value, original, longer, changed, samples):
    """`value` as [samples, ...], in the one order that is right, or both where nothing tells them apart."""
    if original.dim() == 0 or original.dim() != longer.dim():
        return []
    grown = [d for d in range(original.dim()) if original.shape[d] != longer.shape[d]]
    if len(grown) != 1 or original.shape[grown[0]] % samples != 0:
        return []
    dimension = grown[0]
    each = original.shape[dimension] // samples
    if each == 1:
        return [value.movedim(dimension, 0)]
    split = [*original.shape[:dimension], samples, each, *original.shape[dimension + 1 :]]
    first = value.reshape(split).movedim(dimension, 0)  # rows of a sample stand together
    split[dimension : dimension + 2] = [each, samples]
    second = value.reshape(split).movedim(dimension + 1, 0)
    if original.shape == changed.shape:
        differs = (original != changed).movedim(dimension, 0).flatten(1).any(1)
        if differs[:each].sum() == differs.sum() and differs.any():
            return [first]
        if differs[::samples].sum() == differs.sum() and differs.any():
            return [second]
    return [first, second]


class Place:
    """The tensor `leaf` of the first output of a module, to read, replace and differentiate."""

    def __init__(self, module, leaf=0):
        self.module, self.leaf = module, leaf

    @contextlib.contextmanager
    def hooked(self, change):
        """While this lasts, the module hands out change(value) in the value's place."""
        done = []

        def hook(part, arguments, output):
            if done:
                return None
            done.append(True)
            return with_leaf(output, self.leaf, change(leaves(output)[self.leaf]))

        handle = self.module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


class Score:
    """One number a sample: an element of an output."""

    def __init__(self, output, index):
        self.output, self.index = output, index

    def of(self, outputs):
        return outputs[self.output][(slice(None), *self.index)]


def input_gradient(reference, score, name):
    inputs = dict(reference.inputs)
    inputs[name] = inputs[name].detach().clone().requires_grad_()
    with torch.enable_grad(), GradientLayout():
        total = score.of(leaves(reference.module(**inputs))).sum()
        (gradient,) = torch.autograd.grad(total, [inputs[name]], allow_unused=True)
    return torch.zeros_like(inputs[name]) if gradient is None else gradient


def scores(reference, score, inputs=None):
    with torch.enable_grad():
        return score.of(leaves(reference.module(**(inputs or reference.inputs)))).detach()


def place_gradient(reference, score, place, value=None):
    """Gradient of the score by the value at a place, which is `value` instead when that is given."""
    kept = []

    def change(found):
        leaf = (found if value is None else value).detach().clone().requires_grad_()
        kept.append(leaf)
        return leaf.clone()  # what is written into in place is the clone

    with torch.enable_grad(), GradientLayout(), place.hooked(change):
        total = score.of(leaves(reference.module(**reference.inputs))).sum()
        if not total.requires_grad:
            return torch.zeros_like(kept[0])
        (gradient,) = torch.autograd.grad(total, kept, allow_unused=True)
    return torch.zeros_like(kept[0]) if gradient is None else gradient


def is_transparent(reference, place):
    """Whether handing out a copy there leaves the outputs, so that values can be replaced at all."""
    with torch.enable_grad(), place.hooked(lambda found: found.clone()):
        outputs = leaves(reference.module(**reference.inputs))
    return all(torch.equal(a, b) for a, b in zip(outputs, reference.outputs))


def value_at(reference, place, inputs):
    kept = []
    with torch.enable_grad(), place.hooked(lambda found: kept.append(found.detach().clone()) or found):
        reference.module(**inputs)
    return kept[0]


def integrated_gradients(reference, score, place, steps):
    """Along the straight line at the place, from its value at zeros, by Gauss-Legendre's rule.

    Of tokens there is no zero: where all inputs are tokens the line begins at a value of zero. Also returns how large
    attributions would be if the line went from zero: where the value hardly depends on the input they are the small
    difference of large numbers, and no better known than these.
    """
    end = value_at(reference, place, reference.inputs)
    floating = [key for key, value in reference.inputs.items() if value.is_floating_point()]
    zeros = {key: torch.zeros_like(value) if key in floating else value for key, value in reference.inputs.items()}
    start = value_at(reference, place, zeros) if floating else torch.zeros_like(end)
    total = torch.zeros(end.shape, dtype=torch.float64)
    nodes, weights = numpy.polynomial.legendre.leggauss(steps)
    for node, weight in zip((nodes + 1) / 2, weights / 2):
        value = start + float(node) * (end - start)
        total += float(weight) * place_gradient(reference, score, place, value).double()
    return total * (end - start).double(), (total.abs().max() * end.abs().max()).item()


def ablation(reference, score, place):
    """What the score changes by when the value at the place is zero."""
    with torch.enable_grad(), place.hooked(torch.zeros_like):
        changed = score.of(leaves(reference.module(**reference.inputs))).detach()
    return changed - scores(reference, score)
