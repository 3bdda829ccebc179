"""One network in its forms: Microtome's numbers against PyTorch's. Prints a verdict on each as JSON.

Usage: examine.py NETWORK FORM,... FOLDER SECONDS PROGRAM...
"""

import copy
import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import traceback

import numpy
import torch

import reference as eager
import subject as tried
import zoo
from export_model import export_model

SAMPLES = 3
STEPS = 4
# Of the largest value.
VALUE_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.float16: 2e-2, torch.bfloat16: 5e-2}
GRADIENT_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6, torch.float16: 5e-2, torch.bfloat16: 1e-1}

# What ties may move a gradient by in single precision.
MOST_BY_TIES = 0.05


@dataclasses.dataclass
class Verdict:
    network: str
    form: str
    result: str = "right"  # right, refused, wrong, or not exported (by PyTorch)
    reason: str = ""
    compared: int = 0  # values inside of the network
    off: float = 0.0  # the largest difference that is too large
    lost: list = dataclasses.field(default_factory=list)  # modules that ran and have no hook point
    notes: list = dataclasses.field(default_factory=list)

    def worsen(self, result, reason):
        order = ["right", "refused", "wrong"]
        if order.index(result) > order.index(self.result):
            self.result, self.reason = result, ""
        if result == self.result and reason not in self.reason:
            self.reason += ("; " if self.reason else "") + reason


class Original:
    """The network in PyTorch, in one type, on its samples."""

    def __init__(self, network, type):
        self.type, self.module = type, network.module(type)
        inputs = network.example(SAMPLES, seed=1)
        self.inputs = {key: value.to(type) if value.is_floating_point() else value for key, value in inputs.items()}

    @functools.cached_property
    def reference(self):
        return eager.Reference(self.module, self.inputs)


