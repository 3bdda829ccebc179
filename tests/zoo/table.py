"""The verdicts as a page of the documentation."""

import re

PAGE = """# Networks compared with PyTorch

Made by `tests/zoo/run.py --write-docs`, which tries networks as people write them: the architectures of torchvision, and
small networks in the styles of Hugging Face's transformers, timm, MONAI, of audio and sequence models. Weights are random
(batch norms as after training, no bias zero), in float32 unless the name says otherwise.

{totals}

**Right** means that all of this agrees with PyTorch in Python, where the network's own modules run: the outputs; the output of every
module, and every input, each call, captured in one run (their number is given); gradients of an output by each input and by
the outputs of three modules inside; integrated gradients and the effect of ablation at one of them. Three samples go in chunks of
two and one. Values agree to 1e-4 of the largest, gradients to 1e-3; where a tie of ReLUs or maxima decides by a rounding where a
gradient goes, the network is compared in double. What is the same for all samples (an embedded position, say) has no rows and
is not among the values.

**Refused** means an error, with the reason given here, and no value. **Not exported**: PyTorch itself makes no such file.

Run it again, whole or in part:

    tests/zoo/run.py --only 'resnet*' --only vit
    tests/zoo/run.py --results zoo.jsonl --write-docs     # goes on where it was stopped
"""


def counts(verdicts):
    result = {"right": 0, "refused": 0, "wrong": 0, "not exported": 0}
    for verdict in verdicts:
        result[verdict["result"]] += 1
    return result


def totals(verdicts):
    count = counts(verdicts)
    tried = len(verdicts) - count["not exported"]
    share = 100 * count["right"] / tried if tried else 0
    return (
        f"{count['right']} of {tried} files right ({share:.1f} %), {count['refused']} refused, {count['wrong']} wrong; "
        f"{count['not exported']} that PyTorch does not export."
    )


def plain(reason):
    """The reason without what only this run knows, fit for a cell."""
    text = reason.replace("net.pt: ", "")
    text = re.sub(r"\bzoo\.yaml(:\d+:\d+)?: ", "", text)
    text = re.sub(r"(layers|values|gradient|by_input|by_value|integrated|ablated): (error: )?", "", text)
    text = re.sub(r"compile the network; trace it \(form=.trace.\):", "compile it:", text)
    text = re.sub(r" ?\(code/__torch__/[^)]*\)", "", text)
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").strip(" :")
    return text if len(text) <= 240 else text[:240].rsplit(" ", 1)[0] + " ..."


def cell(verdict):
    if verdict is None:
        return ""
    if verdict["result"] == "right":
        double = any(note.startswith("compared in double") for note in verdict["notes"])
        lost = f"; no hook point at {', '.join(verdict['lost'])}" if verdict["lost"] else ""
        return f"right, {verdict['compared']} values{', in double' if double else ''}{plain(lost)}"
    return f"{verdict['result']}: {plain(verdict['reason'])}"


def write(file, networks, verdicts):
    found = {(verdict["network"], verdict["form"]): verdict for verdict in verdicts}
    lines = [PAGE.format(totals=totals(verdicts))]
    for style in dict.fromkeys(network.style for network in networks):
        lines += [f"## {style}", "", "| network | scripted | traced |", "| --- | --- | --- |"]
        for network in networks:
            forms = [found.get((network.name, form)) for form in ("scripted", "traced")]
            if network.style == style and any(forms):
                name = network.name + (f" ({network.note})" if network.note else "")
                lines.append(f"| {name} | {cell(forms[0])} | {cell(forms[1])} |")
        lines.append("")
    untried = [n.name for n in networks if not any((n.name, form) in found for form in n.forms)]
    if untried:
        lines += ["## Not tried yet", "", ", ".join(untried)]
    file.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
