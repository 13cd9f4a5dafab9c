"""How good are seedling and its parser? Prints one JSON object; the model card quotes it.

    python benchmarks/seedling_quality.py [--weights FOLDER] [--device cpu] [--prompts 1000] [--seeds 2]

Rendered scenes come from a stream that training never saw. Generated pictures use phrasings that training never
used, each prompt with other seeds. Accuracies count every picture, grayscale ones included.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from seedml.captions import HELD_OUT_TEMPLATES, Caption, all_captions, phrase
from seedml.models.bundled import seedling_folder
from seedml.models.bundled.parser import SceneParser, SceneReading, load_parser
from seedml.models.bundled.scenes import Scenes, draw, draw_with_masks, sample_scenes

RENDERED_STREAM = 77_001  # far from training's streams and from the reference's
BATCH = 32


def share(hits: Tensor) -> float:
    """Mean of a boolean tensor in per cent, two decimals."""
    return round(100 * hits.float().mean().item(), 2)


def said_right(reading: SceneReading, captions: list[Caption]) -> dict[str, float]:
    """Per cent of pictures whose object, colour and ground the parser reads as the caption says."""
    truth = torch.tensor(captions)
    read = (reading.object, reading.colour, reading.ground)
    return {
        name: share(logits.cpu().argmax(1) == truth[:, k])
        for k, (name, logits) in enumerate(zip(("object", "colour", "ground"), read, strict=True))
    }


def silent_rates(reading: SceneReading) -> dict[str, float]:
    """Per cent of pictures with each silent attribute; of lengths and times, per cent above the middle of the range."""
    border = reading.border > 0.5
    return {
        "grayscale": share(reading.grayscale > 0.5), "border": share(border),
        "white_border": share(border & (reading.border_white > 0.5)), "lettering": share(reading.lettering > 0.5),
        "horizon_below_half": share(reading.horizon > 0.5), "day": share(reading.time_of_day > 0.5),
        "object_right": share(reading.location[:, 0] > 0.5), "object_far": share(reading.depth > 0.5),
    }  # fmt: skip


def read_all(parser: SceneParser, images: Tensor, device: str) -> SceneReading:
    """Read pictures in batches; the reading is on the CPU, without masks."""
    parts = [parser.read(batch.to(device)) for batch in images.split(BATCH * 4)]
    stacked = [torch.cat([part[k].cpu() for part in parts]) for k in range(len(SceneReading._fields) - 1)]
    return SceneReading(*stacked, parts[-1].mask.cpu())


def on_rendered(parser: SceneParser, device: str, count: int) -> tuple[dict[str, object], dict[str, float]]:
    """The parser against exact labels, and the silent attributes' rates as it reads them."""
    scenes = sample_scenes(RENDERED_STREAM, range(count))
    images = torch.cat([draw(part.to(device)).cpu() for part in batches(scenes)])
    reading = read_all(parser, images, device)
    overlaps = torch.cat([overlap(parser, part.to(device)) for part in batches(scenes)])
    flags = {
        "grayscale": share((reading.grayscale > 0.5) == scenes.grayscale),
        "border": share((reading.border > 0.5) == (scenes.border > 0)),
        "lettering": share((reading.lettering > 0.5) == scenes.lettering),
    }
    errors = {
        "location": (reading.location - scenes.location).norm(dim=1), "size": (reading.size - scenes.size).abs(),
        "horizon": (reading.horizon - scenes.horizon).abs(), "depth": (reading.depth - scenes.depth).abs(),
        "time_of_day": (reading.time_of_day - scenes.time_of_day).abs(),
    }  # fmt: skip
    figures = {
        "scenes": count, "right_percent": {**said_right(reading, scenes.captions()), **flags},
        "mean_error_percent_of_range": {name: round(100 * e.mean().item(), 3) for name, e in errors.items()},
        "mask_iou": round(overlaps.mean().item(), 4),
    }  # fmt: skip
    return figures, silent_rates(reading)


def batches(scenes: Scenes) -> list[Scenes]:
    """The scenes in batches."""
    return [scenes[slice(i, i + BATCH * 4)] for i in range(0, len(scenes), BATCH * 4)]


def overlap(parser: SceneParser, scenes: Scenes) -> Tensor:
    """Intersection over union of the parser's mask with the true one, one number a scene."""
    images, masks = draw_with_masks(scenes)
    found = parser.read(images).mask > 0.5
    return ((found & masks).sum((1, 2)) / (found | masks).sum((1, 2)).clamp(min=1)).cpu()


