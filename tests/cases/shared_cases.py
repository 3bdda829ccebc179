"""What is right for each of the cases that lie with the test data, as its README says."""

import shutil

import numpy
from world import demand, make


def near(found, expected, to=1e-4):
    demand(found.shape == expected.shape, f"the shape is {found.shape}, not {expected.shape}")
    off = abs(found - expected).max() / max(abs(expected).max(), 1e-30)
    demand(off <= to, f"differs by {off:.2g} of the largest value")


class Case:
    """A folder of the test data: its files are made, its pipeline is tried."""

    def __init__(self, source):
        self.source = source
        self.name = source.name

    def check(self, world):
        shutil.copytree(self.source, world.folder, dirs_exist_ok=True)
        make(world.folder, "make.py")
        CHECKS[self.name](world)


def array(world, name):
    return numpy.load(world.folder / name)


def equals(stage, tensor, file="expected.npy"):
    return lambda world: near(world.run()[stage][tensor], array(world, file))


def verifies(shape):
    def check(world):
        done = world.call("layers", "net.pt", "--input", f"x={shape}", "--verify")
        demand(done.returncode == 0, done.stderr)
        demand("differ" not in done.stderr, done.stderr)

    return check


def both(*checks):
    def check(world):
        for each in checks:
            each(world)

    return check


def conv1d_channels(world):
    run = world.run()
    near(run["pooled"]["c"], array(world, "expected_pooled.npy"))
    near(run["effect"]["effect"], array(world, "expected_effect.npy"))


def sums(world):
    values = world.run()["dl"]["attributions"]
    near(values.reshape(len(values), -1).sum(1), array(world, "expected_sums.npy"))


def float64_rows(world):
    # Found before anything is computed, with both types and the way out.
    world.refuses("x.npy", "float64", "float32", "convert", command="check")
    near(world.run({"{x: x.npy}}": "{x: x.npy}, convert: {x: float32}}"})["out"]["output"], array(world, "expected.npy"))


def grey_images(world):
    world.refuses("image", "transform: {channels: 1}", command="check")
    run = world.run({"path: img}": "path: img, transform: {channels: 1}}"})
    demand(run["accuracy"].metrics["top1"]["value"] is not None, "there is no accuracy")


def module_names(world):
    world.refuses('"m.a b"', "m.'x[0]'", "quotes", command="check")
    run = world.run({'["m.a b", "m.x[0]"]': "[\"m.'a b'\", \"m.'x[0]'\"]"})
    near(run["acts"]["m.'a b'"], array(world, "expected.npy"))


def png_with_gamma(world):
    pixels = world.run()["pixels"]["output"]
    near(pixels, numpy.stack([array(world, "expected.npy").reshape(-1)] * 2), 1e-6)


def receptive_fields(world):
    run = world.run()
    boxes, positions = run["top"]["boxes"], run["top"]["positions"]
    expected = array(world, "expected_boxes.npy")
    units, count = positions.shape[0], positions.shape[2]
    for unit in range(units):
        for k in range(count):
            demand(
                (boxes[unit, 0, k] == expected[positions[unit, 0, k], unit]).all(),
                f"unit {unit}, place {k}: {boxes[unit, 0, k]}, not {expected[positions[unit, 0, k], unit]}",
            )


def symlinked_images(world):
    run = world.run()
    demand(run["accuracy"].metrics["top1"]["value"] == 1, "the accuracy is not 1")
    ids = sorted(run["accuracy"].ids)
    demand(ids == ["ant/0.png", "bee/1.png", "cat/2.png", "dog/3.png"], f"the ids are {ids}")


CHECKS = {
    "batch-second-integrated-gradients": equals("ig", "attributions"),
    "conv1d-channels": conv1d_channels,
    "export-of-token-model": equals("out", "output"),
    "float64-rows": float64_rows,
    "grey-images": grey_images,
    "helper-method-constant": both(
        equals("out", "output"), equals("gradient", "attributions", "expected_gradient.npy"), verifies("2x4")
    ),
    "item-of-a-list": verifies("2x4"),
    "loop-over-samples": both(equals("gradient", "attributions", "expected_gradient.npy"), verifies("2x5x3")),
    "module-names": module_names,
    "pca-of-nan": lambda world: world.refuses("components", 'sample "7"', "NaN"),
    "png-with-gamma": png_with_gamma,
    "receptive-field-after-upsampling": receptive_fields,
    "root-of-a-relu": sums,
    "squeezed-output": equals("gradient", "attributions", "expected_gradient.npy"),
    "symlinked-images": symlinked_images,
    "transformer-by-export": equals("gradient", "attributions", "expected_gradient.npy"),
    "unsupported-tensor-beside": equals("out", "output"),
    "upsample-by-factor": verifies("2x3x8x8"),
}


def cases(test_data):
    folders = sorted(folder for folder in (test_data / "cases").glob("*") if (folder / "make.py").exists())
    return [Case(folder) for folder in folders if folder.name in CHECKS]
