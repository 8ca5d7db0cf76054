"""What is fuzzed: for each format an honest file, and how the product reads it.

A format is one line in `FORMATS`; `writer` makes honest files in a folder and names what a user
would give, and `reader` does with it what the product does. Both are named, `module:function`
below this package, so that a worker imports what its own formats need.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`share` is how many cases it gets for each that another one gets."""

    name: str
    writer: str
    reader: str
    share: int = 1

    def write(self, folder: Path) -> Path:
        """Make honest files, and name the one that a user would."""
        return pkgutil.resolve_name(f"tests.fuzz.{self.writer}")(folder)

    def read(self, path: Path) -> None:
        """What the product does with a file of this format."""
        pkgutil.resolve_name(f"tests.fuzz.{self.reader}")(path)


def _format(name: str, writer: str, reader: str, share: int = 1) -> tuple[str, Format]:
    return name, Format(name=name, writer=writer, reader=reader, share=share)


FORMATS: dict[str, Format] = dict(
    [
        _format("tiff", "images:plain_tiff", "images:read", 15),
        _format("tiff deflate", "images:deflate_tiff", "images:read", 15),
        _format("tiff lzw tiled", "images:tiled_tiff", "images:read", 15),
        _format("tiff zstd big", "images:big_tiff", "images:read", 15),
        _format("tiff imagej", "images:imagej_tiff", "images:read", 10),
        _format("tiff ome", "images:ome_tiff", "images:read", 15),
        _format("tiff labels", "images:label_tiff", "images:read_masks", 10),
        _format("png", "images:png", "images:read", 15),
        _format("png colour", "images:colour_png", "images:read", 10),
        _format("jpeg", "images:jpeg", "images:read", 10),
        _format("folder of sections", "images:folder", "images:read"),
        _format("ome-zarr 0.4", "images:ome_zarr_04", "images:read"),
        _format("ome-zarr 0.5", "images:ome_zarr_05", "images:read"),
        _format("zarr gzip", "images:zarr_gzip", "images:read"),
        _format("zarr blosc", "images:zarr_blosc", "images:read"),
        _format("zarr zlib 2", "images:zarr_zlib", "images:read"),
        _format("zarr sharded", "images:zarr_sharded", "images:read"),
        _format("zarr labels", "images:zarr_labels", "images:read_masks"),
        _format("hdf5", "images:hdf5", "images:read", 5),
        _format("hdf5 chunked", "images:hdf5_chunked", "images:read", 5),
        _format("mrc", "images:mrc", "images:read", 10),
        _format("safetensors", "models:plain_safetensors", "models:read_weight_file", 15),
        _format("tuned model", "models:tuned", "models:read_tuned", 10),
        _format("training checkpoint", "models:checkpoint", "models:read_checkpoint", 10),
        _format("cached embedding", "models:embedding", "models:read_embedding", 10),
        _format("torch zip", "models:torch_zip", "models:read_weight_file", 15),
        _format("torch legacy", "models:torch_legacy", "models:read_weight_file", 10),
        _format("micro-sam checkpoint", "models:micro_sam", "models:read_weight_file", 10),
        _format("model folder", "models:folder", "models:read_folder"),
        _format("tiny model folder", "models:tiny_folder", "models:read_folder"),
        _format("settings toml", "texts:settings", "texts:read_settings", 15),
        _format("study toml", "texts:study", "texts:read_study", 10),
        _format("prompts csv", "texts:prompts_csv", "texts:read_prompts", 20),
        _format("prompts json", "texts:prompts_json", "texts:read_prompts", 20),
        _format("scores csv", "texts:scores_csv", "texts:read_scores_csv", 10),
        _format("scores json", "texts:scores_json", "texts:read_scores_json", 10),
        _format("confidence csv", "texts:confidence", "texts:read_confidence", 5),
        _format("prepared volume", "texts:prepared", "texts:read_prepared", 10),
        _format("run", "texts:run", "texts:read_run", 10),
        _format("map blocks", "texts:blocks", "texts:read_blocks", 10),
        _format("session sqlite", "texts:session", "texts:read_session", 10),
        _format("session labels", "texts:session", "texts:read_kept_labels", 5),
    ]
)
