"""Downloads, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from flowprune.core.errors import UnknownNameError
from flowprune.data import Download, cifar10, cifar100, download, fashion_mnist, mnist, tiny_imagenet, transfer
from flowprune.data.files import OFFLINE, VARIABLE, Layout
from flowprune.data.origins import ORIGINS, Remote
from flowprune.data.unpacking import unpack
from tests.data import publish
from tests.data.serving import serving

CONTENT = publish.pixels(3_000_000).tobytes()


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """Downloads are allowed here, because all addresses are of this machine; no proxy comes between."""
    monkeypatch.delenv(OFFLINE)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with serving() as made:
        yield made


def remote(server, path: str, content: bytes = CONTENT) -> Remote:
    server.files.setdefault(path, content)
    return Remote(server.address + path, len(content), hashlib.sha256(content).hexdigest())


def fetch(what: Remote, path: Path) -> list[Download]:
    said: list[Download] = []
    transfer.fetch(what, path, said.append)
    return said


def test_a_file_is_downloaded_and_its_progress_told(server, tmp_path):
    path = tmp_path / "new" / "a.bin"
    said = fetch(remote(server, "/a.bin"), path)
    assert path.read_bytes() == CONTENT
    assert {(each.file, each.total) for each in said} == {("a.bin", len(CONTENT))}
    done = [each.done for each in said]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == ["a.bin"]
    assert server.asked == [("/a.bin", None)]


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_is_gone_on_from_where_the_server_can_do_that(server, tmp_path, ranges, lengths):
    server.ranges, server.lengths = ranges, lengths
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1_000_000])
    said = fetch(remote(server, "/a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [("/a.bin", "bytes=1000000-")]
    assert said[0].done == (1_000_000 if ranges else 0)


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1, len(CONTENT) - 1])
def test_a_part_of_any_size_ends_in_the_whole(server, tmp_path, size):
    (tmp_path / "a.bin.part").write_bytes((CONTENT + b"more")[:size])
    fetch(remote(server, "/a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(server.asked) == (0 if size == len(CONTENT) else 1)


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.cuts = [1_000_000, 500_000]
    fetch(remote(server, "/a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_connection_that_brings_nothing_is_given_up_and_the_part_stays(server, tmp_path):
    server.cuts = [1_000_000, 0]
    what, path = remote(server, "/a.bin"), tmp_path / "a.bin"
    said = rf"/a.bin could not be downloaded: .*\(1,000,000 of 3,000,000 bytes are here.*put it at {path}\."
    with pytest.raises(ConnectionError, match=said):
        fetch(what, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin.part"]
    fetch(what, path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_breaks_off_and_knows_no_ranges_is_given_up(server, tmp_path):
    server.ranges, server.cuts = False, [1_000_000, 1_000_000]
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        fetch(remote(server, "/a.bin"), tmp_path / "a.bin")
    assert len(server.asked) == 2


@pytest.mark.parametrize("offset", [7, -7, 10**7])
def test_a_server_that_sends_another_part_is_asked_for_the_whole(server, tmp_path, offset):
    server.offset = offset
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1_000_000])
    fetch(remote(server, "/a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [("/a.bin", "bytes=1000000-"), ("/a.bin", None)]


def test_a_damaged_part_is_told_once_and_then_forgotten(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"?" * 1_000_000)
    what = remote(server, "/a.bin")
    with pytest.raises(ValueError, match="must be of the sha256"):
        fetch(what, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []
    fetch(what, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize("served", [CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"?", b"<html>log in first</html>"])
def test_a_wrong_checksum_names_what_was_expected_and_found(server, tmp_path, served, algorithm):
    server.files["/a.bin"] = served
    (tmp_path / "other").write_text("stays")
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    what = replace(remote(server, "/a.bin"), digest=digest, algorithm=algorithm)
    with pytest.raises(ValueError, match="must be") as caught:
        fetch(what, tmp_path / "a.bin")
    found = hashlib.new(algorithm, served).hexdigest()
    start = f"the file {tmp_path / 'a.bin'} must be of the {algorithm} {digest}; got "
    assert str(caught.value).startswith(start)
    assert found in str(caught.value) or len(served) > len(CONTENT)  # of what is too long, not all is read
    assert [file.name for file in tmp_path.iterdir()] == ["other"]


def test_a_missing_file_a_missing_server_and_a_silent_one_are_told_at_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PATIENCE", 0.3)
    with pytest.raises(ConnectionError, match="404"):
        fetch(Remote(f"{server.address}/b.bin", 3, ""), tmp_path / "b.bin")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/b.bin"
        with pytest.raises(ConnectionError, match=r"b.bin could not be downloaded: .*refused"):
            fetch(Remote(address, 3, ""), tmp_path / "b.bin")
        silent.listen()
        began = time.perf_counter()
        with pytest.raises(ConnectionError, match=r"b\.bin could not be downloaded: "):
            fetch(Remote(address, 3, ""), tmp_path / "b.bin")
    assert time.perf_counter() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_looked_up_for_ever_is_given_up(tmp_path, monkeypatch):
    """The look-up of a name has no timeout: it can take a minute where there is no network."""
    over = threading.Event()
    monkeypatch.setattr(transfer, "PATIENCE", 0.1)
    monkeypatch.setattr(transfer, "urlopen", lambda *arguments, **named: over.wait(60))
    try:
        with pytest.raises(ConnectionError, match=r"could not be downloaded: no answer within 0\.1 seconds"):
            fetch(Remote("http://nowhere.invalid/a.bin", 3, ""), tmp_path / "a.bin")
    finally:
        over.set()


def tar_of(folder: Path, archive: Path) -> bytes:
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)
    return archive.read_bytes()


def zip_of(folder: Path, archive: Path) -> bytes:
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder.parent))
    return archive.read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All sets, small: the folder that they lie in as a user's would, and the files they are published as."""
    there, packed = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("packed")
    publish.cifar10(there)
    publish.cifar100(there)
    publish.tiny_imagenet(there)
    for name in ("mnist", "fashion-mnist"):
        publish.mnist(there / name, packed=True)
    return there, {
        "cifar10": {"cifar-10-python.tar.gz": tar_of(there / "cifar-10-batches-py", packed / "10")},
        "cifar100": {"cifar-100-python.tar.gz": tar_of(there / "cifar-100-python", packed / "100")},
        "tiny_imagenet": {"tiny-imagenet-200.zip": zip_of(there / "tiny-imagenet-200", packed / "tiny")},
        "mnist": {path.name: path.read_bytes() for path in (there / "mnist").iterdir()},
        "fashion_mnist": {path.name: path.read_bytes() for path in (there / "fashion-mnist").iterdir()},
    }


