"""How fast do images reach the seed classifier, and how fast could they? Prints one JSON object; the README quotes it.

    python benchmarks/loader.py [--images 6144] [--sizes 32 128] [--workers 2] [--repeats 5] [--shards FOLDER]

The same images, 128 × 128 px PNG, are read by as many worker processes in four ways, which take turns. Images a second
are those of one shuffled epoch, from asking for its iterator to its last batch, workers' start included:

folder      torchvision's ImageFolder and DataLoader: a PNG file each, to float with ToTensor
folder u8   the same, but the pixels stay uint8
webdataset  plain webdataset over the shards: a shuffle buffer, Pillow, ToTensor
seedml      the classifier's own loader in its first epoch; decoded images are kept as it goes. Indexing the shards,
            which is done once, comes on top, and is in "seedml and index"
later       its second epoch
bare        Pillow decodes the PNG files, which are in memory, in as many processes; nothing else: the limit

`--sizes` are the sides that images are reduced to (torchvision's Resize for the others). Memory is that of seedml's
processes together (proportional set size) with an index of `--rows` images, 1,024 seeds × 9,000 by default, whose bytes
come from these shards: while it is sorted and written, and while batches are read. `--device` takes the batches there
and makes them float, as the model does.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import islice
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from seedml.captions import parse_caption
from seedml.classifier.data import BatchLoader, SeedImages, TrainingOrder, class_labels
from seedml.classifier.shard_index import ROW, open_index, write_sorted
from seedml.classifier.split_images import SplitImages, open_splits
from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.grid import Tile, build_grid
from seedml.models.bundled.scenes import draw, sample_scenes
from seedml.prompts import load_prompts
from seedml.shards.dataset import ShardDataset, open_dataset, study_settings
from seedml.shards.format import Record, encode_image
from seedml.shards.reader import read_shard
from seedml.shards.writer import ShardWriter

BATCH = 128
SEEDS = 32
TARGETS = {"seedml / bare": 0.9, "seedml / folder": 1.2, "later / folder": 5.0}
MEMORY_TARGET_GB = 2.0
NOISE = 1.2
"""Standard deviation, in levels: makes the PNG of a drawn scene as large as that of one of seedling's pictures."""

Rates = dict[str, list[float]]
"""Way -> images a second, a turn each."""


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="loader-") as folder:
        images = Images(Path(folder), options)
        speeds = {str(size): turns(images, size, options) for size in options.sizes}
        memory = memory_apart(images, options) if options.rows else None
        print(json.dumps(report(options, images, speeds, memory), indent=2))


def parse() -> argparse.Namespace:
    """The command line."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--images", type=int, default=6144, help=f"drawn for it; a multiple of {SEEDS}")
    arguments.add_argument("--shards", type=Path, default=None, help="the train split of a data set instead")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[32, 128])
    arguments.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--rows", type=int, default=1024 * 9000, help="of the synthetic index; 0 = no memory test")
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--folder", type=Path, default=None, help="where to put the files; default: temporary")
    return arguments.parse_args()


class Images:
    """The same images as shards, as a folder of files by class, and in memory."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.dataset, self.tiles = existing(options.shards) if options.shards else drawn(folder, options.images)
        self.encoded: list[bytes] = []
        for sample in (sample for tile in self.tiles for sample in read_shard(self.dataset.shard(tile))):
            path = folder / "png" / f"{sample.seed:010d}" / f"{sample.prompt_id:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sample.encoded)
            self.encoded.append(sample.encoded)
        self.side = Image.open(io.BytesIO(self.encoded[0])).width

    @property
    def shards(self) -> list[str]:
        """The tars."""
        return [str(self.dataset.shard(tile)) for tile in self.tiles]

    def split(self, size: int, folder: Path) -> SplitImages:
        """As the classifier sees them."""
        return open_splits(self.dataset, self.tiles, size, folder, cache="always", threads=1)["train"]


def existing(folder: Path) -> tuple[ShardDataset, list[Tile]]:
    """The train split of a data set."""
    dataset = open_dataset(folder)
    tiles = []
    for shard in dataset.shards("train"):
        samples = list(read_shard(shard))
        seeds, prompt_ids = ({getattr(s, name) for s in samples} for name in ("seed", "prompt_id"))
        tiles.append(Tile("train", int(shard.stem[-6:]), tuple(sorted(seeds)), tuple(sorted(prompt_ids))))
    return dataset, tiles


