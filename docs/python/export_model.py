"""Writes a PyTorch model as Microtome reads it: NET.pt, NET.yaml to paste, and NET.example.safetensors to verify with.

    from export_model import export_model
    export_model(net, torch.rand(2, 3, 224, 224), "net", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    export_model(bert, {"input_ids": ids, "attention_mask": mask}, "bert")     # inputs by keyword
    export_model(net, example, "net", form="script")                           # forward branches on data
"""

import collections.abc
import contextlib
import dataclasses
import inspect
import json
import pathlib
import re
import struct
import warnings

import torch

_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip

# How far the file may be from the network, of the largest value.
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}

# Why a trace differs.
_HINTS = {
    "outputs": (
        "; tracing took numbers from the example that depend on it, such as its number of samples "
        '(in forward, take them from x.shape), or a branch (export with form="script")'
    ),
    "gradients": (
        "; a trace does not keep blocks under torch.no_grad() "
        '(in forward, call detach() on what they give, or export with form="script")'
    ),
}


@dataclasses.dataclass
class Report:
    """What `export_model` found when it read the file again. Differences are relative to the largest value."""

    outputs: float = 0.0
    gradients: float = 0.0
    batches: list = dataclasses.field(default_factory=list)  # numbers of samples that were compared
    lost: list = dataclasses.field(default_factory=list)  # modules that the file does not call, so without hook point
    notes: list = dataclasses.field(default_factory=list)


def _type_name(tensor):
    return str(tensor.dtype).split(".")[-1]


