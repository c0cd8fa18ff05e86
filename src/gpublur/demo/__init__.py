"""A photo to try the package with."""

from pathlib import Path

PHOTO = Path(__file__).with_name("otters.jpg")
