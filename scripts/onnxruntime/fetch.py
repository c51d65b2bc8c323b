"""Fetch ONNX Runtime's shared library into a folder, once.

The library is taken out of the Python wheel that requirements.txt pins by
version and sha256, and its own sha256 is checked as well. When the folder holds
the right library already, nothing is fetched.

    python3 scripts/onnxruntime/fetch.py .setup/onnxruntime [x86_64|aarch64]
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "1.32.0"
LIBRARY = f"onnxruntime/capi/libonnxruntime.so.{VERSION}"
NOTICES = ("LICENSE", "ThirdPartyNotices.txt")

# By machine: the wheel's platform tag and the sha256 of the library in it.
PLATFORMS = {
    "x86_64": ("manylinux_2_28_x86_64", "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"),
    "aarch64": ("manylinux_2_28_aarch64", "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"),
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(folder: Path, tag: str, digest: str) -> None:
    """Download the wheel, check it, and put the library into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temp:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--only-binary=:all:", "--require-hashes",
            "--platform", tag, "--implementation", "cp", "--python-version", "3.13", "--abi", "cp313",
            "--requirement", str(Path(__file__).with_name("requirements.txt")), "--dest", temp,
        ]  # fmt: skip
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit("fetch.py: pip could not download ONNX Runtime; see its message above")
        (wheel,) = Path(temp).glob("*.whl")
        with zipfile.ZipFile(wheel) as z:
            for name in (LIBRARY, *(f"onnxruntime/{n}" for n in NOTICES)):
                with z.open(name) as source, (Path(temp) / Path(name).name).open("wb") as target:
                    shutil.copyfileobj(source, target)
        library = Path(temp) / Path(LIBRARY).name
        if sha256(library) != digest:
            sys.exit(f"fetch.py: {library.name} in the wheel is not the library that is pinned")
        for name in NOTICES:
            (Path(temp) / name).replace(folder / name)
        library.chmod(0o755)
        library.replace(folder / "libonnxruntime.so")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    machine = sys.argv[2] if len(sys.argv) == 3 else platform.machine()
    if platform.system() != "Linux" or machine not in PLATFORMS:
        sys.exit(
            f"fetch.py: there is no pinned ONNX Runtime for {platform.system()} {machine}, only for Linux on "
            f"{' and '.join(PLATFORMS)}; install {VERSION} or newer yourself and name its file with DISTINFER_ONNXRUNTIME"
        )
    tag, digest = PLATFORMS[machine]
    library = folder / "libonnxruntime.so"
    if library.is_file() and sha256(library) == digest:
        return
    fetch(folder, tag, digest)
    print(f"ONNX Runtime {VERSION} is in {folder}")


main()
