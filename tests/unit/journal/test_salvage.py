"""journal.salvage: what a damaged file still holds, whatever its pages say."""

from pathlib import Path

import pytest

from journal.salvage import _DB, _META, Salvage
from journal.store import DAY_DATABASES, Change, Store

PAGE = 4096


@pytest.mark.parametrize("root", [1 << 40, 1 << 63, (1 << 64) - 1])
def test_a_root_beyond_the_file_tells_nothing(tmp_path: Path, root: int) -> None:
    with Store(tmp_path, DAY_DATABASES, writable=True) as opened:
        opened.apply({b"m": Change((), [(b"abcdef", bytes(20))])})
    data = bytearray((tmp_path / "data.mdb").read_bytes())
    at = 16 + _META.size + 2 * _DB.size - 8  # the last field of the main database
    for meta in (0, PAGE):
        data[meta + at : meta + at + 8] = root.to_bytes(8, "little")
    (tmp_path / "data.mdb").write_bytes(data)
    salvage = Salvage(tmp_path)
    assert list(salvage.scan())[-1] == 1.0
    assert salvage.entries() is None
    salvage.close()
