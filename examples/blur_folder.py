"""Blur the background of every photo in a folder: python blur_folder.py PHOTOS BLURRED.

Photos are decoded, blurred and encoded at the same time, in bounded memory; one unreadable file does not stop the rest.
"""

import sys
from functools import partial
from pathlib import Path

import gpublur
from gpublur import image_io


def main(photos: Path, blurred: Path) -> int:
    """Write the blurred photos and return how many could not be read."""
    blurred.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in image_io.SUFFIXES)
    work, failed = partial(gpublur.Editor().blur_background, radius=0.02), 0
    for source, data, error in gpublur.process(files, work):
        if error:
            print(error, file=sys.stderr)
            failed += 1
        else:
            (blurred / source.name).write_bytes(data)
    print(f"{len(files) - failed} of {len(files)} photos blurred")
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]), Path(sys.argv[2]))))