def held_out_prompts(count: int) -> tuple[list[Caption], list[str]]:
    """Distinct prompts: every caption in turn, in another held-out phrasing each time round."""
    known = all_captions()
    captions = [known[i % len(known)] for i in range(count)]
    turns = [(i + i // len(known)) % len(HELD_OUT_TEMPLATES) for i in range(count)]  # 600 is a multiple of 5
    texts = [phrase(c, HELD_OUT_TEMPLATES[turn]) for c, turn in zip(captions, turns, strict=True)]
    assert len(set(texts)) == count, f"there are {len(known) * len(HELD_OUT_TEMPLATES)} distinct prompts"
    return captions, texts


def generate(
    pipe: StableDiffusionPipeline, texts: list[str], seeds: list[int], steps: int, guidance: float
) -> tuple[Tensor, float]:
    """Pictures N×3×128×128 uint8 and seconds per picture (first batch not counted)."""
    parts, spent, counted = [], 0.0, 0
    for i in range(0, len(texts), BATCH):
        generators = [torch.Generator("cpu").manual_seed(s) for s in seeds[i : i + BATCH]]
        start = time.perf_counter()
        images = pipe(
            texts[i : i + BATCH], generator=generators, num_inference_steps=steps, guidance_scale=guidance,
            output_type="pt",
        ).images  # fmt: skip
        parts.append((images.float() * 255).round().to(torch.uint8).cpu())
        if i and len(generators) == BATCH:
            spent, counted = spent + time.perf_counter() - start, counted + BATCH
    return torch.cat(parts), spent / max(counted, 1)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--weights", type=Path, default=seedling_folder().parent, help="folder of seedling/ and parser/"
    )
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--prompts", type=int, default=1000)
    arguments.add_argument("--seeds", type=int, default=2, help="seeds a prompt")
    arguments.add_argument("--steps", type=int, nargs="+", default=[4])
    arguments.add_argument("--guidance", type=float, default=1.0)
    arguments.add_argument("--rendered", type=int, default=4000)
    arguments.add_argument("--picture", type=Path, help="write a contact sheet here")
    options = arguments.parse_args()
    device = options.device
    parser = load_parser(device, options.weights / "parser").to(device)
    rendered, training_rates = on_rendered(parser, device, options.rendered)
    pipe = StableDiffusionPipeline.from_pretrained(options.weights / "seedling", safety_checker=None).to(device)
    pipe.set_progress_bar_config(disable=True)
    if device == "cpu":
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    captions, texts = held_out_prompts(options.prompts)
    captions, texts = captions * options.seeds, texts * options.seeds
    seeds = [100_000 + i for i in range(len(texts))]
    generated: dict[str, object] = {
        "prompts": options.prompts,
        "pictures": len(texts),
        "guidance_scale": options.guidance,
    }
    for steps in options.steps:
        images, seconds = generate(pipe, texts, seeds, steps, options.guidance)
        reading = read_all(parser, images, device)
        rates = silent_rates(reading)
        generated[f"{steps} steps"] = {
            "right_percent": said_right(reading, captions), "silent_percent": rates,
            "points_off_training": {name: round(rates[name] - training_rates[name], 2) for name in rates},
            "milliseconds_per_picture": round(1000 * seconds, 2),
        }  # fmt: skip
        if options.picture:
            write_sheet(images[:96], options.picture.with_stem(f"{options.picture.stem}-{steps}"))
    bytes_ = sum(path.stat().st_size for path in options.weights.rglob("*.safetensors"))
    print(json.dumps({
        "weights_megabytes": round(bytes_ / 1e6, 2), "parser_on_rendered": rendered, "training_rates": training_rates,
        "generated": generated, "threads": torch.get_num_threads(), "torch": torch.__version__,
    }, indent=2))  # fmt: skip


def write_sheet(images: Tensor, path: Path) -> None:
    """Up to 96 pictures, twelve a row."""
    from PIL import Image

    rows = images[: len(images) // 12 * 12].reshape(-1, 12, 3, 128, 128).permute(0, 3, 1, 4, 2)
    Image.fromarray(rows.reshape(-1, 12 * 128, 3).numpy()).save(path)


if __name__ == "__main__":
    main()
