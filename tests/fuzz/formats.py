"""What is fuzzed: for each format an honest file, and how the product reads it.

A format is one line of `LINES`; `writer` makes honest files in a folder and names what a user would
give, and `reader` does with it what the product does. Both are named, `module:function` below this
package, so that a worker imports what its own formats need.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`share` is how many cases it gets for each that another one gets.

    What nobody hands on, as only one's own account makes it to go on from, is `private`: it is
    damaged by accident alone, and never given a checksum that fits.
    """

    name: str
    writer: str
    reader: str
    share: int = 1
    private: bool = False

    def write(self, folder: Path) -> Path:
        """Make honest files, and name the one that a user would."""
        return pkgutil.resolve_name(f"tests.fuzz.{self.writer}")(folder)

    def read(self, path: Path) -> None:
        """What the product does with a file of this format."""
        pkgutil.resolve_name(f"tests.fuzz.{self.reader}")(path)


LINES = """
tiff                  images:plain_tiff         images:read                 60
tiff deflate          images:deflate_tiff       images:read                 60
tiff lzw tiled        images:tiled_tiff         images:read                 60
tiff zstd big         images:big_tiff           images:read                 60
tiff imagej           images:imagej_tiff        images:read                 60
tiff ome              images:ome_tiff           images:read                 60
png                   images:png                images:read                 60
png colour            images:colour_png         images:read                 60
jpeg                  images:jpeg               images:read                 60
folder of sections    images:folder             images:read                 30
ome-zarr 0.4          images:ome_zarr_04        images:read                  5
ome-zarr 0.5          images:ome_zarr_05        images:read                  5
zarr gzip             images:zarr_gzip          images:read                  5
zarr blosc            images:zarr_blosc         images:read                  5
zarr zlib 2           images:zarr_zlib          images:read                  5
zarr sharded          images:zarr_sharded       images:read                  5
hdf5                  images:hdf5               images:read                200
hdf5 chunked          images:hdf5_chunked       images:read                200
mrc                   images:mrc                images:read                200
tiff labels           images:label_tiff         images:read_masks           60
zarr labels           images:zarr_labels        images:read_masks           30
safetensors           models:plain_safetensors  models:read_weight_file    200
torch zip             models:torch_zip          models:read_weight_file    200
torch legacy          models:torch_legacy       models:read_weight_file    200
micro-sam checkpoint  models:micro_sam          models:read_weight_file      6
model folder          models:folder             models:read_folder           4
tiny model folder     models:tiny_folder        models:read_folder           4
sam 2 folder          models:sam2               models:read_folder           2
sam-hq folder         models:sam_hq             models:read_folder           2
edgetam folder        models:edgetam            models:read_folder           2
scores csv            texts:scores_csv          texts:read_scores_csv      200
prompts csv           texts:prompts_csv         texts:read_prompts         200
prompts json          texts:prompts_json        texts:read_prompts         200
doctor run            results:whole_run         results:examine              4
doctor segmentation   results:segmentation      results:examine              4
doctor work           results:work              results:examine              3  private
doctor session        results:session_folder    results:examine             15
doctor cache          results:cache             results:examine             15
tuned model           models:tuned              models:read_tuned           30
training checkpoint   models:checkpoint         models:read_checkpoint      30
cached embedding      models:embedding          models:read_embedding      200
detector dino         models:grounding_dino     models:read_detector         2
detector owl          models:owl                models:read_detector         2
settings toml         texts:settings            texts:read_settings        200
study toml            texts:study               texts:read_study           200
data set toml         datasets:manifest         datasets:read_manifest     200
data set zip          datasets:archive          datasets:read_archive       30
scores json           texts:scores_json         texts:read_scores_json     200
confidence csv        texts:confidence          texts:read_confidence      200
scores of a run       results:scored            results:read_scored         15
study cell            results:cell              results:read_cell          200
automatic record      results:record            results:read_segmented      30
u-net                 results:rival             results:read_unet            2
prepared volume       texts:prepared            texts:read_prepared        200
run                   texts:run                 texts:read_run              30
map blocks            texts:blocks              texts:read_blocks            4
instance blocks       results:found             results:read_found           3  private
measured blocks       results:counted           results:measure              3  private
session sqlite        texts:session             texts:read_session          30
session labels        texts:session             texts:read_kept_labels     200
lock                  datasets:claim            datasets:read_claim        200
"""
"""Name, writer, reader, share; and whether it is private."""


def _format(line: str) -> Format:
    writer, reader, share, *private = line[22:].split()
    return Format(
        name=line[:22].strip(),
        writer=writer,
        reader=reader,
        share=int(share),
        private=private == ["private"],
    )


FORMATS = {found.name: found for found in map(_format, LINES.strip().splitlines())}