@pytest.fixture
def published(server, made, monkeypatch):
    """All sets on the server, instead of where they are; the folder that they lie in as a user's would."""
    there, files = made
    for name, own in files.items():
        assert set(own) == {each.name for each in ORIGINS[name].remotes}
        remotes = tuple(remote(server, f"/{name}/{each.name}", own[each.name]) for each in ORIGINS[name].remotes)
        monkeypatch.setitem(ORIGINS, name, replace(ORIGINS[name], remotes=remotes))
    return there


MAKERS = {make.__name__: make for make in (cifar10, cifar100, fashion_mnist, mnist, tiny_imagenet)}


@pytest.mark.parametrize("name", MAKERS)
def test_a_set_is_downloaded_once_and_read(published, server, tmp_path, name):
    root = tmp_path / "data"
    folder = download(name, root)
    assert folder == root / ORIGINS[name].folder
    assert MAKERS[name](root).fingerprint == MAKERS[name](published).fingerprint
    assert MAKERS[name](folder).fingerprint == MAKERS[name](published).fingerprint
    assert len(server.asked) == len(ORIGINS[name].remotes)
    assert download(name, root) == folder
    assert len(server.asked) == len(ORIGINS[name].remotes)
    archives = {each.name for each in ORIGINS[name].remotes} if ORIGINS[name].packed else set()
    assert {path.name for path in root.iterdir()} == {folder.relative_to(root).parts[0], *archives}  # and no part


@pytest.mark.parametrize("name", MAKERS)
def test_reading_downloads_what_is_missing_and_says_so(published, server, tmp_path, monkeypatch, name):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "data"))
    with pytest.warns(UserWarning, match=f"{name} is not in {tmp_path}/data and is downloaded there"):
        first = MAKERS[name]()
    count = len(server.asked)
    assert MAKERS[name]().fingerprint == first.fingerprint
    assert len(server.asked) == count
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match=f"is not in {tmp_path}/cache/flowprune and"):
        assert MAKERS[name]().fingerprint == first.fingerprint


def test_reading_says_why_a_download_failed(published, server, tmp_path):
    server.files.clear()
    said = f"looked in {tmp_path}/cifar-10-batches-py, .*404.*Run: flowprune download cifar10 --data-dir {tmp_path},"
    with pytest.raises(FileNotFoundError, match=said):
        cifar10(tmp_path)
    server.files["/cifar10/cifar-10-python.tar.gz"] = b"other"
    said = r"must be of the sha256 .*Run: flowprune download cifar10"
    with pytest.warns(UserWarning, match="is downloaded there"), pytest.raises(FileNotFoundError, match=said):
        cifar10(tmp_path)


