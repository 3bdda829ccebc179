"""Writes a PyTorch model as Microtome reads it: NET.pt, NET.yaml to paste, and NET.example.safetensors to verify with.

    from export_model import export_model
    export_model(net, torch.rand(1, 3, 224, 224), "net", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""

import json
import struct

import numpy
import torch

_NAMES = {"float64": "F64", "float32": "F32", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}


def write_safetensors(file, arrays):
    """The format is a length, a header in JSON, and the bytes."""
    header, data = {}, b""
    for key, value in arrays.items():
        content = numpy.ascontiguousarray(value).tobytes()
        header[key] = {
            "dtype": _NAMES[str(value.dtype)],
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text + data)


def export_model(net, example, name, mean=None, std=None):
    """Traces `net` on `example` (a tensor or a tuple of them, N first, as the network takes it) and writes three files.

    With `mean` and `std`, by channel, the model will take pixels in 0..1 and normalise them itself; `example` stays
    what the network takes, so normalised.
    """
    net = net.eval()
    inputs = example if isinstance(example, tuple) else (example,)
    with torch.no_grad():
        traced = torch.jit.trace(net, inputs)
        outputs = traced(*inputs)
    traced.save(f"{name}.pt")
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if torch.is_tensor(outputs):
        outputs = [outputs]
    arrays = {f"input.{i}": value.numpy() for i, value in enumerate(inputs)}
    arrays.update({f"output.{i}": value.numpy() for i, value in enumerate(outputs)})
    write_safetensors(f"{name}.example.safetensors", arrays)
    declared = [f"  {name}:", "    source: torchscript", f"    path: {name}.pt"]
    if len(inputs) == 1:
        size = list(inputs[0].shape[1:])
        moments = f", mean: {list(mean)}, std: {list(std)}" if mean is not None else ""
        declared.append(f"    input: {{size: {size}{moments}}}")
    with open(f"{name}.yaml", "w", encoding="utf-8") as file:
        file.write("models:\n" + "\n".join(declared) + "\n")