def drawn(folder: Path, images: int) -> tuple[ShardDataset, list[Tile]]:
    """Shards of scenes with a little noise: ``SEEDS`` of each caption."""
    n_train = images // SEEDS
    config = StudyConfig(
        name="loader", seeds=f"0:{SEEDS}", shards=ShardsConfig(root=str(folder / "shards")),
        prompts=PromptsConfig(limit=n_train + 2, splits={"train": n_train, "val": 1, "test": 1}),
    )  # fmt: skip
    prompts = load_prompts(config.prompts)
    texts = {prompt.prompt_id: prompt for prompt in prompts}
    grid = build_grid(config, prompts)
    dataset = ShardDataset(config.shard_dir, study_settings(config, grid, prompts), {}, texts)
    tiles = [tile for tile in grid.tiles_for(config.shards) if tile.split == "train"]
    noise = np.random.default_rng(0)
    for tile in tiles:
        captions = [parse_caption(texts[cell.prompt_id].text) for cell in tile.cells()]
        pictures = draw(sample_scenes(0, range(len(captions)), captions)).permute(0, 2, 3, 1).numpy()
        noisy = np.clip(pictures + noise.normal(0, NOISE, pictures.shape), 0, 255).round().astype(np.uint8)
        with ShardWriter(dataset.folder, tile.name, "png", dataset.fingerprint) as writer:
            for cell, picture in zip(tile.cells(), noisy, strict=True):
                text = texts[cell.prompt_id].text
                writer.add(Record(cell, text, "train", "0" * 64, *picture.shape[:2], encode_image(picture, "png")))
    return dataset, tiles


def turns(images: Images, size: int, options: argparse.Namespace) -> Rates:
    """Images a second of every way, in every turn."""
    ways = ["folder", "folder u8", "webdataset", "seedml", "bare"]
    rates: Rates = {name: [] for name in [*ways, "later", "seedml and index"]}
    total = len(images.encoded)
    for turn in range(options.repeats):
        for name in ways[turn % len(ways) :] + ways[: turn % len(ways)]:  # each comes first, second … in turn
            if name == "bare":
                rates[name].append(total / bare_seconds(images.encoded, options.workers))
            elif name == "seedml":
                index, first, later = seedml_seconds(images, size, options, turn)
                rates["seedml"].append(total / first)
                rates["seedml and index"].append(total / (index + first))
                rates["later"].append(total / later)
            else:
                loader = wds_loader if name == "webdataset" else torchvision_loader
                prepare = transform(size, images.side, as_float=name != "folder u8")
                rates[name].append(total / seconds(loader(images, prepare, options), total, options.device))
    return rates


def seconds(loader: Iterable[Any], total: int, device: str) -> float:
    """Of an epoch; every image must come once."""
    start, seen = time.perf_counter(), 0
    for batch in loader:
        images = batch[0].to(device, non_blocking=True)
        if device != "cpu":
            images.float().div_(255)
        seen += len(images)
    if device != "cpu":
        torch.cuda.synchronize()
    assert seen == total, f"{seen} of {total} images came"
    return time.perf_counter() - start


def seedml_seconds(images: Images, size: int, options: argparse.Namespace, turn: int) -> tuple[float, float, float]:
    """To index the shards, of the first epoch, of the second."""
    start = time.perf_counter()
    split = images.split(size, images.folder / f"seedml-{size}-{turn}")
    index = time.perf_counter() - start
    labels = class_labels(split, np.unique(split.seeds).tolist())
    order = TrainingOrder(len(split), BATCH, seed=turn)
    loader = BatchLoader(SeedImages(split, labels), order, options.workers)
    first = seconds(loader, len(split), options.device)
    order.set_epoch(1)
    return index, first, seconds(loader, len(split), options.device)


def transform(size: int, side: int, *, as_float: bool) -> Any:
    """What users of torchvision write."""
    from torchvision import transforms

    resize = [transforms.Resize((size, size))] if size != side else []
    return transforms.Compose([*resize, transforms.ToTensor() if as_float else transforms.PILToTensor()])


def torchvision_loader(images: Images, prepare: Any, options: argparse.Namespace) -> DataLoader[Any]:
    """ImageFolder and DataLoader."""
    from torchvision.datasets import ImageFolder

    files = ImageFolder(str(images.folder / "png"), prepare)
    return DataLoader(files, BATCH, shuffle=True, num_workers=options.workers, pin_memory=options.device != "cpu")


def wds_loader(images: Images, prepare: Any, options: argparse.Namespace) -> Any:
    """Webdataset's own stages; workers share the shards."""
    import webdataset as wds

    shards = wds.WebDataset(images.shards, shardshuffle=len(images.shards), empty_check=False)
    samples = shards.shuffle(1000).decode("pil").to_tuple("png", "json").map_tuple(prepare, lambda about: about["seed"])
    return wds.WebLoader(samples.batched(BATCH), batch_size=None, num_workers=options.workers)