class Examination:
    def __init__(self, original, network, form, folder, seconds, program):
        self.original, self.network, self.form, self.type = original, network, form, original.type
        self.verdict = Verdict(network.name, form)
        self.subject = tried.Subject(program, folder, seconds)
        self.inputs = original.inputs

    def run(self):
        if not self.export():
            return self.verdict
        try:
            self.hooks = self.subject.layers()
        except tried.Refused as refusal:
            self.verdict.worsen("refused" if refusal.status == 2 else "wrong", f"layers: {said(refusal)}")
            return self.verdict
        self.find_places()
        self.compare(self.stages())
        return self.verdict

    def export(self):
        net, example, name = self.original.module, self.inputs, str(self.subject.folder / "net")
        try:
            if self.form == "scripted":
                export_model(net, example, name, form="script", verify=False)
            else:
                self.verdict.notes += export_model(net, example, name).notes
        except ValueError as error:
            self.verdict.result, self.verdict.reason = "not exported", str(error)
            return False
        self.subject.write_samples(self.inputs)
        self.reference = self.original.reference
        return True

    def find_places(self):
        """Pairs hook points with calls of modules, and takes four floating outputs to look at closely."""
        self.pairs = []
        for hook in self.hooks:
            if (
                hook.is_operator
                or hook.module.split(".")[0] in ("input", "output")
                and hook.module not in self.reference.modules
            ):
                continue
            for call, leaf in self.partners(hook):
                self.pairs.append((hook, call, leaf))
        found = {hook.module for hook, _, _ in self.pairs}
        for part, names in self.reference.names.items():
            ran = any(call.module is part and call.outputs for call in self.reference.calls)
            if ran and not found.intersection(names):
                self.verdict.lost.append(names[0])

        candidates = []
        for at, call in enumerate(self.reference.calls):
            for hook, partner, leaf in self.pairs:
                if partner is call and hook.side == "outputs" and call.number == 1 and leaf is not None:
                    value = call.outputs[leaf]
                    once = sum(other.module is call.module for other in self.reference.calls) == 1
                    rows = self.reference.rows(call, "outputs", leaf)
                    if once and value.is_floating_point() and len(rows) == 1 and value.std() > 0:
                        candidates.append((at, hook, call, leaf))
        candidates.sort(key=lambda candidate: candidate[0])
        self.places = []
        for share in (0.5, 0.2, 0.8):
            around = sorted(range(len(candidates)), key=lambda i: abs(i - share * (len(candidates) - 1)))
            for i in around[:6]:
                _, hook, call, leaf = candidates[i]
                place = eager.Place(call.module, leaf)
                if all(hook is not other for other, *_ in self.places) and eager.is_transparent(self.reference, place):
                    self.places.append((hook, place, call, leaf))
                    break

    def partners(self, hook):
        """The call that a hook point names, and which of its tensors; leaf None: any of them.

        A trace gives a module's inputs and outputs in an order of its own, and a module with two names one of them.
        """
        aliases = [part for part, names in self.reference.names.items() if hook.module in names]
        if not aliases:
            return
        several = len(self.reference.names[aliases[0]]) > 1
        for call in self.reference.calls:
            if call.module is not aliases[0] or (call.number != hook.call and not several):
                continue
            values = getattr(call, hook.side)
            index = hook.index or 0
            unsure = len(values) > 1 or hook.index is not None or several or self.has_more_inputs(hook)
            if several or (self.form == "traced" and unsure):
                if hook.side == "outputs":
                    yield call, None
            elif index < len(values):
                yield call, index

    def has_more_inputs(self, hook):
        """Whether the trace gives the call more than its module got, such as a weight that two modules share."""
        return hook.side == "inputs" and f"{hook.name}[1]" in {other.name for other in self.hooks}

    def stages(self):
        self.score, target = self.target()
        self.expected = self.expected_values()
        stages = {}
        if self.expected:
            stages["values"] = ("activations", {"layers": [hook.name for hook in self.expected]})
        alike = [hook.name for hook in dict.fromkeys(hook for hook, _, _ in self.pairs) if hook not in self.expected]
        if alike:
            stages["without_samples"] = ("activations", {"layers": alike})
        if self.score is None:
            self.verdict.notes.append("no output has a number for each sample to explain")
            return stages
        floating = [name for name, value in self.inputs.items() if value.is_floating_point()]
        for i, name in enumerate(floating):
            # An input that is left out has hook points too; then none is the input.
            is_only = any(hook.name == "input" for hook in self.hooks)
            at = "input" if is_only else f"input.{name}"
            stages[f"by_input_{i}"] = ("saliency", {"at": at, "absolute": False, "target": target})
        for i, (hook, *_) in enumerate(self.places):
            stages[f"by_value_{i}"] = ("saliency", {"at": hook.name, "absolute": False, "target": target})
        if self.places:
            hook = self.places[0][0]
            stages["integrated"] = (
                "integrated_gradients",
                {"at": hook.name, "steps": STEPS, "rule": "gauss_legendre", "baseline": "zeros", "target": target},
            )
            stages["ablated"] = ("ablate", {"at": [hook.name], "with": "zero", "target": target})
        return stages

    def target(self):
        """An element of the first output that has samples."""
        names = [
            hook.name
            for hook in self.hooks
            if hook.name == "output" or hook.name.startswith("output.") and hook.operation == "output"
        ]
        for i, value in enumerate(self.reference.outputs):
            if i < len(names) and value.is_floating_point() and value.dim() > 0 and value.shape[0] == SAMPLES:
                index = [size // 2 for size in value.shape[1:]]
                score = eager.Score(i, index)
                if value.dim() == 2:
                    of = f"class({index[0]})"
                    return score, of if len(names) == 1 else {"of": of, "output": names[i].split(".", 1)[1]}
                axes = ",".join(f"dim{d + 1}={k}" for d, k in enumerate(index))
                return score, f"unit({names[i]}[{axes}])" if axes else f"unit({names[i]})"
        return None, None

    def compare(self, stages):
        if not stages:
            self.verdict.worsen("refused", "it has no hook point that PyTorch has too")
            return
        alike = stages.pop("without_samples", None)
        results = self.subject.run(stages)
        if alike:
            results.update(self.subject.run({"without_samples": alike}))
        for name, result in results.items():
            if name == "without_samples":
                self.compare_without_samples(result)
            elif isinstance(result, tried.Refused):
                self.verdict.worsen("refused", f"{name.rstrip('0123456789_')}: {said(result)}")
            elif name == "values":
                self.compare_values(result)
            elif name == "ablated":
                hook, place, *_ = self.places[0]
                self.check(
                    f"ablating {hook.name}",
                    tried.tensor(result, "effect")[:, 0],
                    [eager.ablation(self.reference, self.score, place)],
                    GRADIENT_TOLERANCE,
                    eager.scores(self.reference, self.score).abs().max().item(),
                )
            else:
                self.compare_attributions(name, tried.tensor(result, "attributions"))

    def expected_values(self):
        """By hook point, the ways to write what PyTorch has there as rows of samples."""
        expected = {}
        for hook, call, leaf in self.pairs:
            values = getattr(call, hook.side)
            ways = []
            for i in [leaf] if leaf is not None else range(len(values)):
                rows = self.reference.rows(call, hook.side, i)
                ways.append((rows, (rows or [values[i]])[0].shape[1:]))
            if leaf is None:
                # Which of a module's outputs a trace means shows by the shape, if at all.
                fitting = [way for way in ways if " x ".join(["N", *map(str, way[1])]) == hook.shape]
                ways = fitting or ways
            rows = [row for found, _ in ways for row in found]
            if rows:
                expected.setdefault(hook, []).extend(rows)
        return expected

    def compare_values(self, result):
        traced = {}  # by call, the hook points of its outputs in an order of the trace's own
        for hook, call, leaf in self.pairs:
            if hook in self.expected and leaf is None:
                traced.setdefault(call, []).append(hook)
        surplus = set()
        for call, hooks in traced.items():
            if len(hooks) <= len(call.outputs):
                continue
            # A trace also hands out inner values that are read outside. Each of the module's outputs must be there.
            surplus.update(hooks)
            for leaf in range(len(call.outputs)):
                rows = self.reference.rows(call, "outputs", leaf)
                if rows:
                    values = [tried.tensor(result, hook.name) for hook in hooks]
                    self.compare_value(hooks[0].name, min(values, key=lambda value: closest(value, rows)), rows)
        for hook, expected in self.expected.items():
            if hook not in surplus:
                self.compare_value(hook.name, tried.tensor(result, hook.name), expected)

    def compare_value(self, name, found, expected):
        self.verdict.compared += 1
        self.check(name, found, expected, VALUE_TOLERANCE)

    def compare_without_samples(self, result):
        """Values that are the same for all samples, such as embedded positions: one for all, or refused."""
        if isinstance(result, tried.Refused):
            self.verdict.notes.append(f"a value that is the same for all samples: {said(result)}")
            return
        for hook, call, leaf in self.pairs:
            if hook in self.expected or leaf is None:
                continue
            value = getattr(call, hook.side)[leaf]
            repeated = (
                value.expand(SAMPLES, *value.shape[1:])
                if value.dim() and value.shape[0] == 1
                else value.expand(SAMPLES, *value.shape)
            )
            self.check(hook.name, tried.tensor(result, hook.name), [repeated], VALUE_TOLERANCE)

    def compare_attributions(self, name, found):
        if name.startswith("by_input"):
            floating = [key for key, value in self.inputs.items() if value.is_floating_point()]
            key = floating[int(name.rsplit("_", 1)[1])]

            def gradient(reference):
                return eager.input_gradient(reference, self.score, key)

            expected = gradient(self.reference)
            ties = functools.partial(self.off_by_ties, expected, gradient)
            self.check(f"gradient by {key}", found, [expected], GRADIENT_TOLERANCE, ties=ties)
            return
        hook, place, call, leaf = self.places[0 if name == "integrated" else int(name.rsplit("_", 1)[1])]
        scale, ties = 0.0, None
        if name == "integrated":
            expected, size = eager.integrated_gradients(self.reference, self.score, place, STEPS)
            scale = 1e-3 * size
        else:

            def gradient(reference):
                module = reference.modules[self.reference.names[place.module][0]]
                return eager.place_gradient(reference, self.score, eager.Place(module, place.leaf))

            expected = gradient(self.reference)
            ties = functools.partial(self.off_by_ties, expected, gradient)
        what = "integrated gradients" if name == "integrated" else "gradient"
        rows = self.reference.rows(call, "outputs", leaf, expected)
        self.check(f"{what} by {hook.name}", found, rows, GRADIENT_TOLERANCE, scale, ties)

    @functools.cached_property
    def in_double(self):
        return Original(self.network, torch.float64).reference

    def off_by_ties(self, expected, gradient):
        """How far PyTorch's own gradient in single precision is from its one in double, and from the one that it has
        on as many samples at once as the stages, which rounds otherwise."""
        off = difference(expected.detach().double().numpy(), gradient(self.in_double))
        for first in range(0, SAMPLES, tried.CHUNK):
            some = copy.copy(self.reference)
            some.inputs = {key: value[first : first + tried.CHUNK] for key, value in self.inputs.items()}
            off = max(off, off_by_rows(gradient(some), expected, first))
        return off

    def check(self, what, found, expected, tolerances, scale=0.0, ties=None):
        """`found` must be one of the expected arrangements; `scale` is a size below which differences do not count.

        ties: tells how much of a difference a rounding makes in PyTorch alone. What is no more than that is small
        enough to be tried in double, where nothing is lost to ties.
        """
        off = closest(found, expected, scale)
        if not off <= tolerances[self.type]:
            by_ties = MOST_BY_TIES < off < float("inf") and ties is not None and off <= 1.5 * ties()
            self.verdict.off = max(self.verdict.off, MOST_BY_TIES if by_ties else off)
            shapes = f" ({list(found.shape)} for {list(expected[0].shape)})" if off == float("inf") else ""
            self.verdict.worsen("wrong", f"{what} is off by {off:.2g}{shapes}")


def off_by_rows(found, expected, first):
    """Of a gradient for samples from `first` on, where these lie along a dimension."""
    differ = [d for d in range(expected.dim()) if found.shape[d : d + 1] != expected.shape[d : d + 1]]
    if len(differ) != 1 or found.dim() != expected.dim():
        return 0.0
    (dimension,) = differ
    each = expected.shape[dimension] // SAMPLES
    same = expected.narrow(dimension, first * each, min(found.shape[dimension], expected.shape[dimension] - first * each))
    largest = expected.abs().max().item()
    return (found - same).abs().max().item() / max(largest, 1e-30) if found.shape == same.shape else 0.0


def closest(found, expected, scale=0.0):
    return min(difference(found, other, scale) for other in expected)


def difference(found, expected, scale=0.0):
    """Of the largest expected value; shapes count by samples and their content in order."""
    expected = expected.detach()
    expected = (torch.view_as_real(expected) if expected.is_complex() else expected).double().numpy()
    if found.shape[:1] != expected.shape[:1] or found.size != expected.size:
        return float("inf")
    if found.size == 0:
        return 0.0
    found = found.astype(numpy.float64).reshape(expected.shape)
    same = (found == expected) | (numpy.isnan(found) & numpy.isnan(expected))
    with numpy.errstate(invalid="ignore"):
        off = numpy.where(same, 0, numpy.abs(found - expected))
    finite = numpy.abs(expected[numpy.isfinite(expected)])
    largest = max(float(finite.max()) if finite.size else 0.0, scale, 1e-30)
    worst = float(off.max())
    return float("inf") if numpy.isnan(worst) else worst / largest


def said(refusal):
    lines = [line for line in str(refusal).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    text = errors[0].strip() if errors else "nothing"
    return text if refusal.status in (1, 2) else f"ended with {refusal.status}: {text}"


class Examiner:
    def __init__(self, network, folder, seconds, program):
        self.network, self.folder, self.rest = network, pathlib.Path(folder), (seconds, program)
        self.originals = {}

    def verdict(self, form):
        verdict = self._try(form, self.network.type)
        if verdict.result == "wrong" and self.network.type is torch.float32 and 0 < verdict.off <= MOST_BY_TIES:
            # At a tie of a ReLU or a maximum a rounding decides where a gradient goes; in double nothing is so close.
            double = self._try(form, torch.float64)
            if double.result == "right":
                double.notes.append(f"compared in double, as in single precision {verdict.reason}")
                return double
            verdict.notes.append(f"in double: {double.result} {double.reason}")
        return verdict

    def _try(self, form, type):
        if type not in self.originals:
            self.originals[type] = Original(self.network, type)
        folder = self.folder / f"{form}-{str(type).split('.')[1]}"
        folder.mkdir()
        try:
            return Examination(self.originals[type], self.network, form, folder, *self.rest).run()
        except subprocess.TimeoutExpired:
            return Verdict(self.network.name, form, "wrong", f"the program took more than {self.rest[0]} s")
        except Exception:  # whatever the network's own code raises
            return Verdict(self.network.name, form, "wrong", "the zoo itself failed: " + traceback.format_exc())
        finally:
            for file in folder.glob("*.pt"):
                file.unlink()


def main():
    name, forms, folder, seconds, *program = sys.argv[1:]
    torch.set_num_threads(1)
    network = next(network for network in zoo.networks() if network.name == name)
    examiner = Examiner(network, folder, float(seconds), program)
    for form in forms.split(","):
        print("VERDICT " + json.dumps(dataclasses.asdict(examiner.verdict(form))), flush=True)


if __name__ == "__main__":
    main()