def write_safetensors(file, tensors):
    """Writes tensors by name. The format is a length, a header in JSON, and the bytes."""
    header, parts, end = {}, [], 0
    tensors = {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in tensors.items()}
    # Wide types first, so that all are aligned.
    for name, value in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        kind = _type_name(value)
        if kind not in _TYPES:
            raise ValueError(f"{name}: safetensors have no type for {value.dtype}")
        real = torch.view_as_real(value) if value.is_complex() else value
        parts.append(real.reshape(-1).view(torch.uint8).numpy().tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {"dtype": _TYPES[kind], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def export_model(net, example, name, mean=None, std=None, *, form="trace", verify=True):
    """Writes `net` as NAME.pt, with NAME.yaml and NAME.example.safetensors beside it. Returns a `Report`.

    net: a module on the CPU, of any floating type. It is exported in evaluation mode and left as it was.
    example: a tensor, a tuple of tensors, or a dictionary of arguments by name; samples first, best two or more.
        Arguments that are not tensors (flags, None) become constants of a traced network.
    mean, std: by channel; the model will then take pixels in 0..1 and normalise them itself. `example` stays what the
        network takes, so normalised.
    form: "trace" records what the network does with the example; "script" compiles its source, which keeps branches
        and loops that depend on data.
    verify: read the file again and compare outputs, and gradients by the inputs, with the network's, for the example
        and for one sample more. Raises ValueError, and leaves no file, when they differ.
    """
    if form not in ("trace", "script"):
        raise ValueError(f'form is "trace" or "script", not {form!r}')
    report = Report()
    target = pathlib.Path(name)
    files = [target.with_name(target.name + end) for end in (".pt", ".yaml", ".example.safetensors")]
    with _evaluating(net), torch.enable_grad():
        call = _Call(net, _arguments(net, example), report)
        try:
            expected = call.outputs()
        except _SameName:
            raise
        except Exception as error:  # the network's own, of any kind
            raise ValueError(f"the network itself fails on the example: {_first_line(error)}") from error
        module = _trace(call) if form == "trace" else _script(call)
        try:
            _save(module, files[0])
            if verify:
                _verify(files[0], call, form, report)
            _write_declaration(files[1], target.name, call.inputs, mean, std)
            names = _input_names(module)
            stored = {f"input.{names.index(key)}": value for key, value in call.inputs.items()}
            stored.update({f"output.{i}": value for i, value in enumerate(expected.values())})
            write_safetensors(files[2], stored)
        except BaseException:
            for file in files:
                file.unlink(missing_ok=True)
            raise
    for note in report.notes:
        print(f"{files[0]}: {note}")
    return report


def _arguments(net, example):
    """All arguments by name, in the order in which `forward` has them."""
    if isinstance(net, torch.jit.ScriptModule):
        kinds = dict.fromkeys(_input_names(net, None), inspect.Parameter.POSITIONAL_OR_KEYWORD)
    else:
        kinds = {key: parameter.kind for key, parameter in inspect.signature(net.forward).parameters.items()}
    if isinstance(example, collections.abc.Mapping):
        unknown = [key for key in example if key not in kinds]
        if unknown and inspect.Parameter.VAR_KEYWORD not in kinds.values():
            raise ValueError(f"forward has no argument {unknown[0]!r}; it has {', '.join(kinds)}")
        return {key: example[key] for key in [*(key for key in kinds if key in example), *unknown]}
    values = example if isinstance(example, (tuple, list)) else (example,)
    names = []
    for key, kind in kinds.items():
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{key}_{i}" for i in range(len(values) - len(names))]
        elif kind is not inspect.Parameter.VAR_KEYWORD:
            names.append(key)
    if len(values) > len(names):
        raise ValueError(f"forward takes {len(names)} arguments, the example has {len(values)}")
    return dict(zip(names, values))


class _Call:
    """A call of the network: its tensors are the model's inputs, the other arguments are constants."""

    def __init__(self, net, arguments, report):
        self.net, self.forward, self.arguments, self.report = net, net.forward, arguments, report
        self.inputs = {key: value.detach() for key, value in arguments.items() if torch.is_tensor(value)}
        self.constants = {key: value for key, value in arguments.items() if key not in self.inputs}
        for key, value in self.constants.items():
            if any(True for _ in _flatten(value, key, [])):
                raise ValueError(
                    f"the argument {key!r} is a {type(value).__name__} of tensors, and a model's inputs are single "
                    "tensors; wrap the network in a module that takes them one by one"
                )
        if not self.inputs:
            raise ValueError("the example holds no tensor")
        for key, value in [*self.inputs.items(), *net.named_parameters(), *net.named_buffers()]:
            if value.device.type != "cpu":
                raise ValueError(f"{key} is on {value.device}, which the file would keep; export on the CPU: net.cpu()")
        kinds = [] if _is_compiled(net) else [p.kind for p in inspect.signature(net.forward).parameters.values()]
        # A forward(*inputs) takes no names.
        self.by_position = kinds and kinds[0] is inspect.Parameter.VAR_POSITIONAL

    def _run(self, function, tensors):
        # Clones: some networks write into what they are given.
        given = {**self.arguments, **{key: value.clone() for key, value in tensors.items()}}
        return function(*given.values()) if self.by_position else function(**given)

    def __call__(self, *tensors):
        """The outputs, as a trace can return them: a tensor, a tuple of tensors, or a dictionary of them."""
        return self.plain(self._run(self.forward, dict(zip(self.inputs, tensors))))

    def outputs(self, tensors=None):
        """Output tensors by name, of the module called as its users call it."""
        return _by_name(self.plain(self._run(self.net, tensors or self.inputs)), [])

    def plain(self, result):
        if torch.is_tensor(result):
            return result
        if type(result) in (tuple, list) and result and all(torch.is_tensor(value) for value in result):
            return tuple(result)
        left_out = []
        named = _by_name(result, left_out)
        if left_out:
            note = "outputs that are not tensors are left out: " + ", ".join(left_out)
            if note not in self.report.notes:
                self.report.notes.append(note)
        if not named:
            raise ValueError(f"the network returns no tensor but {type(result).__name__}")
        return named


def _flatten(value, name, left_out):
    """Tensors in nested outputs, by dotted names; `left_out` gets the names of the others."""
    if torch.is_tensor(value):
        yield name or "output", value
        return
    if isinstance(value, collections.abc.Mapping):
        items = value.items()
    elif hasattr(value, "_fields"):
        items = zip(value._fields, value)
    elif isinstance(value, (tuple, list)):
        items = enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    else:
        if value is not None:
            left_out.append(f"{name or 'output'} ({type(value).__name__})")
        return
    for key, part in items:
        yield from _flatten(part, f"{name}.{key}" if name else str(key), left_out)


class _SameName(ValueError):
    pass


def _by_name(value, left_out):
    named = {}
    for name, tensor in _flatten(value, "", left_out):
        if name in named:
            raise _SameName(f"two outputs are called {name!r}; give them names that differ")
        named[name] = tensor
    return named


@contextlib.contextmanager
def _evaluating(net):
    """Evaluation mode, with gradients by every parameter: where none is wanted PyTorch takes fused operators without
    derivative, and the modules inside of them leave no trace."""
    modes = [(module, module.training) for module in net.modules()]
    wanted = [
        (value, value.requires_grad) for value in net.parameters() if value.is_floating_point() or value.is_complex()
    ]
    mha = getattr(torch.backends, "mha", None)
    fast = mha.get_fastpath_enabled() if mha else None
    net.eval()
    if mha:
        mha.set_fastpath_enabled(False)
    try:
        for value, _ in wanted:
            value.requires_grad_(True)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for value, before in wanted:
            value.requires_grad_(before)
        if mha:
            mha.set_fastpath_enabled(fast)


def _trace(call):
    if _is_compiled(call.net):
        return call.net

    # `forward` is replaced for the moment, not wrapped in another module, so that hook points keep their names.
    def forward(*tensors):
        return call(*tensors)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature([inspect.Parameter(key, kind) for key in call.inputs])
    own = call.net.__dict__.get("forward")
    kept = [f"{key}={value!r}" for key, value in call.constants.items() if value is not None]
    if kept:
        call.report.notes.append("constant in the file: " + ", ".join(kept))
    call.net.forward = forward
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", torch.jit.TracerWarning)
            traced = torch.jit.trace(call.net, tuple(call.inputs.values()), strict=False, check_trace=False)
        call.report.notes += _frozen(caught)
        return traced
    except Exception as error:  # the network's own, of any kind
        reason = _first_line(error)
        if "not Tensor" in reason:
            reason += " (while a network is traced its sizes are tensors: int(x.shape[-1]))"
        raise ValueError(f'the network can\'t be traced; change it, or export with form="script": {reason}') from error
    finally:
        del call.net.forward
        if own is not None:
            call.net.forward = own


def _frozen(caught):
    """Notes on what a trace took from the example, by the warnings that PyTorch gave."""
    branches, numbers = set(), set()
    for warning in caught:
        if not issubclass(warning.category, torch.jit.TracerWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif "Converting a tensor to a Python" in str(warning.message):
            where = f"{pathlib.Path(warning.filename).name}:{warning.lineno}"
            (branches if "Python boolean" in str(warning.message) else numbers).add(where)

    def places(found):
        named = sorted(found)
        return ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")

    notes = []
    if branches:
        notes.append(
            f"the file always goes the way that the example went at {places(branches)}; where that depends on the data, "
            'export with form="script"'
        )
    if numbers:
        notes.append(
            f"the file keeps numbers that were read from the example at {places(numbers)}; another number of samples was "
            "tried, other lengths were not"
        )
    return notes


def _is_compiled(net):
    return isinstance(net, torch.jit.ScriptModule)


def _script(call):
    net = call.net
    parameters = {} if _is_compiled(net) else inspect.signature(net.forward).parameters
    for key, value in call.constants.items():
        if value is not None and (key not in parameters or parameters[key].default != value):
            raise ValueError(
                f"a scripted network keeps its argument {key!r}, and {value!r} is not its default; wrap the network in "
                'a module that passes it, or trace it (form="trace")'
            )
    try:
        return net if _is_compiled(net) else torch.jit.script(net)
    except Exception as error:  # torch.jit.script raises errors of many kinds
        reason = _first_line(error)
        raise ValueError(f'torch.jit.script can\'t compile the network; trace it (form="trace"): {reason}') from error


def _save(module, file):
    try:
        module.save(str(file))
    except RuntimeError as error:
        function = re.search(r"Python function call '(\w+)'", str(error))
        if not function:
            raise
        raise ValueError(
            f"{function[1]} is a torch.autograd.Function, Python code that no file can hold; write it with PyTorch's "
            "operators, or leave it out where only its derivative is its own"
        ) from error


def _first_line(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines and "failed in the TorchScript interpreter" in lines[0]:
        lines = lines[-1:]  # its stack comes before the reason
    return lines[0].strip() if lines else type(error).__name__


def _input_names(module, kinds=("Tensor", "Optional[Tensor]")):
    """Of a compiled module, the arguments of `forward` that are of these types."""
    values = list(module._c._get_method("forward").graph.inputs())[1:]
    return [re.sub(r"\.\d+$", "", v.debugName()) for v in values if not kinds or v.type().annotation_str in kinds]


def _another_batch(inputs):
    """One sample more, other values: numbers a little off, tokens moved along."""
    batch = {}
    for key, value in inputs.items():
        if value.dim() == 0:
            batch[key] = value
            continue
        value = torch.cat([value, value[:1]])
        if value.is_floating_point():
            scale = 1 + 0.1 * torch.rand(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            value = (value * scale.to(value.dtype)).to(value.dtype)
        elif value.dim() > 1:
            value = value.roll(1, dims=-1)
        batch[key] = value
    return batch


def _relative(found, expected):
    """The largest difference, of the largest expected value."""
    worst = 0.0
    for key, value in expected.items():
        other = found[key]
        if other.shape != value.shape:
            return float("inf")
        if value.numel() == 0:
            continue
        wide = torch.complex128 if value.is_complex() else torch.float64
        value, other = value.detach().to(wide), other.detach().to(wide)
        same = (value == other) | ((value != value) & (other != other))
        difference = (value - other).abs().masked_fill(same, 0)
        finite = value.abs()[value.abs() < float("inf")]
        scale = max(finite.max().item() if finite.numel() else 0.0, 1e-30)
        largest = difference.max().item()
        worst = max(worst, float("inf") if largest != largest else largest / scale)
    return worst


def _gradients(function, inputs):
    """Outputs, and gradients of a fixed random combination of them by each floating input that has any."""
    leaves = {key: value.clone().requires_grad_(value.is_floating_point()) for key, value in inputs.items()}
    outputs = function(leaves)
    generator = torch.Generator().manual_seed(2)
    score = torch.zeros([], dtype=torch.float64)
    for value in outputs.values():
        if value.requires_grad:
            value = torch.view_as_real(value) if value.is_complex() else value
            weight = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
            score = score + (value * weight).sum()
    wanted = {key: value for key, value in leaves.items() if value.requires_grad}
    if not wanted or not score.requires_grad:
        return outputs, {}
    gradients = torch.autograd.grad(score, list(wanted.values()), allow_unused=True)
    return outputs, {key: value for key, value in zip(wanted, gradients) if value is not None}


class GradientLayout(torch.overrides.TorchFunctionMode):
    """PyTorch 1.13 goes back wrongly through a GELU whose gradient lies otherwise in memory than its result."""

    def __torch_function__(self, function, types, arguments=(), more=None):
        result = function(*arguments, **(more or {}))
        if getattr(function, "__name__", "") == "gelu" and result.requires_grad:
            result.register_hook(lambda gradient: gradient.contiguous())
        return result


def _verify(file, call, form, report):
    """Compares the file with the network, on the example and on another batch."""
    loaded = torch.jit.load(str(file))
    constants = call.constants if form == "script" and not _is_compiled(call.net) else {}

    def from_file(tensors):
        given = {**constants, **{key: value.clone() for key, value in tensors.items()}}
        return _by_name(call.plain(loaded(**given)), [])

    types = [value.dtype for value in [*call.inputs.values(), *call.net.parameters()]]
    tolerance = max((_TOLERANCES[kind] for kind in types if kind in _TOLERANCES), default=1e-4)
    shapes = []
    for batch in (call.inputs, _another_batch(call.inputs)):
        first = next(iter(batch.values()))
        samples = first.shape[0] if first.dim() else 1
        try:
            with GradientLayout():
                expected, wanted = _gradients(call.outputs, batch)
        except Exception as error:  # the network's own, of any kind
            report.notes.append(f"the network itself does not take {samples} samples: {_first_line(error)}")
            continue
        if _relative(call.outputs(batch), expected) > tolerance:
            raise ValueError(
                "called twice on the same samples, the network gives different outputs: something is random, or "
                "changes, in evaluation mode too"
            )
        hints = _HINTS if form == "trace" else {"outputs": "", "gradients": ""}
        try:
            with torch.jit.optimized_execution(False):
                outputs, gradients = _gradients(from_file, batch)
        except Exception as error:  # LibTorch's, of any kind
            raise ValueError(f"the file fails on {samples} samples{hints['outputs']}: {_first_line(error)}") from error
        for what, found, right, allowed in (
            ("outputs", outputs, expected, tolerance),
            ("gradients", gradients, wanted, 10 * tolerance),
        ):
            off = _relative(found, right) if set(found) == set(right) else float("inf")
            if what == "gradients" and off > allowed and "aten::gelu" in str(loaded.inlined_graph):
                plain = _gradients(call.outputs, batch)[1]
                if _relative(plain, right) > allowed:
                    report.notes.append(
                        f"gradients were not compared: PyTorch {torch.__version__}'s own are wrong behind a GELU"
                    )
                    continue
            if not off <= allowed:
                much = (
                    "differ in number, shape or NaNs" if off == float("inf") else f"are off by {off:.2g} of the largest"
                )
                raise ValueError(f"on {samples} samples the file's {what} {much}{hints[what]}")
            setattr(report, what, max(getattr(report, what), off))
        shapes.append({key: value.shape for key, value in outputs.items()})
        report.batches.append(samples)
    for key, shape in shapes[0].items() if len(shapes) == 2 else ():
        if shape == shapes[1][key]:
            report.notes.append(
                f"the output {key!r} is {list(shape)} for any number of samples: it has no row for each"
            )
    print(
        f"{file}: on {' and '.join(str(count) for count in report.batches)} samples, outputs differ from the network's "
        f"by {report.outputs:.2g} of the largest, gradients by {report.gradients:.2g}"
    )
    if not _is_compiled(call.net):
        report.lost = _lost(call.net, loaded)
    if report.lost:
        report.notes.append(f"no hook point, as the network does not call them here: {', '.join(report.lost)}")


def _lost(net, loaded):
    """Modules that the file does not call."""
    names = {}
    for name, module in net.named_modules(remove_duplicate=False):
        if not isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            names.setdefault(module, []).append(name)
    called = {""}
    _calls(loaded._c, "forward", "", called)
    return [aliases[0] for aliases in names.values() if not called.intersection(aliases)]


def _calls(module, method, path, called):
    """Paths of the modules that a method of a compiled module calls."""

    def visit(block):
        for node in block.nodes():
            if node.kind() == "prim::GetAttr" and node.inputsAt(0).debugName() in at:
                owner, place = at[node.inputsAt(0).debugName()]
                value = owner.getattr(node.s("name")) if owner.hasattr(node.s("name")) else None
                if isinstance(value, torch._C.ScriptModule):
                    at[node.output().debugName()] = (value, f"{place}.{node.s('name')}" if place else node.s("name"))
            elif node.kind() == "prim::CallMethod" and node.inputsAt(0).debugName() in at:
                owner, place = at[node.inputsAt(0).debugName()]
                if node.s("name").startswith("forward"):
                    called.add(place)
                key = (place, node.s("name"))
                if key not in seen:
                    seen.add(key)
                    _calls(owner, node.s("name"), place, called)
            for inner in node.blocks():
                visit(inner)

    graph = module._get_method(method).graph
    at, seen = {next(iter(graph.inputs())).debugName(): (module, path)}, set()
    visit(graph)


def _write_declaration(file, name, inputs, mean, std):
    def plain(text):
        return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text) else json.dumps(text)

    if (mean is None) != (std is None):
        raise ValueError("mean and std go together")
    images = list(inputs)
    if len(inputs) > 1:
        images = [key for key, value in inputs.items() if value.is_floating_point() and value.dim() == 4]
        if mean is not None and len(images) != 1:
            raise ValueError(
                f"mean and std are an image's, and which of {', '.join(inputs)} holds images is not clear; "
                "normalise inside of the network"
            )
    declared = {}
    for key, value in inputs.items():
        declared[key] = f"size: {list(value.shape[1:])}"
        if value.dtype is not torch.float32:
            declared[key] += f", type: {_type_name(value)}"
        if mean is not None and key in images:
            declared[key] += f", mean: {[float(v) for v in mean]}, std: {[float(v) for v in std]}"
    lines = ["models:", f"  {plain(name)}:", "    source: torchscript", f"    path: {plain(name + '.pt')}"]
    if len(declared) == 1:
        lines.append(f"    input: {{{next(iter(declared.values()))}}}")
    else:
        lines.append("    inputs:")
        lines += [f"      {plain(key)}: {{{text}}}" for key, text in declared.items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
