"""A dataset with a file that can't be read, which is skipped: everything is over the samples that are there."""

import numpy
import torch
from PIL import Image
from shared_cases import near
from world import demand

COUNT, BAD = 40, 3

PIPELINE = """microtome: 1
name: bad-samples
runtime: {{chunk: {chunk}}}
models:
  net: {{source: torchscript, path: net.pt, input: {{size: [3, 16, 16]}}}}
datasets:
  d: {{source: image_folder, path: img, label: none, on_bad_sample: skip}}
stages:
  values: {{uses: activations, inputs: {{model: net, data: d}}, with: {{layers: [c], pool: max}}}}
  top: {{uses: top_activations, inputs: {{model: net, data: d}}, with: {{layer: c, units: [0, 1], count: 3}}}}
  means: {{uses: ablate, inputs: {{model: net, data: d}}, with: {{at: [c], each: c, with: mean, target: class(1)}}}}
  donors: {{uses: ablate, inputs: {{model: net, data: d}}, with: {{at: [c], each: c, with: resample, target: class(1)}}}}
  map: {{uses: saliency, inputs: {{model: net, data: d}}, with: {{target: class(1)}}}}
"""


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = torch.nn.Conv2d(3, 2, 3), torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.f(torch.relu(self.c(x)).mean((2, 3)))


class BadSamples:
    name = "bad-samples"

    def check(self, world):
        torch.manual_seed(0)
        net = Net().eval()
        torch.jit.script(net).save(str(world.folder / "net.pt"))
        (world.folder / "img").mkdir()
        pixels = numpy.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), dtype=numpy.uint8)
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(world.folder / f"img/{i:02}.png")
        bad = world.folder / f"img/{BAD:02}.png"
        bad.write_bytes(bad.read_bytes()[:300])
        kept = [i for i in range(COUNT) if i != BAD]
        ids = [f"{i:02}.png" for i in kept]
        with torch.no_grad():
            maps = net.c(torch.tensor(pixels[kept]).permute(0, 3, 1, 2).float() / 255).amax((2, 3)).numpy()
        for chunk in (1, 7, 64):
            world.write(PIPELINE.format(chunk=chunk))
            run = world.run()
            for stage in ("values", "means", "map"):
                demand(run[stage].ids == ids, f"{stage}, chunks of {chunk}: the ids are {run[stage].ids}")
            near(run["values"]["c"], maps)
            order = numpy.argsort(-maps, axis=0, kind="stable")[:3].T
            shown = run["top"]["positions"][:, 0, :3]
            demand((shown == order).all(), f"top_activations, chunks of {chunk}: shows {shown}, not {order}")
            for stage in ("means", "donors"):
                near(run[stage]["mean_effect"], run[stage]["effect"].mean(0), 1e-5)
                demand(len(run[stage]["effect"]) == COUNT - 1, f"{stage}: {len(run[stage]['effect'])} rows")
            demand(f"{BAD:02}.png" in str(run.manifest), "the manifest does not name the sample that was left out")