def test_offline_nothing_is_asked_for(published, server, tmp_path, monkeypatch):
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(FileNotFoundError, match=f"not downloaded, because {OFFLINE} is set"):
        cifar10(tmp_path / "data")
    with pytest.raises(ConnectionError, match=f"{OFFLINE} is set. Unset it, or put the file at {tmp_path}/data/cifar"):
        download("cifar10", tmp_path / "data")
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_bytes(server.files["/cifar10/cifar-10-python.tar.gz"])
    assert cifar10(download("cifar10", tmp_path / "data")).num_classes == 10  # brought by other means
    assert server.asked == []
    monkeypatch.setenv(OFFLINE, "0")
    assert len(mnist(download("mnist", tmp_path / "data")).test) == 10


def test_an_archive_that_is_not_the_published_one_is_told_and_stays(published, server, tmp_path):
    path = tmp_path / "data" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match=f"the file {path} must be of the sha256 .*Delete it, and it is downloaded"):
        download("cifar10", tmp_path / "data")
    assert path.read_bytes() == b"other"
    assert server.asked == []


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_what_a_folder_lacks_is_brought_and_the_rest_left_alone(published, server, tmp_path, name):
    root = tmp_path / "data"
    folder = download(name, root)
    lacking, kept = sorted(path for path in folder.iterdir() if "meta" not in path.name)[1:3]
    lacking.unlink()
    kept.write_bytes(b"of the user")
    asked = len(server.asked)
    download(name, root)
    assert lacking.exists()
    assert kept.read_bytes() == b"of the user"
    assert len(server.asked) == asked + (name == "mnist")  # the archive of the other is still there


def test_two_at_a_time_download_once(published, server, tmp_path):
    server.cuts = [1000]  # the first attempt breaks off, so that the other has time to come
    threads = [threading.Thread(target=download, args=("cifar10", tmp_path / "data")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 2
    assert cifar10(tmp_path / "data").num_classes == 10


def test_an_unknown_set_is_told():
    with pytest.raises(UnknownNameError, match="has no 'cifar_10'"):
        download("cifar_10")
    with pytest.raises(UnknownNameError, match="Known: cifar10, cifar100, fashion_mnist, mnist, tiny_imagenet"):
        download("digits")


LAYOUT = Layout(("set",), ("a", "b"))


def tar_with(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name in ("set/a", "set/b"):
            packed.addfile(tarfile.TarInfo(name), io.BytesIO())
        for member in members:
            packed.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("set/../../evil"),
        link("set/evil", "/etc/passwd"),
        link("set/evil", "../../evil"),
    ],
)
def test_a_tar_that_leads_outside_unpacks_nothing(tmp_path, member):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ValueError, match=r"the archive .*bad.tar.gz must be whole and harmless; got"):
        unpack(tar_with(tmp_path / "bad.tar.gz", member), root, LAYOUT)
    assert list(root.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path != root] == ["bad.tar.gz"]


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/evil", "C:\\evil", "..\\evil", "\\evil"])
def test_a_zip_that_leads_outside_unpacks_nothing(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        for each in ("set/a", "set/b", name):
            packed.writestr(each, "")
    with pytest.raises(ValueError, match=r"the archive .*bad.zip must be of paths inside it; got"):
        unpack(tmp_path / "bad.zip", root, LAYOUT)
    assert list(root.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path != root] == ["bad.zip"]


def test_an_archive_cut_off_or_of_other_files_unpacks_nothing(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    archive = tar_with(tmp_path / "a.tar.gz", tarfile.TarInfo("set/c"))
    raw = archive.read_bytes()
    for end in (0, 20, len(raw) // 3):
        archive.write_bytes(raw[:end])
        with pytest.raises(ValueError, match="must be whole and harmless"):
            unpack(archive, root, LAYOUT)
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match="one that holds set/; got 'none with d'"):
        unpack(archive, root, replace(LAYOUT, files=("a", "d")))
    assert list(root.iterdir()) == []
    unpack(archive, root, LAYOUT)
    assert sorted(path.name for path in (root / "set").iterdir()) == ["a", "b", "c"]


def test_the_table_of_downloads_is_sound():
    lengths = {"sha256": 64, "md5": 32}
    for name, origin in ORIGINS.items():
        assert name in MAKERS
        for each in origin.remotes:
            assert len(bytes.fromhex(each.digest)) * 2 == lengths[each.algorithm]
            assert each.size > 1000
            assert each.url.startswith(("https://", "http://"))
        assert not origin.packed or len(origin.remotes) == 1
    digests = [each.digest for origin in ORIGINS.values() for each in origin.remotes]
    assert len(set(digests)) == len(digests) == 11
