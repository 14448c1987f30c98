"""Where the published sets are downloaded from, and the checksums of the files there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from flowprune.data.files import Layout

TORONTO = "https://www.cs.toronto.edu/~kriz"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
STANFORD = "http://cs231n.stanford.edu"

IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
"""The four files of MNIST and of the sets that copy its form: training images and labels, then those to test on."""


@dataclass(frozen=True)
class Remote:
    """One file on a server.

    Attributes:
        url: Where.
        size: In bytes.
        digest: In hexadecimal.
        algorithm: Which digest it is. Where the connection is not encrypted, the digest is all the protection.
    """

    url: str
    size: int
    digest: str
    algorithm: Literal["sha256", "md5"] = "sha256"

    @property
    def name(self) -> str:
        """The last part of the address.

        Example:
            >>> Remote("https://example.org/a/b.zip", 1, "").name
            'b.zip'
        """
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Origin:
    """How a set is got.

    Attributes:
        remotes: What is downloaded.
        layout: What must lie in the folder afterwards; its first folder is the one that is made.
        packed: Whether the one remote is an archive that holds the folder; else the remotes lie in the folder.
    """

    remotes: tuple[Remote, ...]
    layout: Layout
    packed: bool

    @property
    def folder(self) -> str:
        """The folder that is made, below the data folder."""
        return self.layout.folders[0]

    @property
    def size(self) -> int:
        """Bytes to download in all."""
        return sum(remote.size for remote in self.remotes)


CIFAR10_PYTHON: Final = Layout(
    ("cifar-10-batches-py", "."), (*(f"data_batch_{part}" for part in range(1, 6)), "test_batch")
)
CIFAR100_PYTHON: Final = Layout(("cifar-100-python", "."), ("train", "test"))
TINY: Final = Layout(("tiny-imagenet-200", "."), ("wnids.txt", "train/", "val/images/", "val/val_annotations.txt"))


def _idx(base: str, folder: str, *files: tuple[int, str]) -> Origin:
    """Four compressed IDX files, by their sizes and SHA-256."""
    remotes = (Remote(f"{base}/{name}.gz", *file) for name, file in zip(IDX_FILES, files, strict=True))
    return Origin(tuple(remotes), Layout((folder,), IDX_FILES, packable=True), packed=False)


ORIGINS: Final[Mapping[str, Origin]] = {
    "cifar10": Origin(
        (
            Remote(
                f"{TORONTO}/cifar-10-python.tar.gz",
                170_498_071,
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            ),
        ),
        CIFAR10_PYTHON,
        packed=True,
    ),
    "cifar100": Origin(
        (
            Remote(
                f"{TORONTO}/cifar-100-python.tar.gz",
                169_001_437,
                "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            ),
        ),
        CIFAR100_PYTHON,
        packed=True,
    ),
    "mnist": _idx(
        MNIST,
        "mnist",
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion_mnist": _idx(
        FASHION,
        "fashion-mnist",
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "tiny_imagenet": Origin(
        (
            Remote(
                f"{STANFORD}/tiny-imagenet-200.zip",
                248_100_043,
                "90528d7ca1a48142e341f4ef8d21d0de",
                "md5",  # no SHA-256 of this archive has been published
            ),
        ),
        TINY,
        packed=True,
    ),
}
"""By the name in :data:`~flowprune.data.DATASETS`."""
