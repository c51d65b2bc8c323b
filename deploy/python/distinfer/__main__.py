"""The command: the program that lies beside this file, with the same arguments."""

import os
import sys
from pathlib import Path


def main() -> None:
    program = str(Path(__file__).parent / "bin" / "distinfer")
    os.execv(program, ["distinfer", *sys.argv[1:]])


if __name__ == "__main__":
    main()
