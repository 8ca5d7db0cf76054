from __future__ import annotations

import fnmatch

import pytest

from mitosam.data.catalogue import known_set, read_catalogue
from mitosam.errors import SettingsError

WANTED = (
    *("epfl", "lucchi++", "kasthuri++", "vnc", "mitoem-r", "mitoem-h", "urocell", "cem-mitolab"),
    *("mitonet-c-elegans", "mitonet-salivary-gland", "empiar-10791"),
)
SETS = read_catalogue()


@pytest.mark.parametrize("name", WANTED)
def test_the_public_sets_are_known(name):
    assert known_set(name).name == name
    assert known_set(name.upper()).name == name


@pytest.mark.parametrize("known", SETS, ids=lambda known: known.name)
def test_each_set_says_whose_it_is_on_what_terms_and_how_to_get_it(known):
    assert known.licence
    assert known.citation
    assert known.page.startswith("https://")
    assert known.is_fetchable or known.note
    assert all(bool(file.sha256) == bool(file.checksum_by) for file in known.file)


@pytest.mark.parametrize("known", SETS, ids=lambda known: known.name)
def test_a_manifest_names_what_the_files_give(known):
    given = {file.name for file in known.file if not file.unpack}
    given |= {part.folder for file in known.file for part in file.unpack}
    named = {str(path) for volume in known.volume for path in (volume.images, volume.masks)}
    if known.is_fetchable:
        assert named == given
    folders = [part.folder for file in known.file for part in file.unpack]
    assert len(set(folders)) == len(folders)


def test_the_sections_of_mitoem_are_split_where_its_authors_split_them():
    images = known_set("mitoem-r").file[0].unpack
    names = [f"im/im{z:04}.png" for z in range(1000)]
    counts = [len(fnmatch.filter(names, part.members)) for part in images]
    assert counts == [400, 100]


def test_a_name_like_it_is_meant():
    with pytest.raises(SettingsError, match="did you mean lucchi"):
        known_set("luchi++")
    with pytest.raises(SettingsError, match="mitosam data list"):
        known_set("xyz")