def bare_seconds(encoded: list[bytes], workers: int) -> float:
    """To decode all of them in as many processes, which wait for each other before they begin."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(workers + 1)
    processes = [context.Process(target=bare, args=(encoded[place::workers], barrier)) for place in range(workers)]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    for process in processes:
        process.join()
        assert process.exitcode == 0, "a decoding process failed"
    return time.perf_counter() - start


def bare(encoded: list[bytes], barrier: Barrier) -> None:
    """Decode and forget."""
    barrier.wait()
    for data in encoded:
        with Image.open(io.BytesIO(data)) as image:
            np.asarray(image)


def memory_apart(images: Images, options: argparse.Namespace) -> dict[str, Any]:
    """:func:`memory_of_reading` in a process that has only what it needs."""
    shards = [images.dataset.shard(tile) for tile in images.tiles]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        job = pool.submit(
            memory_of_reading, images.folder, shards, options.rows, options.workers, multiprocessing.get_start_method()
        )
        return job.result()


def memory_of_reading(folder: Path, shards: list[Path], rows: int, workers: int, method: str) -> dict[str, Any]:
    """GB of the processes together, and seconds, with an index of ``rows`` images; for a process of its own.

    ``method`` starts the workers, as in a user's process: one that was spawned spawns its own else, which share less.
    """
    multiprocessing.set_start_method(method, force=True)
    before = proportional_gb()
    path, start = folder / "large.npy", time.perf_counter()
    write_sorted(large_index(folder, rows), path)
    written, peak_of_index = time.perf_counter() - start, peak_gb()
    split = SplitImages(path, shards, 64, None)
    labels = class_labels(split, range(rows // 9000 + 1))
    start = time.perf_counter()
    loader = BatchLoader(SeedImages(split, labels), TrainingOrder(len(split), BATCH, 0), workers)
    reading = [proportional_gb() for _ in islice(loader, 100)]
    return {
        "rows": rows, "index_file_gb": round(path.stat().st_size / 1e9, 3), "before_gb": before,
        "sort_and_write_seconds": round(written, 1), "sort_and_write_peak_gb": peak_of_index,
        "reading_gb": max(reading), "workers": workers, "workers_start_by": method, "batches_in_an_epoch": len(loader),
        "seconds_of_100_batches": round(time.perf_counter() - start, 1),
    }  # fmt: skip


def large_index(folder: Path, rows: int) -> np.ndarray[Any, np.dtype[np.void]]:
    """Rows in the order of tiles, whose bytes are those of the real shards over and over."""
    real = open_index(next(folder.glob("seedml-*-0")) / "train.npy")
    large = np.empty(rows, ROW)
    for start in range(0, rows, len(real)):
        part = large[start : start + len(real)]
        part[:] = real[: len(part)]
    large["prompt_id"], large["seed"] = np.divmod(np.arange(rows), rows // 9000 + 1)
    return large


def processes() -> Iterator[Path]:
    """Folders of /proc: of this process and its children."""
    own = Path("/proc") / str(os.getpid())
    yield own
    for child in (own / "task" / own.name / "children").read_text().split():
        yield Path("/proc") / child


def proportional_gb() -> float:
    """Memory of this process and its children, shared pages counted once."""
    total = 0
    for process in processes():
        lines = (process / "smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return round(total * 1024 / 1e9, 3)


def peak_gb() -> float:
    """The most that this process has had resident."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) * 1024 / 1e9, 3)


def report(
    options: argparse.Namespace,
    images: Images,
    speeds: dict[str, Rates],
    memory: dict[str, Any] | None,
) -> dict[str, object]:
    """Everything that was measured, and under which conditions."""
    pairs = (*TARGETS, "seedml and index / bare")
    ratios = {size: {pair: ratio(ways, pair) for pair in pairs} for size, ways in speeds.items()}
    met: dict[str, object] = {
        size: {pair: found[pair] >= target for pair, target in TARGETS.items()} for size, found in ratios.items()
    }
    if memory:
        met["memory"] = max(memory["sort_and_write_peak_gb"], memory["reading_gb"]) <= MEMORY_TARGET_GB
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "images": len(images.encoded), "shards": len(images.tiles), "side": images.side,
        "bytes_an_image": round(sum(map(len, images.encoded)) / len(images.encoded)),
        "workers": options.workers, "cpus": os.cpu_count(), "device": options.device,
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in ("torch", "torchvision", "webdataset", "pillow", "numpy")},
        "images a second": {
            size: {name: round(statistics.median(rates)) for name, rates in ways.items()}
            for size, ways in speeds.items()
        },
        "images a second, every turn": {
            size: {name: [round(rate) for rate in rates] for name, rates in ways.items()}
            for size, ways in speeds.items()
        },
        "ratios": ratios, "targets": {**TARGETS, "memory_gb": MEMORY_TARGET_GB}, "targets_met": met, "memory": memory,
    }  # fmt: skip


def ratio(ways: Rates, pair: str) -> float:
    """The median over turns of one rate by another: what slows the machine slows both."""
    above, below = pair.split(" / ")
    return round(statistics.median(a / b for a, b in zip(ways[above], ways[below], strict=True)), 3)


if __name__ == "__main__":
    main()
